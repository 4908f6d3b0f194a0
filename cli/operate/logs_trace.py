"""Trace one event from the API to the read models, from log lines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from cli.client.projections import projections_of
from cli.client.records import Event
from cli.operate.logs import Kind, Line, is_about, understand
from cli.operate.logs_tail import FunctionLogs, start_of
from cli.terminal.output import Output
from cli.terminal.tables import Column
from cli.terminal.text import visible
from handlers.core.clock import parse_rfc3339, rfc3339

if TYPE_CHECKING:
    from cli.config.targets import Target


@dataclass(frozen=True, slots=True)
class Step:
    """One step of an event: what happened when, in which function (and invocation, if known) or table."""

    at: datetime
    what: str
    where: str
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Trace:
    """The path of one event: at least one step, ordered by time.

    According to the logs, the projections of its stream named in `projected` applied it, and those in `missing` did not.
    """

    event: Event
    steps: tuple[Step, ...]
    projected: tuple[str, ...]
    missing: tuple[str, ...]
    trace_ids: tuple[str, ...]

    @property
    def complete(self) -> bool:
        return not self.missing

    @property
    def correlation_id(self) -> str | None:
        found: str | None = (self.event.get("metadata") or {}).get("correlationId")
        return found


def trace(event: Event, lines: Iterable[Line], followers: Sequence[str]) -> Trace:
    """Reconstruct an event's path from log lines of all functions, given the projections that follow its stream."""
    stream_id, event_id = event["streamId"], int(event["eventId"])
    ordered = sorted((line for line in lines if line.kind is Kind.LOG), key=lambda line: line.at)
    own = [line for line in ordered if is_about(line.fields, stream_id, event_id)]
    appended = next((line for line in own if line.text == "appended"), None)
    if appended is not None:
        steps = _api_steps(ordered, appended)
    else:
        at = parse_rfc3339(event["timeStamp"])
        steps = [Step(at, "stored; the append is not in the logs", "Events table")]
    steps += [_step(line, "published to the topic") for line in own if line.text == "published"][:1]
    projected: list[str] = []
    for name in followers:
        line = _projection_line(ordered, name, stream_id, event_id)
        if line is not None:
            steps.append(line[0])
            projected += [name] if line[1] else []
    trace_ids = (line.fields.get("xray_trace_id") for line in own)
    return Trace(
        event,
        tuple(sorted(steps, key=lambda step: step.at)),
        tuple(projected),
        tuple(name for name in followers if name not in projected),
        tuple(dict.fromkeys(each for each in trace_ids if isinstance(each, str) and each)),
    )


def _step(line: Line, what: str) -> Step:
    return Step(line.at, what, line.function, line.request_id)


def _api_steps(lines: Sequence[Line], appended: Line) -> list[Step]:
    """Return the request's steps: received, stored, answered (possibly after the projection)."""
    steps = [_step(appended, "stored in the Events table")]
    answered = next(
        (
            line
            for line in lines
            if line.request_id == appended.request_id and line.function == appended.function and "status" in line.fields
        ),
        None,
    )
    if answered is not None:
        took = timedelta(milliseconds=float(answered.fields.get("durationMs", 0)))
        began = Step(answered.at - took, answered.text.rpartition(" ")[0], answered.function, answered.request_id)
        steps = [began, *steps, _step(answered, f"answered {answered.fields['status']}")]
    return steps


def _projection_line(lines: Sequence[Line], name: str, stream_id: str, event_id: int) -> tuple[Step, bool] | None:
    """Return a projection's step, and whether the event is in its read model.

    Any later checkpoint proves that it is: the projector reads events without a message from the store.
    """
    service = f"projector-{name}"
    halted = None
    for line in lines:
        if line.fields.get("service") != service or line.fields.get("streamId") != stream_id:
            continue
        checkpoint = line.fields.get("checkpoint")
        if line.text == "projected" and isinstance(checkpoint, int) and checkpoint >= event_id:
            return _step(line, f"in the read model {name}, checkpoint {checkpoint}"), True
        if line.text == "stream halted" and line.fields.get("eventId") == event_id:
            halted = _step(line, f"halted {name}: {line.fields.get('error')}"), False
    return halted


def show_trace(output: Output, logs: FunctionLogs, event: Event, timeout_s: float) -> None:
    """Show an event's path; waits for late lines until all projections have applied it, or time is up."""
    environment = output.environment
    follower = logs.follower(start_of(None, event))
    followers = [projection.name for projection in projections_of(event["streamId"])]
    lines: list[Line] = []

    def look() -> Trace:
        lines.extend(map(understand, follower.look()))
        return trace(event, lines, followers)

    pause_s = logs.poll_s
    found = environment.poll(look, lambda it: it.complete, timeout_s=timeout_s, pause_s=pause_s, pause_max_s=pause_s)
    show(output, logs.target, found)


def show(output: Output, target: Target, found: Trace) -> None:
    """Show the path as a table or a document."""
    links = [url for each in found.trace_ids if (url := target.trace_url(each)) is not None]
    if not output.is_text:
        output.json(document(found) | {"traceUrls": links})
        return
    event = found.event
    output.text(f"{visible(event['type'])} is event {event['eventId']} of stream {visible(event['streamId'])}")
    if found.correlation_id:
        output.text(f"correlation id {visible(found.correlation_id)}")
    output.text()
    columns = ("time", Column("+ ms", "right"), Column("total ms", "right"), "where", "what")
    output.table(columns, _rows(found.steps))
    for url in links:
        output.text(f"X-Ray trace: {url}")
    _conclude(output, target, found)


def _rows(steps: Sequence[Step]) -> Sequence[Sequence[object]]:
    first, rows = steps[0], []
    for before, step in zip((first, *steps), steps, strict=False):
        time = step.at.astimezone().strftime("%H:%M:%S.%f")[:-3]
        rows.append((time, _ms(before, step), _ms(first, step), step.where, step.what))
    return rows


def _ms(one: Step, other: Step) -> str:
    return f"{(other.at - one.at).total_seconds() * 1000:.0f}"


def _conclude(output: Output, target: Target, found: Trace) -> None:
    output.message()
    if found.missing:
        names = ", ".join(found.missing)
        output.warning(f"not in the logs (yet): {names}")
        output.hint("See the projections:  esctl projections")
    elif found.projected:
        took = _ms(found.steps[0], found.steps[-1])
        output.success(f"in the read model of {', '.join(found.projected)}; the whole path took {took} ms")
    else:
        output.message("No projection follows this stream.")
    if not target.is_local:
        output.message("The clocks of different functions may differ by a few milliseconds.")


def document(found: Trace) -> dict[str, Any]:
    """Return the JSON form of the path."""
    return {
        "streamId": found.event["streamId"],
        "eventId": int(found.event["eventId"]),
        "type": found.event["type"],
        "correlationId": found.correlation_id,
        "complete": found.complete,
        "projected": list(found.projected),
        "missing": list(found.missing),
        "steps": [
            {
                "at": rfc3339(step.at),
                "sinceFirstMs": int(_ms(found.steps[0], step)),
                "where": step.where,
                "what": step.what,
                "requestId": step.request_id or None,
            }
            for step in found.steps
        ],
        "traceIds": list(found.trace_ids),
    }
