"""What a run of the reconciler compares, triggers and leaves for the next one (P6)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Any

import pytest

from handlers.core.events import StreamId
from handlers.projection import Projection, transitions
from handlers.projection.definition import Prefix
from handlers.projection.engine import Code
from handlers.projection.port import Change, Commit, read_control
from handlers.projection.reconcile import (
    KEEP_PREVIOUS_RUNS,
    MAX_HEADS,
    RECONCILER,
    Lag,
    Reconciler,
    Record,
    Report,
)
from handlers.projection.state import Control, Document, JobItem, StreamState
from tests.support.memory_event_store import MemoryEventStore
from tests.support.memory_read_model import MemoryReadModel
from tests.support.ports import Interrupted
from tests.support.projections import FixedClock, added, ledger

AT = "2026-01-01T00:00:00.000Z"


class Sent:
    """Takes note of what a run has others do."""

    def __init__(self) -> None:
        self.triggered: list[str] = []
        self.resent: list[str] = []
        self.swept: list[int] = []
        self.backfills = 0
        self.refuse = 0
        self.jobs: list[Document] = []

    def running(self) -> Sequence[Document]:
        return self.jobs

    def trigger(self, lags: Sequence[Lag]) -> int:
        self.triggered += [lag.stream_id for lag in lags]
        return self.refuse

    def resend(self, replay_id: str) -> None:
        self.resent.append(replay_id)

    def sweep(self, generation: int) -> None:
        self.swept.append(generation)

    def backfill(self) -> None:
        self.backfills += 1


class World:
    """A projection with its store and its read model; ``compared`` unless it is to be new."""

    def __init__(
        self, projection: Projection | None = None, *, older: Sequence[Projection] = (), new: bool = False
    ) -> None:
        self.projection = projection or ledger()
        self.code = Code(self.projection, lambda: {each.fingerprint(): each for each in older})
        self.memory = MemoryReadModel()
        self.read_model, self.store = Interrupted(self.memory), Interrupted(MemoryEventStore())
        self.sent = Sent()
        if not new:
            self.commit(Record().change_to(Record(runs=1, compared=True)))

    def run(self, has_time: Callable[[], bool] = lambda: True, *, jobs: Sequence[Document] = ()) -> tuple[Report, Sent]:
        """Do a run of a new process; returns what was sent meanwhile."""
        self.sent = Sent()
        self.sent.jobs = list(jobs)
        return self.reconciler().run(has_time), self.sent

    def reconciler(self) -> Reconciler:
        ports: tuple[Any, Any] = self.store, self.read_model
        return Reconciler(self.code, *ports, FixedClock(), self.sent)

    def append(self, *stream_ids: str) -> None:
        for start in range(0, len(stream_ids), 100):
            self.store.append([added("x", stream_id=name) for name in stream_ids[start : start + 100]])

    def project(self, *stream_ids: str, halted: bool = False) -> None:
        for name in stream_ids:
            state = StreamState(StreamId(name), self.control().active)
            change = transitions.halt(state, 0, "why", AT) if halted else transitions.advance(state, 0)
            self.memory.commit(Commit((change,)))

    def project_more(self, name: str, to: int) -> None:
        state = self.memory.load(self.control().active, [StreamId(name)]).states[StreamId(name)]
        self.commit(transitions.advance(state, to))

    def commit(self, *changes: Change[Any]) -> None:
        self.memory.commit(Commit(changes))

    def control(self) -> Control:
        return read_control(self.memory)

    def record(self) -> Record:
        return Record.from_document(self.memory.read(RECONCILER))

    def replay(self, job: dict[str, Any] | None = None) -> None:
        self.commit(transitions.begin_replay(self.control(), "r-1", "f"))
        self.progress(**(job or {}))

    def progress(self, **job: Any) -> None:
        self.memory.documents[JobItem("r-1")] = job


def numbered(count: int, prefix: str = "s") -> list[str]:
    return [f"{prefix}{number:06d}" for number in range(count)]


# -- streams -------------------------------------------------------------------------------------------------------------


def test_only_streams_that_a_message_helps_are_triggered() -> None:
    world = World()
    world.append("behind", "never-seen", "done", "halted")
    world.project("behind", "done")
    world.project("halted", halted=True)
    world.append("behind")

    report, sent = world.run()

    assert sorted(sent.triggered) == ["behind", "never-seen"]
    assert (report.streams, report.lag, report.halted, report.complete) == (4, 1, 1, True)


@pytest.mark.parametrize("streams", [None, Prefix("s"), numbered(1200)], ids=["all", "prefix", "named"])
def test_a_thousand_streams_are_compared_in_turn(streams: Prefix | Sequence[str] | None) -> None:
    world = World(Projection("many", key="itemId", streams=streams))
    world.append(*numbered(1200))
    world.project(*numbered(1200))

    reports = [world.run()[0] for _ in range(3)]

    assert [(each.streams, each.complete) for each in reports] == [(500, False), (500, False), (200, True)]
    last = world.record().last
    assert last is not None
    assert (last.streams, last.lagging, last.finished_at) == (1200, 0, AT)
    assert world.record().after is None


def test_a_round_records_the_worst_streams() -> None:
    world = World()
    world.append(*numbered(30), "worst", "worst", "worst")

    world.run()

    last = world.record().last
    assert last is not None
    assert (last.streams, last.lagging, last.lag) == (31, 31, 3)
    assert last.worst[0] == ("worst", 3)
    assert len(last.worst) == 10


def test_a_stream_that_lags_is_compared_in_every_run_until_it_does_not() -> None:
    world = World()
    names = numbered(MAX_HEADS + 100)
    world.append(*names)
    world.project(*names[1:])
    world.run()

    lags = [world.run()[0].lag for _ in range(2)]
    world.project(names[0])
    lags.append(world.run()[0].lag)

    assert lags == [1, 1, 0]


def test_refused_triggers_are_sent_again_by_the_next_run() -> None:
    world = World()
    world.append(*numbered(MAX_HEADS + 1))
    world.sent.refuse = 1

    world.reconciler().run()
    _, again = world.run()

    assert world.sent is again
    assert again.triggered == numbered(MAX_HEADS)


def test_a_run_without_time_continues_where_it_stopped() -> None:
    world = World()
    names = numbered(250)
    world.append(*names)
    world.project(*names)
    answers = iter([True, False])

    first, _ = world.run(lambda: next(answers))
    second, _ = world.run()

    assert (first.streams, first.complete) == (100, False)
    assert (second.streams, second.complete) == (150, True)
    last = world.record().last
    assert last is not None
    assert last.streams == 250


def test_no_time_at_all_loses_nothing() -> None:
    world = World()
    world.append(*numbered(3))

    report, _ = world.run(lambda: False)

    assert (report.streams, report.complete) == (0, False)
    assert world.run()[0].streams == 3


def test_streams_that_are_not_followed_cost_no_heads_and_a_bounded_number_of_pages() -> None:
    world = World(Projection("few", key="itemId", streams=Prefix("z")))
    world.append(*numbered(10_001), "z")

    first, _ = world.run()
    assert (first.streams, world.store.calls["head"], world.store.calls["streams"]) == (0, 0, 10)

    second, sent = world.run()
    assert (second.streams, second.complete, sent.triggered) == (1, True, ["z"])


def test_only_followed_streams_are_compared() -> None:
    world = World(Projection("few", key="itemId", streams=["a", "without-events"]))
    world.append("a", "b")

    report, sent = world.run()

    assert report.streams == 1
    assert sent.triggered == ["a"]


def test_until_the_switch_the_streams_of_the_older_code_are_compared() -> None:
    older, newer = (Projection("few", key="itemId", streams=[name]) for name in "ab")
    world = World(newer, older=[older])
    world.append("a", "b")
    world.commit(transitions.adopt(world.control(), older.fingerprint()))

    before = world.run()[1].triggered
    world.commit(transitions.begin_replay(world.control(), "r-1", newer.fingerprint()))
    world.commit(transitions.switch(world.control(), AT))
    after = world.run()[1].triggered

    assert (before, after) == (["a"], ["b"])


def test_an_event_projected_between_the_two_reads_is_no_lag() -> None:
    world = World()
    world.append("a")
    world.store.after("head", lambda: world.project("a"))

    report, sent = world.run()

    assert (report.lag, sent.triggered) == (0, [])


def test_of_two_runs_at_once_one_is_recorded() -> None:
    world = World()
    world.append("a")
    world.read_model.before("load", lambda: world.reconciler().run())

    world.run()

    assert world.record().runs == 2
    assert world.record().watched == ("a",)


def test_a_run_costs_the_same_at_any_number_of_streams() -> None:
    def calls(streams: int) -> Counter[str]:
        world = World()
        names = numbered(streams)
        world.append(*names)
        for name in names[:1000]:  # more than two runs compare
            world.project(name)
        world.store.calls.clear()
        world.run()
        world.run()
        return world.store.calls + world.read_model.calls

    few, thousand, many = calls(100), calls(1100), calls(100_000)

    assert few == {"head": 200, "streams": 2, "load": 2, "read": 4, "halted": 2, "commit": 3}
    assert thousand == many == {"head": 1000, "streams": 2, "load": 10, "read": 4, "halted": 2, "commit": 3}


# -- new projections -----------------------------------------------------------------------------------------------------


def test_a_new_projection_records_its_code() -> None:
    world = World(new=True)

    world.run()

    assert world.control() == Control(exists=True, fingerprint=world.projection.fingerprint())
    assert world.record().compared


def test_history_that_was_never_projected_is_replayed() -> None:
    world = World(new=True)
    world.append(*numbered(20))

    first, nothing = world.run()
    second, sent = world.run()

    assert (first.backfill, nothing.triggered, nothing.backfills) == (False, [], 0)
    assert (second.backfill, sent.triggered, sent.backfills) == (True, [], 1)


def test_a_stream_that_was_only_just_born_causes_no_replay() -> None:
    world = World(new=True)
    world.append("a")
    world.run()
    world.project("a")
    world.append("a")

    _, second = world.run()
    world.append("b")
    world.run()
    _, fourth = world.run()

    assert (second.backfills, second.triggered) == (0, ["a"])
    assert (fourth.backfills, sorted(fourth.triggered)) == (0, ["a", "b"])  # no longer new: a message was lost


def test_a_projection_that_was_replayed_is_not_new() -> None:
    world = World(new=True)
    world.append("a")
    world.replay()
    world.commit(transitions.abandon(world.control()))

    world.run()
    _, sent = world.run()

    assert (sent.backfills, sent.triggered) == (0, ["a"])


# -- replays -------------------------------------------------------------------------------------------------------------


def test_a_replay_builds_what_was_never_projected() -> None:
    world = World()
    world.append("seen", "unseen")
    world.project("seen")
    world.append("seen")
    world.replay()

    _, sent = world.run()

    assert sent.triggered == ["seen"]


def test_a_job_without_progress_for_two_runs_gets_its_message_again() -> None:
    world = World()
    world.replay({"segments": {"0": {"events": 1}}})

    resent = [world.run()[1].resent for _ in range(5)]
    world.progress(segments={"0": {"events": 9}})
    resent += [world.run()[1].resent for _ in range(3)]

    assert resent == [[], [], ["r-1"], [], ["r-1"], [], [], ["r-1"]]


def test_a_long_stream_is_progress() -> None:
    world = World(Projection("few", key="itemId", streams=["a"]))
    world.append(*"a" * 9)
    world.replay({"generation": 1})

    resent = []
    for checkpoint in range(4):
        state = world.memory.load(1, [StreamId("a")]).states[StreamId("a")]
        world.commit(transitions.advance(state, checkpoint))
        resent += world.run()[1].resent

    assert resent == []


def test_a_change_in_place_gets_its_message_again_too() -> None:
    world = World()
    world.append("a", "a", "a")
    world.project("a")
    job = {"replayId": "r-7", "streamId": "a"}

    resent = [world.run(jobs=[job])[1].resent for _ in range(2)]
    world.project_more("a", 1)
    resent += [world.run(jobs=[job])[1].resent for _ in range(3)]
    resent.append(world.run()[1].resent)

    assert resent == [[], [], [], [], ["r-7"], []]
    assert world.record().jobs == {}


def with_generations(world: World) -> None:
    world.replay()
    world.commit(transitions.switch(world.control(), AT))


def test_abandoned_generations_are_swept_until_nothing_is_left() -> None:
    world = World()
    with_generations(world)
    world.replay()

    assert world.run()[1].swept == [0]
    assert world.run()[1].swept == [0]
    world.commit(transitions.swept(world.control(), 0))
    assert world.run()[1].swept == []


def aged(world: World, runs: int) -> None:
    """Let a number of runs pass."""
    world.memory.documents[RECONCILER]["runs"] += runs


def test_the_previous_generation_is_kept_for_a_day_of_runs() -> None:
    world = World()
    with_generations(world)
    world.run()
    aged(world, KEEP_PREVIOUS_RUNS - 2)

    early, _ = world.run()
    late, sent = world.run()

    assert (early.retired, late.retired) == (False, True)
    assert world.control().previous is None
    assert sent.swept == [0]
    assert set(world.memory.fences) == {world.control().version}


def test_each_previous_generation_is_kept_for_a_day() -> None:
    world = World()
    with_generations(world)
    world.run()
    aged(world, KEEP_PREVIOUS_RUNS)
    with_generations(world)

    report, _ = world.run()

    assert not report.retired
    assert world.record().kept == (1, world.record().runs - 1)


def test_nothing_is_retired_while_a_replay_runs() -> None:
    world = World()
    with_generations(world)
    world.run()
    aged(world, KEEP_PREVIOUS_RUNS)
    world.commit(transitions.begin_rollback(world.control(), "r-2"))

    report, _ = world.run()

    assert not report.retired


# -- the record ----------------------------------------------------------------------------------------------------------


def test_a_record_is_read_as_it_was_written() -> None:
    world = World()
    world.append(*numbered(MAX_HEADS + 1))
    with_generations(world)
    world.replay()
    world.run()

    record = world.record()

    assert Record.from_document(record.to_document()) == record
    assert names_of(record) == {"runs", "after", "round", "watched", "jobs", "compared"}


def names_of(record: Record) -> Collection[str]:
    return record.to_document().keys()
