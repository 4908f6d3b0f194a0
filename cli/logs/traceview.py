"""An event's path on the screen: its steps, the time between them, and what X-Ray knows."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from cli.logs.tracing import Trace
from cli.tables import Column
from cli.terminal.text import visible

if TYPE_CHECKING:
    from cli.session import Session


def show(session: Session, found: Trace) -> None:
    """Write the path as a table, or as a document."""
    from cli.logs.xray import Segment, segments

    spans: list[Segment] = []
    if found.trace_ids and not session.target.is_local:  # the emulator takes in no segments
        spans = segments(session.clients.client("xray"), found.trace_ids)
    if not session.output.is_text:
        session.output.json(document(found) | {"segments": [each.document() for each in spans]})
        return
    output = session.output
    output.text(f"{visible(found.event_type)} is event {found.event_id} of stream {visible(found.stream_id)}")
    if found.correlation_id:
        output.text(f"correlation id {visible(found.correlation_id)}")
    output.text()
    columns = ("time", Column("+ ms", "right"), Column("total ms", "right"), "where", "what")
    output.table(columns, rows(found))
    if spans:
        named = [(each.name, f"{each.milliseconds:.1f}", each.error) for each in spans]
        output.text()
        output.table(("segment", Column("ms", "right"), "fault"), named, title="X-Ray")
    _conclude(session, found)


def rows(found: Trace) -> list[tuple[object, ...]]:
    """The cells of the table."""
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


def _conclude(session: Session, found: Trace) -> None:
    output = session.output
    output.message()
    if found.missing:
        names = ", ".join(found.missing)
        output.warning(f"not (yet) seen in the log of: {names}")
        output.hint("See where the projections stand:  esctl projections")
    elif found.projected:
        took = _ms(found.steps[0].at, found.steps[-1].at)
        output.success(f"in the read model of {', '.join(found.projected)}; the whole path took {took} ms")
    else:
        output.message("No projection follows this stream.")
    if not session.target.is_local:
        output.message("Functions run on several machines, whose clocks may differ by some milliseconds.")


def document(found: Trace) -> dict[str, Any]:
    """The path for scripts."""
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
