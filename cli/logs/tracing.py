"""One event's path from the API to the read models, put together from log lines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cli.eventstore import Event
from cli.logs.lines import Kind, Line
from cli.logs.selection import is_about


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happened to an event.

    Attributes
    ----------
    what
        In a few words.
    where
        The function, or the store.
    request_id
        The invocation; empty where it is not known.
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
        The time that the event itself bears.
    steps
        In the order of their times.
    projected
        Projections that have applied it; ``missing`` are those that follow its stream and have not, as far as is logged.
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
    """Find an event's path.

    Parameters
    ----------
    event
        As the API shows it.
    lines
        Of all functions, from a little before it was stored.
    followers
        Names of the projections that follow its stream.
    """
    from handlers.clock import parse_rfc3339

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
        steps.append(Step(stored_at, "stored, its append is not in the logs", "Events table"))
    published = _first(ordered, "published", stream_id, event_id)
    if published is not None:
        steps.append(_step(published, "announced on the topic"))
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
    """The request: when it came, the append, and the answer (which may be later than the projection)."""
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
    """What a projection made of the event, and whether it is in its read model.

    The event need not be named: whoever finds a gap reads it from the store, so any later checkpoint tells.
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
