"""Building a generation from scans of history, joining the live streams, and switching (G5, G6)."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from handlers.projection.definition import Prefix
from handlers.projection.port import Commit
from handlers.replay.jobs import DONE, JOIN, RUNNING, SEGMENTS
from tests.support.ports import Interrupted
from tests.unit.replay.system import STREAM, System, latest, tally


@pytest.mark.parametrize("page_events", [1, 3, 7, 1000])
@pytest.mark.parametrize("projected", [True, False], ids=["live", "new projection"])
def test_a_replay_builds_all_streams_however_the_pages_cut_them(page_events: int, projected: bool) -> None:
    system = System(page_events=page_events, states_per_page=2)
    system.history(10, 4, streams=12, project=projected)

    progress = system.replay()

    assert (progress.job.state, progress.events_done, progress.events) == (DONE, 120, 120)
    assert (system.control.active, system.control.building) == (1, None)
    assert system.is_complete()


def test_the_job_is_done_in_segments_by_any_number_of_workers() -> None:
    system = System()
    system.history(2, 4, streams=40)
    replay_id = system.replays().trigger().job.replay_id
    assert system.messages == [(replay_id, None)]

    system.deliver(system.worker(), system.messages.pop(0))

    assert sorted(system.messages) == [(replay_id, number) for number in range(1, SEGMENTS)]
    progress = system.progress(replay_id)
    assert (progress.job.state, progress.segments_done, progress.segments) == (RUNNING, 1, 2 * SEGMENTS)
    while system.progress(replay_id).job.phase != JOIN:
        system.deliver(system.worker(), system.messages.pop(0))
    assert (system.control.active, system.progress(replay_id).events_done) == (0, 80)
    system.work()
    assert system.progress(replay_id).segments_done == 2 * SEGMENTS
    assert system.is_complete()


def test_until_the_switch_readers_get_all_old_rows_and_after_it_all_new_ones() -> None:
    system = System(states_per_page=2)
    system.history(6, 4, streams=20)
    system.deploy(tally(factor=5))
    seen = []
    switch = Interrupted(system.read_model)
    factors = {False: 3, True: 5}

    def look() -> None:
        switched = system.control.active == 1
        assert system.rows() == system.expected(factor=factors[switched])
        seen.append(switched)

    switch.before("commit", *[look] * 1000).after("commit", *[look] * 1000)
    system.replays().trigger()
    while system.messages:
        system.deliver(system.worker(read_model=switch), system.messages.pop(0))

    assert set(seen) == {False, True}
    assert system.is_complete(factor=5)


def test_live_events_are_folded_by_the_old_code_until_the_switch_and_into_the_new_rows_by_the_new_code() -> None:
    system = System()
    system.history(6, 4, streams=5)
    system.replay()  # from now on the code of the active generation is known
    system.deploy(tally(factor=5))

    system.append({"k": "0000", "v": 7})
    system.project()
    assert system.rows() == system.expected(factor=3)

    replay_id = system.replays().trigger().job.replay_id
    while system.progress(replay_id).job.phase != JOIN:
        system.deliver(system.worker(), system.messages.pop(0))
    system.append({"k": "0001", "v": 8})
    system.project()
    assert system.rows() == system.expected(factor=3)
    system.work()
    assert system.is_complete(factor=5)


@pytest.mark.parametrize("count", [1, 3, 20])
def test_named_streams_are_read_and_no_others(count: int) -> None:
    names = [f"stream-{number:03}" for number in range(1, count + 1)]
    system = System(tally(streams=names), page_events=4)
    system.history(10, 4, streams=count + 3)
    reads = Interrupted(system.store)
    replay_id = system.replays().trigger().job.replay_id

    while system.messages:
        system.deliver(system.worker(store=reads), system.messages.pop(0))

    progress = system.progress(replay_id)
    assert (progress.job.state, progress.events_done) == (DONE, 10 * count)
    assert len(progress.job.segments) == min(count, SEGMENTS)
    assert reads.calls["scan"] == 0
    assert system.rows() == system.expected()


def test_a_named_stream_without_events_is_no_obstacle() -> None:
    system = System(tally(streams=[STREAM, "not-yet"]))
    system.history(10, 4)

    assert system.replay().job.state == DONE

    assert system.rows() == system.expected()


def test_streams_with_a_prefix_are_built_and_no_others() -> None:
    system = System(tally(streams=Prefix("stream-")))
    system.history(10, 4, streams=6)

    progress = system.replay()

    assert (progress.job.state, progress.events_done) == (DONE, 50)
    assert system.rows() == system.expected()
    assert not system.state(STREAM).exists


def test_a_scan_that_sees_a_later_event_before_an_earlier_one_leaves_the_rest_to_the_join() -> None:
    class Torn(Interrupted):
        def scan(self, *arguments: Any, **named: Any) -> Any:
            page = self._inner.scan(*arguments, **named)
            return type(page)(tuple(each for each in page.events if each.event_id != 3), page.next_position)

    system = System()
    system.history(10, 4, streams=6)
    replay_id = system.replays().trigger().job.replay_id

    while system.messages:
        system.deliver(system.worker(store=Torn(system.store)), system.messages.pop(0))

    assert system.progress(replay_id).job.state == DONE
    assert system.is_complete()


def test_a_stream_that_is_halted_at_its_first_event_joins() -> None:
    system = System()
    system.history(4, 2, streams=3)
    system.append({"k": "0000", "poison": True}, stream_id="ill")
    with pytest.raises(Exception, match="poison"):
        system.project("ill")
    assert system.state("ill").is_halted
    fixed = tally()
    fixed._handlers["COUNTED"] = lambda row, event: (
        row if "poison" in event else tally()._handlers["COUNTED"](row, event)
    )
    system.projection = fixed

    assert system.replay().job.state == DONE

    assert (system.state("ill").checkpoint, system.state("ill").halted) == (0, None)


# -- calls ---------------------------------------------------------------------------------------------------------------


def calls_of_a_replay(system: System) -> Counter[str]:
    store, read_model = Interrupted(system.store), Interrupted(system.read_model)
    system.replays().trigger()
    worker = system.worker(store=store, read_model=read_model)
    while system.messages:
        system.deliver(worker, system.messages.pop(0))
    return store.calls + read_model.calls


def test_a_build_of_many_streams_costs_few_calls() -> None:
    # given 1,000 streams of ten events, with rows of their own
    system = System(latest())
    for number in range(1000):
        system.append(*({"k": "one", "v": each} for each in range(10)), stream_id=f"stream-{number:04}")

    calls = calls_of_a_replay(system)

    assert system.progress("replay-1").events_done == 10_000
    # 42 streams with a row each and 16 fences fit a transaction.
    assert calls["commit"] <= 60
    assert calls.total() <= 0.03 * 10_000


def test_a_build_over_live_streams_costs_few_calls() -> None:
    system = System(latest())
    for number in range(1000):
        system.append(*({"k": "one", "v": each} for each in range(10)), stream_id=f"stream-{number:04}")
    system.project()

    calls = calls_of_a_replay(system)

    assert system.control.active == 1
    assert calls.total() <= 0.03 * 10_000


def test_a_sweep_during_a_build_does_not_slow_it_down() -> None:
    """A swept generation changes the fences; the build's births must not be done one by one from then on."""
    system = System(latest(), page_events=100)
    for number in range(400):
        system.append(*({"k": "one", "v": each} for each in range(10)), stream_id=f"stream-{number:04}")
    store, read_model = Interrupted(system.store), Interrupted(system.read_model)
    system.replay()
    system.replay()
    (swept,) = system.control.sweep
    worker = system.worker(store=store, read_model=read_model)
    system.replays().trigger()

    def sweep() -> None:
        assert system.worker().sweep(swept, lambda: True)

    store.after("scan", sweep)
    while system.messages:
        system.deliver(worker, system.messages.pop(0))

    assert swept not in system.control.sweep
    assert system.control.active == 3
    assert (store.calls + read_model.calls).total() <= 0.1 * 4000


def test_a_row_that_all_streams_write_costs_one_write_per_transaction() -> None:
    system = System()
    for number in range(200):
        system.append({"k": "everybody", "v": number}, stream_id=f"stream-{number:04}")

    calls = calls_of_a_replay(system)

    assert system.rows() == system.expected()
    assert calls["commit"] <= 40


def test_a_transaction_holds_no_more_than_dynamodb_accepts() -> None:
    system = System(latest())
    system.history(5, 5, streams=200, project=False)
    sizes: list[int] = []

    class Noting(Interrupted):
        def commit(self, commit: Commit) -> None:
            sizes.append(len(commit.changes) + len(commit.rows) + len(commit.births))
            self._inner.commit(commit)

    system.replays().trigger()
    while system.messages:
        system.deliver(system.worker(read_model=Noting(system.read_model)), system.messages.pop(0))

    assert 90 < max(sizes) <= 100
    assert len(system.rows()) == 1000
