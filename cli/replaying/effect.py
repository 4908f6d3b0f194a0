"""What a replay changed, and what it would change: the read model beside its history."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from cli.api import Api
from cli.errors import CliError
from cli.readmodel import Listing, fetch
from cli.replaying.comparing import Difference, Rows, differences, rows_of
from cli.replaying.history import history
from cli.replaying.standing import StreamStanding
from cli.timetravel import folded
from handlers.projection.definition import Projection

Seen = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Effect:
    """Two states of one stream's rows, and where they differ.

    Attributes
    ----------
    before, after
        Numbers of rows: as they are and as they should be, or before and after a replay.
    checkpoint
        Of both, or of the state after.
    settled
        False where events were applied while the rows were read: some differences may be theirs.
    """

    stream_id: str
    checkpoint: int
    before: int
    after: int
    differences: tuple[Difference, ...]
    settled: bool = True


def audit(api: Api, projection: Projection, standing: StreamStanding, seen: Seen | None = None) -> Effect:
    """Compare the read model with a fold of the history up to its own checkpoint. Nothing is written.

    Raises
    ------
    CliError
        A handler raises, or the list can't be read at one checkpoint.
    """
    listing = listed(api, projection, standing.stream_id)
    if not listing.settled:
        raise CliError(
            "can't compare: events are applied faster than the list can be read", "Try again when less is written."
        )
    expected: Rows = {}
    if listing.checkpoint >= 0:
        events = history(api, standing.stream_id, last=listing.checkpoint, seen=seen)
        folded(projection, events, expected, standing)
    return _effect(standing.stream_id, listing.checkpoint, rows_of(listing.items, projection.key), expected)


def changed(api: Api, projection: Projection, standing: StreamStanding, before: Listing, after: Listing) -> Effect:
    """Tell what a replay changed: the rows after it against those before, with the events since then applied to these.

    Else what live events did meanwhile would be put down to the replay.
    """
    one, other = rows_of(before.items, projection.key), rows_of(after.items, projection.key)
    number = len(one)
    if before.checkpoint < after.checkpoint:
        since = history(api, standing.stream_id, first=before.checkpoint + 1, last=after.checkpoint)
        folded(projection, since, one, standing)
    effect = _effect(standing.stream_id, after.checkpoint, one, other)
    return replace(effect, before=number, settled=before.settled and after.settled)


def listed(api: Api, projection: Projection, stream_id: str) -> Listing:
    """All rows of one stream."""
    default = projection.streams is not None and projection.streams[:1] == (stream_id,)
    return fetch(api, projection, stream_id=None if default else stream_id)


def _effect(stream_id: str, checkpoint: int, one: Rows, other: Rows) -> Effect:
    return Effect(stream_id, checkpoint, len(one), len(other), tuple(differences(one, other)))
