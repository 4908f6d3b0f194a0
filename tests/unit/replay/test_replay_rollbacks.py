"""Returning to the previous generation, and what is swept (G5, G8)."""

from __future__ import annotations

import contextlib

import pytest

from handlers.projection import transitions
from handlers.projection.port import Commit
from handlers.replay import jobs
from handlers.replay.jobs import DONE, ROLLBACK
from tests.unit.replay.faults import Brittle, Crash, Fuse, Interloper
from tests.unit.replay.system import STREAM, System

NEW = "born-since"


@pytest.fixture(autouse=True)
def _two_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "SEGMENTS", 2)


def given_a_replay_and_events_after_it() -> System:
    """Two generations; the previous one lacks five events of an old stream, and a new stream."""
    system = System(states_per_page=2)
    system.history(6, 4, streams=7)
    system.replay()
    system.append(*({"k": f"{number % 4:04}", "v": number} for number in range(5)))
    system.append({"k": "0000", "v": 3}, stream_id=NEW)
    system.project()
    assert system.state(generation=0).checkpoint == 5
    return system


def roll_back(system: System) -> str:
    return system.replays().rollback().job.replay_id


def test_a_rollback_continues_the_previous_generation_and_returns_to_it() -> None:
    system = given_a_replay_and_events_after_it()

    replay_id = roll_back(system)
    assert (system.control.active, system.control.previous) == (1, None)
    system.work()

    progress = system.progress(replay_id)
    assert (progress.job.state, progress.job.kind, progress.job.generation) == (DONE, ROLLBACK, 0)
    assert system.is_complete()
    control = system.control
    assert (control.active, control.previous and control.previous.generation) == (0, 1)
    assert system.state(generation=1).ahead == 0


def test_a_rollback_can_be_rolled_back() -> None:
    system = given_a_replay_and_events_after_it()
    roll_back(system)
    system.work()
    system.append({"k": "0001", "v": 8})
    system.project()

    roll_back(system)
    system.work()

    assert system.control.active == 1
    assert system.is_complete()


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_rollback_that_crashes_at_any_call_is_resumed(after: bool) -> None:
    at, blown = 0, True
    while blown:
        system = given_a_replay_and_events_after_it()
        replay_id = roll_back(system)
        fuse = Fuse(at, after)
        worker = system.worker(store=Brittle(system.store, fuse), read_model=Brittle(system.read_model, fuse))

        with contextlib.suppress(Crash):
            while system.messages:
                system.deliver(worker, system.messages.pop(0))
        system.reconcile()
        system.work()

        assert system.is_complete()
        assert (system.control.active, system.progress(replay_id).job.state) == (0, DONE)
        at, blown = at + 1, fuse.blown


def test_live_events_at_any_call_of_a_rollback_are_not_lost() -> None:
    at, acted = 0, True
    while acted:
        system = given_a_replay_and_events_after_it()
        roll_back(system)

        def live(system: System = system) -> None:
            for name in (STREAM, NEW, "newer"):
                system.append({"k": "0001", "v": 5}, stream_id=name)
            system.project()

        interloper = Interloper(at, live)
        worker = system.worker(
            store=Brittle(system.store, interloper), read_model=Brittle(system.read_model, interloper)
        )
        while system.messages:
            system.deliver(worker, system.messages.pop(0))

        assert system.is_complete(), f"call {at}"
        at, acted = at + 1, interloper.acted


def test_a_cancelled_rollback_leaves_the_active_generation_as_it_is() -> None:
    system = given_a_replay_and_events_after_it()
    replay_id = roll_back(system)
    system.deliver(system.worker(), system.messages.pop(0))

    system.replays().cancel(replay_id)
    system.append({"k": "0001", "v": 5}, {"k": "0002", "v": 5})
    system.project()
    system.reconcile()
    system.work()

    assert system.control.active == 1
    assert (system.control.sweep, system.rows(0)) == ((), {})
    assert system.is_complete()


def test_the_generation_before_the_previous_one_is_swept() -> None:
    system = given_a_replay_and_events_after_it()

    system.replay()

    assert (system.control.active, system.control.sweep) == (2, (0,))
    system.reconcile()
    system.work(one_step=True)
    assert (system.control.sweep, system.rows(0)) == ((), {})
    assert not system.state(generation=0).exists
    assert system.is_complete()


def test_a_retired_generation_is_swept_and_nothing_returns_to_it() -> None:
    system = given_a_replay_and_events_after_it()
    change = transitions.retire_previous(system.control)
    system.read_model.commit(Commit((change,), fences=change.after.version))

    system.reconcile()
    system.work()

    assert (system.control.sweep, system.rows(0)) == ((), {})
    assert system.is_complete()


def test_a_generation_that_is_in_use_is_not_swept() -> None:
    system = given_a_replay_and_events_after_it()

    for generation in (0, 1, 7):
        assert system.worker().sweep(generation, lambda: True)

    assert system.rows(0)
    assert system.is_complete()
