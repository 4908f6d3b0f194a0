"""A replay that is interrupted at any call is resumed, and every event takes effect exactly once (G1, R2)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial

import pytest

from handlers.replay import jobs
from handlers.replay.jobs import DONE
from tests.unit.replay.faults import Brittle, Crash, Fuse, Interloper
from tests.unit.replay.system import STREAM, System

# Pages that cut streams, several transactions per page, and pages of states: about 90 calls.
EVENTS, KEYS, STREAMS, PAGE = 7, 5, 9, 10


@pytest.fixture(autouse=True)
def _two_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "SEGMENTS", 2)


def given(page: int = PAGE) -> System:
    system = System(page_events=page, states_per_page=2)
    system.history(EVENTS, KEYS, streams=STREAMS)
    return system


def must_be_right(system: System, replay_id: str, events: int = EVENTS * STREAMS) -> None:
    assert system.is_complete()
    assert system.control.active == 1
    progress = system.progress(replay_id)
    assert progress.job.state == DONE
    assert progress.segments_done == progress.segments
    assert sum(system.state(each).checkpoint + 1 for each in system.streams()) == events


def work_until_crash(system: System, fuse: Fuse | Interloper) -> None:
    """Deliver messages to one process until it crashes; the message on which it does is gone."""
    worker = system.worker(store=Brittle(system.store, fuse), read_model=Brittle(system.read_model, fuse))
    with contextlib.suppress(Crash):
        while system.messages:
            system.deliver(worker, system.messages.pop(0))


def calls_of_an_undisturbed_run() -> int:
    system, fuse = given(), Fuse(at=10**9)
    replay_id = system.replays().trigger().job.replay_id
    work_until_crash(system, fuse)
    must_be_right(system, replay_id)
    return fuse.calls


def some_calls(every: int = 1) -> range:
    calls = calls_of_an_undisturbed_run()
    assert calls > 45
    return range(0, calls, every)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_worker_that_crashes_at_any_call_is_resumed(after: bool) -> None:
    for at in some_calls():
        system = given()
        replay_id = system.replays().trigger().job.replay_id
        fuse = Fuse(at, after)

        work_until_crash(system, fuse)
        assert fuse.blown
        system.reconcile()  # the message was lost
        system.work()

        must_be_right(system, replay_id)


def test_a_worker_that_crashes_twice_is_resumed() -> None:
    for at in some_calls(3):
        system = given()
        replay_id = system.replays().trigger().job.replay_id

        for fuse in (Fuse(at, after=True), Fuse(at // 2)):
            work_until_crash(system, fuse)
            system.reconcile()
        system.work()

        must_be_right(system, replay_id)


def test_tasks_that_end_after_every_step_come_to_the_same_end() -> None:
    system = given()
    replay_id = system.replays().trigger().job.replay_id

    system.work(one_step=True)

    must_be_right(system, replay_id)
    assert system.progress(replay_id).events_done == EVENTS * STREAMS


@pytest.mark.parametrize("steps", [1, 3, 99])
@pytest.mark.parametrize("page", [PAGE, 1000], ids=["small pages", "one page"])
def test_two_workers_of_the_same_segment_do_no_harm(steps: int, page: int) -> None:
    at, acted = 0, True
    while acted:
        system = given(page)
        replay_id = system.replays().trigger().job.replay_id

        def other(system: System = system, replay_id: str = replay_id) -> None:
            left = iter(range(steps - 1))
            for segment in (0, 1):
                system.worker().work(replay_id, segment, lambda: next(left, None) is not None)

        interloper = Interloper(at, other)
        work_until_crash(system, interloper)
        system.work()

        must_be_right(system, replay_id)
        at, acted = at + 4, interloper.acted


def live(system: System) -> None:
    """Append to old streams and to a new one, and project them."""
    for name in (STREAM, "stream-003", "late"):
        system.append({"k": "0001", "v": 5}, {"k": "late", "v": 6}, stream_id=name)
    before = system.control.active
    system.project()
    if system.control.active == before:
        assert system.rows() == system.expected(), "readers see the events at once"


def test_live_events_at_any_call_are_not_lost_and_readers_never_go_back() -> None:
    for at in some_calls(2):
        system = given()
        system.replays().trigger()

        interloper = Interloper(at, partial(live, system))
        work_until_crash(system, interloper)

        assert interloper.acted
        assert system.control.active == 1
        assert system.is_complete(), f"call {at}: the switch went back in time"


def test_live_events_between_a_crash_and_the_resumption_are_not_lost() -> None:
    for at in some_calls(2):
        system = given()
        replay_id = system.replays().trigger().job.replay_id

        work_until_crash(system, Fuse(at))
        live(system)
        system.reconcile()
        system.work()

        must_be_right(system, replay_id, EVENTS * STREAMS + 6)


def crashing_requests(request: Callable[[System, Fuse], object], *, after: bool) -> None:
    """Let a request crash at each of its calls; repeated, it leads to one complete replay."""
    at = 0
    while True:
        system, fuse = given(), Fuse(at, after)
        with contextlib.suppress(Crash):
            request(system, fuse)
        if not fuse.blown:
            return

        job = system.replays().trigger().job

        assert system.progress(job.replay_id).job.state != DONE, f"call {at}: it can be followed"
        system.reconcile()
        system.work()
        must_be_right(system, job.replay_id)
        at += 1


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_trigger_that_crashes_at_any_call_can_be_repeated_and_followed(after: bool) -> None:
    def trigger(system: System, fuse: Fuse) -> None:
        system.replays(store=Brittle(system.store, fuse), read_model=Brittle(system.read_model, fuse)).trigger()

    crashing_requests(trigger, after=after)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_sweep_that_crashes_at_any_call_is_resumed(after: bool) -> None:
    at, blown = 0, True
    while blown:
        system = given()
        system.replay()
        system.replay()
        fuse = Fuse(at, after)

        with contextlib.suppress(Crash):
            system.worker(read_model=Brittle(system.read_model, fuse)).sweep(0, lambda: True)
        system.reconcile()
        system.work()

        assert system.control.sweep == ()
        assert system.rows(0) == {}
        assert system.is_complete()
        at, blown = at + 1, fuse.blown
