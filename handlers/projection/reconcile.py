"""Finding what stands still though no message is on its way any more (P6), and what has been kept for long enough."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from handlers.core.clock import Clock, parse_rfc3339
from handlers.core.events import NO_EVENTS, StreamId
from handlers.projection import transitions
from handlers.projection.definition import Projection
from handlers.projection.port import OutdatedError, ReadModel
from handlers.projection.state import StreamState
from handlers.store import EventStore

# A worker notes the time with every lot of rows, several times a second; one that wrote nothing for so long is dead.
STANDSTILL = timedelta(minutes=2)
# How long the generation before the active one is kept for a rollback (docs/rules.md, "Replay", step 5).
KEEP_PREVIOUS = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Lag:
    """How far a stream of a projection is behind.

    Attributes
    ----------
    events
        Head minus checkpoint.
    """

    stream_id: StreamId
    head: int
    state: StreamState

    @property
    def events(self) -> int:
        return max(0, self.head - self.state.checkpoint)

    @property
    def needs_trigger(self) -> bool:
        """True where a message would help: it lags and is not halted."""
        return self.events > 0 and not self.state.is_halted


def lags(projection: Projection, store: EventStore, read_model: ReadModel, *, start: float = 0.0) -> Iterator[Lag]:
    """Compare the head of every stream that a projection follows with its checkpoint.

    Parameters
    ----------
    start
        Where among the streams of a projection that follows all to begin, from 0 to 1: where time is up before the end,
        another place each time leaves no stream out for ever.
    """
    if projection.streams is not None:
        for stream_id in projection.streams:
            yield Lag(stream_id, store.head(stream_id), read_model.load(stream_id).state)
        return
    states = {state.stream_id: state for state in read_model.states()}
    streams = list(_all_streams(store))
    first = int(start * len(streams))
    for stream_id in streams[first:] + streams[:first]:
        state = states.get(stream_id) or StreamState(stream_id)
        yield Lag(stream_id, store.head(stream_id), state)


def unfinished_replay(state: StreamState, now: datetime) -> str | None:
    """Return the id of a replay of this stream that wants a message; None where there is none.

    That is one that stands still, or one that has ended and left rows to sweep.
    """
    if state.replay:
        standing = now - parse_rfc3339(state.replay.at)
        return state.replay.replay_id if standing >= STANDSTILL else None
    if state.sweep and state.last_replay:
        left = now - parse_rfc3339(state.last_replay.at)
        return state.last_replay.replay_id if left >= STANDSTILL else None
    return None


def retire(state: StreamState, read_model: ReadModel, clock: Clock) -> bool:
    """Give up a previous generation that has been kept for a day; its rows are swept by the next message."""
    if state.previous is None or state.replay is not None:
        return False
    if clock.now() - parse_rfc3339(state.previous.at) < KEEP_PREVIOUS:
        return False
    try:
        read_model.commit(transitions.retire_previous(state))
    except OutdatedError:
        return False  # a replay or a rollback came first
    return True


def _all_streams(store: EventStore) -> Iterator[StreamId]:
    after: str | None = None
    while True:
        page = store.streams(limit=1000, after=after)
        yield from page.stream_ids
        after = page.next_position
        if after is None:
            return


def worst(found: Sequence[Lag]) -> int:
    """Return the largest lag in events; 0 where nothing lags."""
    return max((lag.events for lag in found if lag.head != NO_EVENTS), default=0)
