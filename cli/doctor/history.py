"""The history and what is made of it: streams without gaps, read models as a fresh fold has them, a probe."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cli.doctor.model import Finding, Verdict
from cli.errors import CliError, NotFoundError
from cli.eventstore import event_pages, events_page, stream_pages
from cli.readmodel import following, wait_until_projected
from cli.replaying.effect import audit
from cli.replaying.standing import StreamStanding, standings
from cli.terminal.text import visible
from handlers.projection.definition import Projection
from handlers.projections import registry

if TYPE_CHECKING:
    from cli.api import Api
    from cli.session import Session

PROBE_STREAM = "esctl-doctor-probe"
PROBE_TYPE = "ESCTL_PROBE"

EVENTS_MAX = 100_000  # some seconds to read; --full reads all
_PROBE_TIMEOUT_S = 30.0


def contiguity(session: Session, *, full: bool) -> Iterator[Finding]:
    """Every stream's events are numbered from 0 without a gap."""
    streams = events = left_out = 0
    for page in stream_pages(session.api):
        for stream_id in page:
            if not full and events >= EVENTS_MAX:
                left_out += 1
                continue
            streams += 1
            number, gap = count(session.api, stream_id, None if full else EVENTS_MAX - events)
            events += number
            if gap is not None:
                yield Finding(
                    "streams",
                    Verdict.FAULT,
                    f"stream {visible(stream_id)} has a gap: event {gap} is missing",
                    "Events are never deleted by this system. Restore the table to a time before: AWS Backup, or "
                    "point-in-time recovery of the Events table.",
                )
    rest = f"; {left_out} streams were left out, --full looks at all" if left_out else ""
    yield Finding("streams", Verdict.OK, f"{events:,} events of {streams:,} streams read, in order{rest}")


def count(api: Api, stream_id: str, limit: int | None) -> tuple[int, int | None]:
    """Read a stream, or its first ``limit`` events; returns how many there are, and the first that is missing."""
    expected = 0
    try:
        for page in event_pages(api, stream_id, first=0, limit=limit):
            for event in page:
                if event["eventId"] != expected:
                    return expected, expected
                expected += 1
    except NotFoundError:  # the list of streams is a second behind, in one direction only: it must be there
        return 0, 0
    return expected, None


def read_models(session: Session, *, full: bool) -> Iterator[Finding]:
    """Every read model is what a fresh fold of the history leads to."""
    for projection in registry().values():
        events = 0
        for standing in standings(session.api, projection):
            if standing.checkpoint < 0:
                continue
            if not full and events + standing.checkpoint >= EVENTS_MAX:
                where = f"{projection.name}: stream {visible(standing.stream_id)}"
                what = f"{where} was left out: it is long; --full looks at all"
                yield Finding("read models", Verdict.NOTE, what)
                continue
            events += standing.checkpoint + 1
            yield _audited(session, projection, standing)


def _audited(session: Session, projection: Projection, standing: StreamStanding) -> Finding:
    where = f"{projection.name}: stream {visible(standing.stream_id)}"
    effect = audit(session.api, projection, standing, lambda _: None)
    if not effect.differences:
        return Finding("read models", Verdict.OK, f"{where} is what its {effect.checkpoint + 1:,} events lead to")
    keys = ", ".join(each.key for each in effect.differences[:5])
    what = f"{where}: {len(effect.differences)} rows differ from the history: {keys}"
    return Finding("read models", Verdict.FAULT, what, f"Build it anew:  esctl replay --projection {projection.name}")


def probe(session: Session) -> Iterator[Finding]:
    """An event is appended to a stream of the doctor's own, read back, and projected by whoever follows it."""
    started = time.perf_counter()
    try:
        appended = session.api.post("/addEvent", _probe_event(PROBE_STREAM)).document
    except CliError as error:
        if error.status != 400:
            raise
        yield Finding("probe", Verdict.NOTE, f"a strict stack takes no event of type {PROBE_TYPE}: nothing was tried")
        return
    took_ms = (time.perf_counter() - started) * 1000
    event_id = int(appended["eventId"])
    found = events_page(session.api, PROBE_STREAM, first=event_id, limit=1).events
    if not found or found[0]["eventId"] != event_id or found[0]["type"] != PROBE_TYPE:
        raise CliError(f"event {event_id} of {PROBE_STREAM} was accepted, but can't be read back")
    yield Finding("probe", Verdict.OK, f"event {event_id} of {PROBE_STREAM} stored in {took_ms:.0f} ms and read back")
    yield from _projected(session, PROBE_STREAM, event_id)
    if not following(PROBE_STREAM):
        what = "no projection follows that stream, so projecting was not tried"
        yield Finding(
            "probe", Verdict.NOTE, what, "Try it with an event in each projected stream:  esctl doctor --probe"
        )


def probe_projections(session: Session) -> Iterator[Finding]:
    """An event that no projection handles is appended to each declared stream, and its checkpoint has to pass it."""
    streams = dict.fromkeys(stream for each in registry().values() for stream in each.streams or ())
    for stream_id in streams:
        event_id = int(session.api.post("/addEvent", _probe_event(stream_id)).document["eventId"])
        yield from _projected(session, stream_id, event_id)


def _projected(session: Session, stream_id: str, event_id: int) -> Iterator[Finding]:
    for projection in following(stream_id):
        started = time.perf_counter()
        wait_until_projected(session.api, session.environment, projection, stream_id, event_id, _PROBE_TIMEOUT_S)
        took_ms = (time.perf_counter() - started) * 1000
        what = f"event {event_id} of {visible(stream_id)} reached {projection.name} within {took_ms:.0f} ms"
        yield Finding("probe", Verdict.OK, what)


def _probe_event(stream_id: str) -> dict[str, object]:
    return {"streamId": stream_id, "type": PROBE_TYPE, "data": {"by": "esctl doctor"}}
