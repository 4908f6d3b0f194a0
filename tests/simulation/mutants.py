"""Mutants: each breaks one rule, to prove that the simulation can fail."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from handlers.core.events import StreamId
from handlers.projection.definition import Row
from handlers.projection.engine import Projector
from handlers.projection.fold import Prepared
from handlers.projection.port import ReadModel, Snapshot
from handlers.projection.state import StreamState
from handlers.projection.transitions import StateChange
from tests.simulation.actors import Variant

ReadModelWrapper = Callable[[ReadModel], ReadModel]


@dataclass(frozen=True, slots=True)
class Mutant:
    """A rule that does not hold.

    Attributes
    ----------
    idempotent
        It takes rewinds to show, so a projection that allows them.
    """

    variant: Variant
    idempotent: bool = False


class _Passing:
    """Passes every call on."""

    def __init__(self, inner: ReadModel) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def changing(change: Callable[[StateChange], StateChange]) -> ReadModelWrapper:
    """Commits something else than what was asked for."""

    class Changing(_Passing):
        def commit(
            self, wanted: StateChange, rows: Mapping[str, Row | None] | None = None, generation: int = 0
        ) -> None:
            self._inner.commit(change(wanted), rows, generation)

    return Changing


def without(*paths: str, only: Callable[[StateChange], bool] = lambda change: True) -> ReadModelWrapper:
    """Drops conditions."""

    def dropping(change: StateChange) -> StateChange:
        if not only(change):
            return change
        return replace(change, expect={path: value for path, value in change.expect.items() if path not in paths})

    return changing(dropping)


def is_switch(change: StateChange) -> bool:
    return "activeGeneration" in change.put


def is_begin(change: StateChange) -> bool:
    return "replay" in change.put and "replay" in change.expect


def _same_generation_again(change: StateChange) -> StateChange:
    return replace(change, put={path: value for path, value in change.put.items() if path != "nextGeneration"})


class RowsBeforeState(_Passing):
    """Reads the rows and then the state, each at an instant of its own, as a batch read does."""

    def load(self, stream_id: StreamId, keys: Sequence[str] = (), generation: int = 0) -> Snapshot:
        rows = self._inner.load(stream_id, keys, generation).rows if keys else {}
        return replace(self._inner.load(stream_id), rows=rows, generation=generation)


class RowsAfterState(_Passing):
    """Commits the state and then the rows, in two writes."""

    def commit(self, change: StateChange, rows: Mapping[str, Row | None] | None = None, generation: int = 0) -> None:
        self._inner.commit(change)
        if rows:
            self._inner.commit(replace(change, expect={}, put={}, remove=()), rows, generation)


class RowsBeforeCheckpoint(_Passing):
    """Commits the rows and then the state, in two writes."""

    def commit(self, change: StateChange, rows: Mapping[str, Row | None] | None = None, generation: int = 0) -> None:
        if rows:
            self._inner.commit(replace(change, put={}, remove=()), rows, generation)
        self._inner.commit(change)


class NoSecondLook(_Passing):
    """Shows a reader the same state after its rows as before them."""

    def __init__(self, inner: ReadModel) -> None:
        super().__init__(inner)
        self._shown: Snapshot | None = None

    def load(self, stream_id: StreamId, keys: Sequence[str] = (), generation: int = 0) -> Snapshot:
        if self._shown is None:
            self._shown = self._inner.load(stream_id, keys, generation)
            return self._shown
        shown, self._shown = self._shown, None
        return shown


class AlwaysSettled(_Passing):
    """Hides from a reader that a rewind's catch-up is under way."""

    def load(self, stream_id: StreamId, keys: Sequence[str] = (), generation: int = 0) -> Snapshot:
        snapshot = self._inner.load(stream_id, keys, generation)
        return replace(snapshot, state=replace(snapshot.state, rewound_from=None))


class NoGapRead(Projector):
    """Takes the event of a message for the one that comes next."""

    def _following(self, state: StreamState, target: int, offered: Mapping[int, Prepared]) -> Sequence[Prepared]:
        return [offered[target]] if target in offered else super()._following(state, target, offered)


MUTANTS: Mapping[str, Mutant] = {
    "a commit does not look at the checkpoint": Mutant(Variant(live=without("checkpoint"))),
    "a commit does not look at the active generation": Mutant(Variant(live=without("activeGeneration"))),
    "a gap is not read": Mutant(Variant(projector=NoGapRead)),
    "rows and state are read at two instants": Mutant(Variant(live=RowsBeforeState)),
    "the checkpoint is written before the rows": Mutant(Variant(live=RowsAfterState)),
    "the rows are written before the checkpoint": Mutant(Variant(live=RowsBeforeCheckpoint)),
    "a reader does not look at the state again": Mutant(Variant(reader=NoSecondLook)),
    "nobody reconciles": Mutant(Variant(reconciles=False)),
    "a replay ignores its checkpoint": Mutant(Variant(replay=without("replay.checkpoint", "replay.chunk"))),
    "a replay ignores its page": Mutant(Variant(replay=without("replay.chunk"))),
    "a replay's checkpoint is written before its rows": Mutant(Variant(replay=RowsAfterState)),
    "the switch does not look at the live checkpoint": Mutant(Variant(replay=without("checkpoint", only=is_switch))),
    "a replay is begun beside another": Mutant(
        Variant(
            replay=without(
                "replay", "nextGeneration", "previous", "previous.generation", "previous.checkpoint", only=is_begin
            )
        )
    ),
    "a generation's number is used again": Mutant(Variant(replay=changing(_same_generation_again))),
    "what is to be swept is overwritten": Mutant(Variant(replay=without("sweep"))),
    "a rewind under way is not shown": Mutant(Variant(reader=AlwaysSettled), idempotent=True),
}
