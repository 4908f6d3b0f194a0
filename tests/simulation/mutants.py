"""Mutants: each breaks one rule, to prove that the simulation can fail."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from handlers.core.events import StreamId
from handlers.projection.definition import Projection
from handlers.projection.engine import Code, Projector, row_changes
from handlers.projection.fold import Prepared
from handlers.projection.port import Change, Commit, ReadModel, Row, RowChange, RowPage, RowQuery, Snapshot, StatePage
from handlers.projection.reading import RowReader
from handlers.projection.state import Control, ControlItem, JobItem, StateItem, StreamState
from handlers.replay.jobs import ReplayJob
from handlers.replay.worker import ReplayWorker
from tests.simulation.actors import Variant, Wrapper
from tests.support.memory_read_model import MemoryReadModel

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Mutant:
    """A rule that does not hold.

    Attributes
    ----------
    names, streams, pace
        Of the world that shows it best.
    seed
        Where to begin: it is found within a few seeds from there.
    """

    variant: Variant
    names: Sequence[str] = ("tally",)
    streams: int = 5
    pace: int = 120
    row_changes: Callable[..., tuple[RowChange, ...]] = row_changes
    seed: int = 0


class _Passing:
    """Passes every call on."""

    def __init__(self, inner: ReadModel) -> None:
        self._inner: Any = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def committing(change: Callable[[Any, Commit], Commit]) -> Wrapper:
    """Commit something else than what was asked for; ``change`` is given the read model and the commit."""

    class Committing(_Passing):
        def commit(self, commit: Commit) -> None:
            self._inner.commit(change(self._inner, commit))

    return Committing


def changing(change: Callable[[Change[Any]], Change[Any]]) -> Wrapper:
    """Change each change of a commit."""
    return committing(lambda _, commit: replace(commit, changes=tuple(map(change, commit.changes))))


def without(*paths: str, only: Callable[[Change[Any]], bool]) -> Wrapper:
    """Drop conditions."""

    def dropping(change: Change[Any]) -> Change[Any]:
        if not only(change):
            return change
        return replace(change, expect={path: value for path, value in change.expect.items() if path not in paths})

    return changing(dropping)


# -- kinds of changes ----------------------------------------------------------------------------------------------------


def is_advance(change: Change[Any]) -> bool:
    return isinstance(change.item, StateItem) and "checkpoint" in change.put and not change.is_birth


def is_follow(change: Change[Any]) -> bool:
    return isinstance(change.item, StateItem) and "ahead" in change.put and not change.is_birth


def is_control(change: Change[Any]) -> bool:
    return isinstance(change.item, ControlItem)


def is_begin(change: Change[Any]) -> bool:
    return is_control(change) and "building" in change.put


def is_segment(change: Change[Any]) -> bool:
    return isinstance(change.item, JobItem) and any(path.startswith("segments.") for path in change.put)


def is_state(change: Change[Any]) -> bool:
    return isinstance(change.item, StateItem) and not change.is_birth


def halts(commit: Commit) -> bool:
    return any(isinstance(change.item, StateItem) and "halted" in change.put for change in commit.changes)


# -- commits -------------------------------------------------------------------------------------------------------------


def _any_row(read_model: Any, commit: Commit) -> Commit:
    """Expect whatever rows are stored."""
    stored = read_model.load(commit.generation, (), [each.key for each in commit.rows]).rows
    versions = {key: None if row is None else row.version for key, row in stored.items()}
    return replace(commit, rows=tuple(replace(each, before=versions[each.key]) for each in commit.rows))


def _written_rows(_: Any, commit: Commit) -> Commit:
    return replace(commit, rows=tuple(each for each in commit.rows if each.write))


def counting_row_changes(*arguments: Any) -> tuple[RowChange, ...]:
    """Count the versions of a row: one that is deleted and created again has had its version before."""
    changes = row_changes(*arguments)
    return tuple(replace(each, version=str(int(each.before or 0) + 1)) for each in changes)


def _same_generation_again(change: Change[Any]) -> Change[Any]:
    return replace(change, put={path: value for path, value in change.put.items() if path != "nextGeneration"})


def _unchecked_segment(change: Change[Any]) -> Change[Any]:
    is_check = isinstance(change.item, JobItem) and not change.put
    return replace(change, expect={}) if is_check else change


def _both_ways(change: Change[Any]) -> Change[Any]:
    """Leave the new generation following the active one."""
    is_lead = isinstance(change.item, StateItem) and not change.put and "ahead" in change.remove
    return replace(change, remove=()) if is_lead and change.expect.get("ahead") is not None else change


def _unseen_sweep(change: Change[Any]) -> Change[Any]:
    """Lose what is to be swept when a replay begins."""
    put = {path: value for path, value in change.put.items() if path != "sweep"}
    return replace(change, put=put) if is_begin(change) else change


class InTwoCommits(_Passing):
    """Commits the states, and then the rows."""

    def commit(self, commit: Commit) -> None:
        self._inner.commit(replace(commit, rows=()))
        if commit.rows:
            self._inner.commit(Commit((), commit.rows, commit.generation))


class RowsFirst(_Passing):
    """Commits the rows, and then the states."""

    def commit(self, commit: Commit) -> None:
        if commit.rows:
            self._inner.commit(Commit((), commit.rows, commit.generation))
        self._inner.commit(replace(commit, rows=()))


class RowsSweptFirst(_Passing):
    """Deletes rows, and then the states that let others write them."""

    def __init__(self, inner: ReadModel) -> None:
        super().__init__(inner)
        self._without_rows: set[int] = set()

    def sweep(self, generation: int) -> bool:
        inner: MemoryReadModel = self._inner
        keys = [key for key, _ in inner.rows(generation, RowQuery(limit=1)).rows]
        if keys and generation not in self._without_rows:
            stored = inner.load(generation, (), keys).rows[keys[0]]
            assert stored is not None
            inner.commit(Commit((), (RowChange(keys[0], stored.version, True),), generation))
            return False
        self._without_rows.add(generation)
        for item in list(inner.documents):
            if isinstance(item, StateItem) and item.generation == generation:
                del inner.documents[item]
                inner._generation(generation).drop_stream(item.stream_id)
                return False
        return True


class LastStateMissed(_Passing):
    """Leaves out the last state of each page, as a scan does that began too early."""

    def states(self, generation: int, shard: int, *, after: StreamId | None = None) -> StatePage:
        page: StatePage = self._inner.states(generation, shard, after=after)
        return replace(page, states=page.states[:-1])


# -- projectors ----------------------------------------------------------------------------------------------------------


class FollowerFirst(Projector):
    """Brings the generation that must be ahead after the other one (G4)."""

    def _bring(self, task: Any, generation: int, target: int, depth: int = 0) -> tuple[StreamState, int]:
        if depth:
            later = getattr(task.has_time, "later", None)
            if later is not None:
                later.append((generation, target))
                return StreamState(task.stream_id, generation, True, target), 0
            return super()._bring(task, generation, target, depth)
        later = []
        has_time = lambda: True  # noqa: E731
        has_time.later = later  # type: ignore[attr-defined]
        task.has_time = has_time
        result = super()._bring(task, generation, target)
        del has_time.later  # type: ignore[attr-defined]
        for other, upto in later:
            super()._bring(task, other, upto, 1)
        return result


class BeyondTheLeader(Projector):
    """Applies whatever it finds, also beyond what the generation ahead has (G4)."""

    _FAR = 10**9

    def _bring(self, task: Any, generation: int, target: int, depth: int = 0) -> tuple[StreamState, int]:
        if depth:
            state, applied = super()._bring(task, generation, getattr(self, "_wanted", target), depth)
            return replace(state, checkpoint=self._FAR), applied
        self._wanted = target
        known = self.cache.state(generation, task.stream_id)
        if known is not None and known.checkpoint >= target:
            return known, 0
        state, applied = super()._bring(task, generation, self._FAR)
        return state, applied


class BirthAnywhere(Projector):
    """Lets a live stream be born in a generation that is not the active one (G3), and overlooks the switch (G7)."""

    def _unborn(self, task: Any, state: StreamState, depth: int) -> StreamState:
        return super()._unborn(task, state, depth + 1)

    def _bring(self, task: Any, generation: int, target: int, depth: int = 0) -> tuple[StreamState, int]:
        known = self._control
        result = super()._bring(task, generation, target, depth)
        if not depth:
            self._control, self._control_read_at = known, self._monotonic()
        return result


class BirthAlone(Projector):
    """Lets a stream be born without following the generation that is being built (G3)."""

    def _unborn(self, task: Any, state: StreamState, depth: int) -> StreamState:
        return replace(super()._unborn(task, state, depth), ahead=None)


class HastyDrop(Projector):
    """Stops following a generation that an old control item does not know (G7)."""

    def _may_lead(self, state: StreamState) -> bool:
        fresh, self.control = self.control, lambda *, fresh=False: Projector.control(self)  # type: ignore[method-assign]
        try:
            return super()._may_lead(state)
        finally:
            self.control = fresh  # type: ignore[method-assign]


class NoGapRead(Projector):
    """Takes the event of a message for the one that comes next (P1)."""

    def _following(self, task: Any, projection: Projection, state: StreamState, target: int) -> Sequence[Prepared]:
        if target in task.offered:
            return list(task.prepare(projection, [task.offered[target]]))
        return super()._following(task, projection, state, target)


class NewestCode(Projector):
    """Folds every generation with the deployed code (G10)."""

    def __init__(self, code: Code, *arguments: Any, **named: Any) -> None:
        super().__init__(Code(code.current), *arguments, **named)


# -- workers and readers -------------------------------------------------------------------------------------------------


class HastySwitch(ReplayWorker):
    """Goes on to the next phase, and switches, when one segment is done (G6)."""

    def _finish_phase(self, control: Control, replay_id: str, segment: int) -> bool:
        inner = self._read_model

        class AllDone(_Passing):
            def read(self, item: Any) -> Any:
                document = inner.read(item)
                segments = document.get("segments", {})
                return {**document, "segments": {each: {**segments[each], "done": True} for each in segments}}

        self._read_model = AllDone(inner)
        try:
            return super()._finish_phase(control, replay_id, segment)
        finally:
            self._read_model = inner


class NoJoin(ReplayWorker):
    """Switches to the new generation without joining anything (G5)."""

    def _join(self, control: Control, job: ReplayJob, index: int, has_time: Callable[[], bool]) -> bool:
        self._joiner.join = lambda *_: None  # type: ignore[method-assign]
        return super()._join(control, job, index, has_time)


class NoSecondState(RowReader):
    """Takes rows for those of the state read before them (G9)."""

    def _settled(self, generation: int, query: RowQuery, stream_id: StreamId) -> Any:
        state = self._state(generation, stream_id)
        return self._read_model.rows(generation, query), state, state.is_settled


class NoSecondControl(RowReader):
    """Does not compare the control item after a read (G9)."""

    def unchanged(self, read: Callable[[Control], T]) -> T:
        result = read(self._known or self.control())
        self.control()
        return result


class OldControl(RowReader):
    """Reads the generation that was active once (G9)."""

    def unchanged(self, read: Callable[[Control], T]) -> T:
        return read(self._known or self.control())


class Slow(_Passing):
    """Takes its time between two rows, as a reader does that reads many."""

    def rows(self, generation: int, query: RowQuery) -> RowPage:
        rows: list[tuple[str, Row]] = []
        while True:
            for _ in range(6):
                self._inner.read(ControlItem())
            page: RowPage = self._inner.rows(generation, replace(query, limit=1))
            rows += page.rows
            query = replace(query, after=page.position)
            if page.position is None:
                return RowPage(tuple(rows), None)


def seen_as(**fields: Any) -> Wrapper:
    """Show a reader other states."""

    class Seen(_Passing):
        def load(self, generation: int, stream_ids: Sequence[StreamId], keys: Sequence[str] = ()) -> Snapshot:
            found: Snapshot = self._inner.load(generation, stream_ids, keys)
            return replace(found, states={each: replace(state, **fields) for each, state in found.states.items()})

    return Seen


# -- the rules -----------------------------------------------------------------------------------------------------------


def everywhere(wrapper: Wrapper) -> Variant:
    return Variant(storage=wrapper)


LATEST = ("latest",)

MUTANTS: Mapping[str, Mutant] = {
    "G1: a commit does not compare the checkpoint": Mutant(everywhere(without("checkpoint", only=is_advance))),
    "G1: a commit does not compare rows": Mutant(everywhere(committing(_any_row))),
    "G1: a commit does not compare rows that it leaves unchanged": Mutant(everywhere(committing(_written_rows))),
    "G1: a row's version comes again": Mutant(Variant(), streams=3, row_changes=counting_row_changes),
    "G1: the state is committed before the rows": Mutant(Variant(live=InTwoCommits)),
    "G1: the rows are committed before the state": Mutant(Variant(live=RowsFirst)),
    "G3: a birth does not check the fence": Mutant(everywhere(committing(lambda _, each: replace(each, born_at=None)))),
    "G3: the fences do not change": Mutant(everywhere(committing(lambda _, each: replace(each, fences=None)))),
    "G3: a birth in a generation that is no longer active": Mutant(Variant(projector=BirthAnywhere), seed=69),
    "G3: a birth does not follow what is being built": Mutant(Variant(projector=BirthAlone), seed=30),
    "G4: the follower goes first": Mutant(Variant(projector=FollowerFirst)),
    "G4: the follower goes beyond its leader": Mutant(Variant(projector=BeyondTheLeader)),
    "G4: a commit does not compare the leader": Mutant(everywhere(without("ahead", only=is_advance))),
    "G5: a join does not compare the live state": Mutant(
        everywhere(without("checkpoint", "ahead", only=is_follow)), seed=64
    ),
    "G5: a rollback follows both ways": Mutant(everywhere(changing(_both_ways))),
    "G5: nothing joins": Mutant(Variant(worker=NoJoin)),
    "G6: the scan misses a stream": Mutant(Variant(replay=LastStateMissed)),
    "G6: a switch does not wait for all segments": Mutant(Variant(worker=HastySwitch)),
    "G6: a segment of the phase before counts": Mutant(everywhere(without("generation", "phase", only=is_segment))),
    "P3: a page of history does not check its segment": Mutant(
        Variant(storage=changing(_unchecked_segment), favourite="replay"), streams=2, pace=20, seed=265
    ),
    "P3: a commit does not compare the page": Mutant(everywhere(without("page", only=is_state))),
    "G6: a replay begins beside another": Mutant(
        Variant(storage=without("version", only=is_begin), favourite="replay")
    ),
    "G7: an old control item ends following": Mutant(Variant(projector=HastyDrop)),
    "G8: rows are swept before states": Mutant(Variant(storage=RowsSweptFirst, favourite="cancel")),
    "G8: a generation's number comes again": Mutant(everywhere(changing(_same_generation_again))),
    "G8: what is to be swept is lost": Mutant(everywhere(changing(_unseen_sweep))),
    "G9: a reader does not read the state again": Mutant(Variant(reading=NoSecondState)),
    "G9: a reader does not read the control item again": Mutant(Variant(reading=NoSecondControl), seed=41),
    "G9: a reader keeps the control item": Mutant(Variant(reading=OldControl)),
    "G10: all generations are folded by the deployed code": Mutant(Variant(projector=NewestCode)),
    "P1: a gap is not read": Mutant(Variant(projector=NoGapRead)),
    "P5: a halt does not compare rows": Mutant(
        everywhere(committing(lambda _, each: replace(each, rows=()) if halts(each) else each))
    ),
    "P6: nobody reconciles": Mutant(Variant(reconciles=False)),
    "R3: a reader does not see rewinds": Mutant(
        Variant(reader=lambda each: Slow(seen_as(rewinds=0)(each)), favourite="replay_in_place"), LATEST, 1, 100
    ),
    "R3: a rewind in progress is not shown": Mutant(
        Variant(reader=seen_as(rewound_from=None), favourite="replay_in_place"), LATEST
    ),
}
