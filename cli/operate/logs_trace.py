"""Trace one event from the API to the read models, from log lines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from cli.client.projections import projections_of
from cli.client.service import Event
from cli.operate.logs import Kind, Line, is_about, understand
from cli.operate.logs_tail import FunctionLogs, start_of
from cli.terminal.output import Output
from cli.terminal.tables import Column
from cli.terminal.text import visible
from handlers.core.clock import parse_rfc3339

if TYPE_CHECKING:
    from cli.config.targets import Target


@dataclass(frozen=True, slots=True)
class Step:
    """One step of an event: what happened, in which function or table.

    Attributes
    ----------
    request_id
        Id of the invocation; empty if unknown.
    """

    at: datetime
    what: str
    where: str
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Trace:
    """The path of one event.

    Attributes
    ----------
    stored_at
        The event's time stamp.
    steps
        Ordered by time.
    projected, missing
        Projections of its stream that applied it according to the logs, and those that did not.
    """

    stream_id: str
    event_id: int
    event_type: str
    stored_at: datetime
    correlation_id: str | None
    steps: tuple[Step, ...]
    projected: tuple[str, ...]
    missing: tuple[str, ...]
    trace_ids: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        return not self.missing


def trace(event: Event, lines: Iterable[Line], followers: Sequence[str]) -> Trace:
    """Reconstruct an event's path.

    Parameters
    ----------
    event
        As the API returns it.
    lines
        Log lines of all functions, from shortly before it was stored.
    followers
        Names of the projections that follow its stream.
    """
    stream_id, event_id = event["streamId"], int(event["eventId"])
    stored_at = parse_rfc3339(event["timeStamp"])
    correlation_id = (event.get("metadata") or {}).get("correlationId")
    ordered = sorted((line for line in lines if line.kind is Kind.LOG), key=lambda line: line.at)
    steps: list[Step] = []
    projected: list[str] = []
    appended = _first(ordered, "appended", stream_id, event_id)
    if appended is not None:
        steps += _api_steps(ordered, appended)
    else:
        steps.append(Step(stored_at, "stored; the append is not in the logs", "Events table"))
    published = _first(ordered, "published", stream_id, event_id)
    if published is not None:
        steps.append(_step(published, "published to the topic"))
    for name in followers:
        line = _projection_line(ordered, name, stream_id, event_id)
        if line is not None:
            steps.append(line[0])
            projected += [name] if line[1] else []
    return Trace(
        stream_id=stream_id,
        event_id=event_id,
        event_type=event["type"],
        stored_at=stored_at,
        correlation_id=correlation_id,
        steps=tuple(sorted(steps, key=lambda step: step.at)),
        projected=tuple(projected),
        missing=tuple(name for name in followers if name not in projected),
        trace_ids=_trace_ids(line for line in ordered if is_about(line.fields, stream_id, event_id)),
    )


def _first(lines: Iterable[Line], text: str, stream_id: str, event_id: int) -> Line | None:
    return next((line for line in lines if line.text == text and is_about(line.fields, stream_id, event_id)), None)


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


def _trace_ids(lines: Iterable[Line]) -> tuple[str, ...]:
    found = (line.fields.get("xray_trace_id") for line in lines)
    return tuple(dict.fromkeys(each for each in found if isinstance(each, str) and each))


def show_trace(output: Output, logs: FunctionLogs, event: Event, timeout_s: float) -> None:
    """Show an event's path; waits for late lines until all projections have applied it, or time is up."""
    environment = output.environment
    follower = logs.follower(start_of(None, event))
    followers = [projection.name for projection in projections_of(event["streamId"])]
    lines: list[Line] = []
    deadline = environment.monotonic() + timeout_s
    while True:
        lines += map(understand, follower.look())
        found = trace(event, lines, followers)
        if found.complete or environment.monotonic() >= deadline:
            break
        environment.sleep(logs.poll_s)
    show(output, logs.target, found)


def show(output: Output, target: Target, found: Trace) -> None:
    """Show the path as a table or a document."""
    links = [url for each in found.trace_ids if (url := target.trace_url(each)) is not None]
    if not output.is_text:
        output.json(document(found) | {"traceUrls": links})
        return
    output.text(f"{visible(found.event_type)} is event {found.event_id} of stream {visible(found.stream_id)}")
    if found.correlation_id:
        output.text(f"correlation id {visible(found.correlation_id)}")
    output.text()
    columns = ("time", Column("+ ms", "right"), Column("total ms", "right"), "where", "what")
    output.table(columns, rows(found))
    for url in links:
        output.text(f"X-Ray trace: {url}")
    _conclude(output, target, found)


def rows(found: Trace) -> list[tuple[object, ...]]:
    """Return the rows of the table."""
    if not found.steps:
        return []
    first = before = found.steps[0].at
    cells: list[tuple[object, ...]] = []
    for step in found.steps:
        time = step.at.astimezone().strftime("%H:%M:%S.%f")[:-3]
        cells.append((time, _ms(before, step.at), _ms(first, step.at), step.where, step.what))
        before = step.at
    return cells


def _ms(one: datetime, other: datetime) -> str:
    return f"{(other - one).total_seconds() * 1000:.0f}"


def _conclude(output: Output, target: Target, found: Trace) -> None:
    output.message()
    if found.missing:
        names = ", ".join(found.missing)
        output.warning(f"not in the logs (yet): {names}")
        output.hint("See the projections:  esctl projections")
    elif found.projected:
        took = _ms(found.steps[0].at, found.steps[-1].at)
        output.success(f"in the read model of {', '.join(found.projected)}; the whole path took {took} ms")
    else:
        output.message("No projection follows this stream.")
    if not target.is_local:
        output.message("The clocks of different functions may differ by a few milliseconds.")


def document(found: Trace) -> dict[str, Any]:
    """Return the JSON form of the path."""
    first = found.steps[0].at if found.steps else found.stored_at
    return {
        "streamId": found.stream_id,
        "eventId": found.event_id,
        "type": found.event_type,
        "correlationId": found.correlation_id,
        "complete": found.complete,
        "projected": list(found.projected),
        "missing": list(found.missing),
        "steps": [
            {
                "at": step.at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
                "sinceFirstMs": int(_ms(first, step.at)),
                "where": step.where,
                "what": step.what,
                "requestId": step.request_id or None,
            }
            for step in found.steps
        ],
        "traceIds": list(found.trace_ids),
    }
