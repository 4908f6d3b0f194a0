"""A replay that is cut off anywhere is taken up again, and every event takes effect exactly once (P2, R2)."""

from __future__ import annotations

import contextlib

import pytest

from handlers.replay.jobs import DONE
from tests.unit.replay.faults import Brittle, Crash, Fuse, Interloper
from tests.unit.replay.system import STREAM, System

# 260 events on 130 keys, in pages of 140: pages of two commits each, and rows that later pages change again.
EVENTS, KEYS, PAGE = 260, 130, 140


def given() -> System:
    system = System(page_events=PAGE)
    system.history(EVENTS, KEYS)
    return system


def must_be_right(system: System, replay_id: str) -> None:
    assert system.rows() == system.expected()
    assert (system.state.active_generation, system.state.checkpoint) == (1, EVENTS - 1)
    assert system.state.replay is None
    progress = system.replays().progress(replay_id)
    assert (progress.state, progress.events_done) == (DONE, EVENTS)


def work_until_crash(system: System, fuse: Fuse | Interloper, replay_id: str, *, read_ahead: bool = False) -> None:
    worker = system.worker(
        store=Brittle(system.store, fuse),
        read_model=Brittle(system.read_model, fuse),
        jobs=Brittle(system.jobs, fuse),
        read_ahead=read_ahead,
    )
    with contextlib.suppress(Crash):
        worker.work(STREAM, replay_id, lambda: True)


def calls_of_an_undisturbed_run() -> int:
    system, fuse = given(), Fuse(at=10**9)
    work_until_crash(system, fuse, system.replays().trigger(STREAM).replay_id)
    return fuse.calls


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("redelivered", [True, False], ids=["redelivered", "triggered"])
def test_a_worker_that_dies_at_any_call_is_resumed(after: bool, redelivered: bool) -> None:
    calls = calls_of_an_undisturbed_run()
    assert calls > 10
    for at in range(calls):
        system = given()
        replay_id = system.replays().trigger(STREAM).replay_id
        message = system.messages.pop()
        fuse = Fuse(at, after)

        work_until_crash(system, fuse, replay_id)
        if redelivered:
            system.messages.append(message)
        else:  # the message is lost; the reconciler finds what stands still
            system.trigger()
        system.work()

        assert fuse.blown
        must_be_right(system, replay_id)


def test_a_worker_that_dies_twice_is_resumed() -> None:
    calls = calls_of_an_undisturbed_run()
    for at in range(0, calls, 2):
        system = given()
        replay_id = system.replays().trigger(STREAM).replay_id

        work_until_crash(system, Fuse(at, after=True), replay_id)
        work_until_crash(system, Fuse(at // 2, after=False), replay_id)
        system.work()

        must_be_right(system, replay_id)


def test_a_worker_that_reads_ahead_and_dies_is_resumed() -> None:
    for at in range(0, calls_of_an_undisturbed_run(), 3):
        system = given()
        replay_id = system.replays().trigger(STREAM).replay_id

        work_until_crash(system, Fuse(at, after=True), replay_id, read_ahead=True)
        system.work()

        must_be_right(system, replay_id)


def test_slices_that_end_after_every_step_lead_to_the_same_end() -> None:
    system = given()
    replay_id = system.replays().trigger(STREAM).replay_id

    system.work(one_step=True)

    must_be_right(system, replay_id)


@pytest.mark.parametrize("steps", [1, 2, 99])
@pytest.mark.parametrize(("keys", "page"), [(KEYS, PAGE), (7, 50)], ids=["large pages", "rows in every page"])
def test_two_workers_of_one_replay_do_not_hurt_each_other(steps: int, keys: int, page: int) -> None:
    at, acted = 0, True
    while acted:
        system = System(page_events=page)
        system.history(EVENTS, keys)
        replay_id = system.replays().trigger(STREAM).replay_id

        def other(system: System = system, replay_id: str = replay_id) -> None:
            left = iter(range(steps - 1))
            system.worker().work(STREAM, replay_id, lambda: next(left, None) is not None)

        interloper = Interloper(at, other)
        work_until_crash(system, interloper, replay_id)
        system.work()

        must_be_right(system, replay_id)
        at, acted = at + 1, interloper.acted


def test_live_events_at_any_call_are_not_lost_and_readers_never_go_back() -> None:
    for at in range(calls_of_an_undisturbed_run()):
        system = given()
        replay_id = system.replays().trigger(STREAM).replay_id

        def live(system: System = system) -> None:
            system.append({"k": "0001", "v": 5}, {"k": "late", "v": 6})
            system.project()
            assert system.rows() == system.expected(), "readers see the events at once"

        interloper = Interloper(at, live)
        work_until_crash(system, interloper, replay_id)

        assert interloper.acted
        assert system.state.checkpoint == EVENTS + 1, "the switch did not go back in time"
        assert system.rows() == system.expected()
        system.work()
        assert (system.state.replay, system.rows()) == (None, system.expected())


def test_live_events_between_a_crash_and_the_resumption_are_not_lost() -> None:
    for at in range(calls_of_an_undisturbed_run()):
        system = given()
        replay_id = system.replays().trigger(STREAM).replay_id

        work_until_crash(system, Fuse(at), replay_id)
        system.append({"k": "0001", "v": 5}, {"k": "late", "v": 6})
        system.project()
        assert system.rows() == system.expected(), "readers see the events at once"
        system.work()

        assert system.rows() == system.expected()
        assert system.state.checkpoint == EVENTS + 1


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_trigger_that_dies_at_any_call_can_be_repeated_and_followed(after: bool) -> None:
    at = 0
    while True:
        system, fuse = given(), Fuse(at, after)
        replays = system.replays(
            store=Brittle(system.store, fuse),
            read_model=Brittle(system.read_model, fuse),
            jobs=Brittle(system.jobs, fuse),
        )
        with contextlib.suppress(Crash):
            replays.trigger(STREAM)
        if not fuse.blown:
            return

        job = system.replays().trigger(STREAM)

        assert system.replays().progress(job.replay_id).state != DONE, f"call {at}: it can be followed"
        if not system.messages:
            system.trigger()
        system.work()
        must_be_right(system, job.replay_id)
        at += 1
