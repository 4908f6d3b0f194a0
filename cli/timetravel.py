"""The read model as it was, folded from history by the same projection code; the read model itself is not touched."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from cli.api import Api
from cli.errors import CliError, NotFoundError, UsageError
from cli.readmodel import Listing
from cli.replaying.comparing import Rows, items_of
from cli.replaying.history import history, until
from cli.replaying.standing import StreamStanding, standings
from cli.terminal.text import shell_word
from handlers.errors import HandlerFailed
from handlers.events import Event
from handlers.projection.definition import Projection
from handlers.projection.fold import fold_all


@dataclass(frozen=True, slots=True)
class Moment:
    """A point in a stream's history: after an event, or at a time."""

    event_id: int | None = None
    at: datetime | None = None


def moment(text: str) -> Moment:
    """Read what ``--as-of`` is given.

    Raises
    ------
    UsageError
        It is neither an eventId nor a time.
    """
    if re.fullmatch(r"[0-9]{1,16}", text):  # eventIds end at 2^53
        return Moment(event_id=int(text))
    try:
        at = datetime.fromisoformat(text)
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise UsageError(
            f"--as-of can't be {text!r}: it is neither an eventId nor a time",
            "For example:  --as-of 41   or   --as-of 2026-11-23T10:15:30Z",
        ) from None
    return Moment(at=at)


def rows_as_of(api: Api, projection: Projection, when: Moment, stream_id: str | None = None) -> Listing:
    """All rows of a read model as they were.

    Raises
    ------
    NotFoundError
        There is no such event yet.
    CliError
        A handler raises on the way there: the read model never was at that point.
    """
    standing = _only(standings(api, projection, stream_id), projection)
    if when.event_id is not None and when.event_id > standing.head:
        last = "the stream has no events yet" if standing.head < 0 else f"the last one is event {standing.head}"
        raise NotFoundError(f"there is no event {when.event_id}: {last}")
    rows: Rows = {}
    checkpoint = folded(projection, _events(api, standing, when), rows, standing)
    return Listing(items_of(rows, projection.key), checkpoint)


def folded(projection: Projection, events: Iterator[Event], rows: Rows, standing: StreamStanding) -> int:
    """Fold events into rows as the stack does, stepping over what an operator skipped; returns the last eventId.

    Raises
    ------
    CliError
        A handler raises.
    """
    try:
        return fold_all(projection, events, rows, skipped=standing.skipped)
    except HandlerFailed as error:
        raise CliError(
            f"history can't be folded past event {error.event_id} ({error.event_type}): {error.error}",
            f"See the event:  esctl events {shell_word(standing.stream_id)} --from {error.event_id} --limit 1",
        ) from error


def _events(api: Api, standing: StreamStanding, when: Moment) -> Iterator[Event]:
    if when.at is None:
        return history(api, standing.stream_id, last=when.event_id)
    return until(history(api, standing.stream_id), when.at)


def _only(found: list[StreamStanding], projection: Projection) -> StreamStanding:
    if len(found) != 1:
        raise UsageError(f"the projection {projection.name} follows several streams", "Choose one with --stream-id.")
    return found[0]
