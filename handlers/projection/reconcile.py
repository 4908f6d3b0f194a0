"""Finding stalled work for which no message is in flight (P6), and previous generations to delete."""

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

# A worker records the time with every batch of rows, several times per second; after this long it must be dead.
STALLED = timedelta(minutes=2)
# How long the previous generation is kept for a rollback (docs/rules.md, "Replay", step 5).
KEEP_PREVIOUS = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Lag:
    """A stream's head and its state in a projection."""

    stream_id: StreamId
    head: int
    state: StreamState

    @property
    def events(self) -> int:
        """Head minus checkpoint."""
        return max(0, self.head - self.state.checkpoint)

    @property
    def needs_trigger(self) -> bool:
        """True if a message would help: the stream lags and is not halted."""
        return self.events > 0 and not self.state.is_halted


def lags(projection: Projection, store: EventStore, read_model: ReadModel, *, start: float = 0.0) -> Iterator[Lag]:
    """Yield the lag of every stream that a projection follows.

    Parameters
    ----------
    start
        For a projection that follows all streams, where to start among them, from 0 to 1: if time runs out before the end,
        varying it reaches every stream eventually.
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
    """Return the id of a stalled replay of this stream, or of an ended one with rows to sweep; otherwise None."""
    if state.replay:
        idle = now - parse_rfc3339(state.replay.at)
        return state.replay.replay_id if idle >= STALLED else None
    if state.sweep and state.last_replay:
        idle = now - parse_rfc3339(state.last_replay.at)
        return state.last_replay.replay_id if idle >= STALLED else None
    return None


def retire(state: StreamState, read_model: ReadModel, clock: Clock) -> bool:
    """Retire a previous generation after a day; the next message sweeps its rows."""
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
    """Return the largest lag in events; 0 if nothing lags."""
    return max((lag.events for lag in found if lag.head != NO_EVENTS), default=0)
