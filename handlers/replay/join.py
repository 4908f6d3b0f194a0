"""Joining live streams to the generation being built: from then on the active one never overtakes it (G5, G6)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from handlers.core.dynamodb import TRANSACTION_ITEMS
from handlers.core.errors import ContendedError
from handlers.core.events import StreamId
from handlers.projection import transitions
from handlers.projection.definition import Projection
from handlers.projection.engine import Projector
from handlers.projection.port import MAX_LOST_RACES, Commit, OutdatedError, ReadModel
from handlers.projection.state import SHARDS, Control, StreamState

# Two items per stream; at a birth in the new generation the fence is another.
STREAMS_PER_COMMIT = TRANSACTION_ITEMS // 3


class OutOfTimeError(Exception):
    """The new generation is far behind for a stream: the next task goes on from its state."""


class Joiner:
    """Joins the streams of one projection.

    Parameters
    ----------
    pause
        Called before a retry with the number of races lost before.
    """

    def __init__(
        self, projector: Projector, read_model: ReadModel, *, pause: Callable[[int], None] = lambda lost: None
    ) -> None:
        self._projector = projector
        self._read_model = read_model
        self._pause = pause

    def join_named(self, control: Control, stream_ids: Sequence[StreamId], has_time: Callable[[], bool]) -> None:
        """Join streams of a projection that follows named streams.

        Raises
        ------
        OutOfTimeError
            As for `join`.
        """
        for start in range(0, len(stream_ids), TRANSACTION_ITEMS):
            batch = stream_ids[start : start + TRANSACTION_ITEMS]
            self.join(control, self._read_model.load(control.active, batch).states.values(), has_time)

    def join(self, control: Control, states: Iterable[StreamState], has_time: Callable[[], bool]) -> None:
        """Join streams, given their states in the active generation.

        Raises
        ------
        OutOfTimeError
            ``has_time`` returned False before a stream was brought to where readers are.
        """
        projection, generation = self._target(control)
        waiting = [each for each in states if _must_join(each, generation, projection)]
        for start in range(0, len(waiting), STREAMS_PER_COMMIT):
            batch = waiting[start : start + STREAMS_PER_COMMIT]
            leaders = self._read_model.load(generation, [each.stream_id for each in batch]).states
            try:
                self._commit(control, [(each, self._ahead(leaders[each.stream_id], each, has_time)) for each in batch])
            except OutdatedError as error:
                if transitions.CONTROL in error.items:  # the generations have changed: the worker looks again
                    raise
                # Live events: join these streams one at a time.
                for each in batch:
                    self._join_one(control, each.stream_id, has_time)

    def _join_one(self, control: Control, stream_id: StreamId, has_time: Callable[[], bool]) -> None:
        projection, generation = self._target(control)
        for lost in range(MAX_LOST_RACES):
            state = self._read_model.load(control.active, [stream_id]).states[stream_id]
            if not _must_join(state, generation, projection):
                return
            leader = self._read_model.load(generation, [stream_id]).states[stream_id]
            try:
                self._commit(control, [(state, self._ahead(leader, state, has_time))])
            except OutdatedError as error:
                if transitions.CONTROL in error.items:
                    raise
                self._pause(lost)
            else:
                return
        raise ContendedError(f"projection {projection.name}: stream {stream_id!r} is contended")

    def _ahead(self, leader: StreamState, state: StreamState, has_time: Callable[[], bool]) -> StreamState:
        """Return the stream's state in the new generation, brought at least to what readers may have seen."""
        if leader.checkpoint >= state.seen:
            return leader
        self._projector.cache.forget_stream(state.stream_id)
        reached = self._projector.bring(state.stream_id, leader.generation, state.seen, has_time=has_time)
        if reached.checkpoint < state.seen:
            raise OutOfTimeError
        return reached

    def _commit(self, control: Control, pairs: Iterable[tuple[StreamState, StreamState]]) -> None:
        changes = [
            change for live, leader in pairs for change in (transitions.follow(live, leader), transitions.lead(leader))
        ]
        self._read_model.commit(Commit(tuple(changes), born_at=control.version))

    def _target(self, control: Control) -> tuple[Projection, int]:
        return self._projector.code.of(control.underway.fingerprint), control.underway.generation


def shards_of(segment: int, segments: int) -> range:
    """Return the shards of a segment."""
    return range(segment, SHARDS, segments)


def _must_join(state: StreamState, generation: int, projection: Projection) -> bool:
    return state.exists and state.ahead != generation and projection.follows(state.stream_id)
