"""Handlers that raise in the middle of a replay (R4), cancelled and restarted jobs (R6), and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from handlers.core.errors import ConflictError, HandlerFailedError, InvalidInputError, NotFoundError
from handlers.core.events import NewEvent, StreamId
from handlers.projection import transitions
from handlers.projection.port import Commit
from handlers.replay.jobs import CANCELLED, DONE, FAILED, JOIN, RUNNING
from tests.support.ports import Interrupted
from tests.unit.replay.system import STREAM, System, latest, tally

POISON_AT = 57


def with_poison(data: str = '{"k":"0001","poison":true}') -> System:
    """A stream beside others, whose event 57 the deployed code can no longer fold."""
    system = System(_tolerant())
    system.history(POISON_AT, 20, streams=3)
    system.store.append([NewEvent(STREAM, "COUNTED", data)])
    system.append({"k": "0002", "v": 1})
    system.project()
    system.deploy(tally())
    return system


def _tolerant() -> Any:
    """Code that does not look at the event that the other code cannot fold."""
    projection, strict = tally(factor=4), tally()
    projection.keys_of = lambda event: ("0001",) if "v" not in event else strict.keys_of(event)  # type: ignore[method-assign]
    projection._handlers["COUNTED"] = lambda row, event: (
        row if "v" not in event else strict._handlers["COUNTED"](row, event)
    )
    return projection


@pytest.mark.parametrize(
    ("data", "error"),
    [
        ('{"k":"0001","poison":true}', "ValueError: poison"),
        ('{"k":7}', "the key is an int, not a string"),
    ],
)
def test_an_event_that_cannot_be_folded_fails_the_replay_and_nothing_else(data: str, error: str) -> None:
    system = with_poison(data)
    before = system.rows()
    replay_id = system.replays().trigger().job.replay_id

    system.work()

    job = system.progress(replay_id).job
    assert job.state == FAILED
    assert job.error is not None
    assert job.error == {"streamId": STREAM, "eventId": POISON_AT, "error": error}
    assert (system.control.active, system.control.building, system.control.sweep) == (0, None, (1,))
    assert system.rows() == before
    system.append({"k": "new", "v": 1})
    system.projection = _tolerant()
    system.project()
    assert system.rows() == before | {"new": {STREAM: 1}}
    system.reconcile()
    system.work()
    assert (system.rows(1), system.control.sweep) == ({}, ())


def test_a_stored_event_that_is_no_json_halts_its_stream() -> None:
    system = System()
    system.history(10, 5)
    system.store.append([NewEvent(STREAM, "COUNTED", "not JSON")])

    with pytest.raises(HandlerFailedError):
        system.project()

    assert system.state().is_halted
    assert system.state().checkpoint == 9


def test_a_replay_after_the_fold_is_fixed_completes() -> None:
    system = with_poison()
    assert system.replay().job.state == FAILED
    fixed = tally(factor=5)
    counted = fixed._handlers["COUNTED"]
    fixed._handlers["COUNTED"] = lambda row, event: row if "poison" in event else counted(row, event)
    system.deploy(fixed)

    progress = system.replay()

    assert progress.job.state == DONE
    assert progress.job.generation == 2  # numbers are never used again
    assert system.state().checkpoint == POISON_AT + 1


def test_a_failed_rollback_leaves_the_active_generation_alone() -> None:
    # given a previous generation whose code cannot fold what came since
    system = System()
    system.history(10, 5)
    system.replay()
    system.deploy(_tolerant())
    system.replay()
    system.append({"k": "0001", "poison": True})
    system.project()
    before = system.rows()

    replay_id = system.replays().rollback().job.replay_id
    system.work()

    assert system.progress(replay_id).job.state == FAILED
    assert (system.control.active, system.control.previous) == (2, None)
    assert system.rows() == before
    system.append({"k": "0001", "v": 1})
    system.project()
    assert system.state().checkpoint == 11


# -- cancelled jobs ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("messages", [0, 1, 5, 9, 12])
def test_a_cancelled_replay_changes_nothing_that_is_read(messages: int) -> None:
    system = System()
    system.history(6, 4, streams=20)
    replay_id = system.replays().trigger().job.replay_id
    for _ in range(messages):
        system.deliver(system.worker(), system.messages.pop(0))

    progress = system.replays().cancel(replay_id)

    assert (progress.job.state, progress.job.error) == (CANCELLED, None)
    assert (system.control.active, system.control.building, system.control.sweep) == (0, None, (1,))
    system.work()
    assert system.progress(replay_id).job.state == CANCELLED
    system.append({"k": "0000", "v": 9})
    system.project()
    assert system.rows() == system.expected()
    system.reconcile()
    system.work()
    assert (system.rows(1), system.control.sweep) == ({}, ())
    assert system.state().ahead is None


def test_a_job_that_has_ended_cannot_be_cancelled() -> None:
    system = System(latest())
    system.history(6, 4)
    done = system.replay().job.replay_id
    rewind = system.replays().trigger(STREAM, 3).job.replay_id

    for replay_id in (done, rewind):
        with pytest.raises(ConflictError):
            system.replays().cancel(replay_id)
    with pytest.raises(NotFoundError):
        system.replays().cancel("nobody")


# -- other code ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("messages", [1, 4, 9, 12])
def test_a_worker_with_other_code_starts_another_generation(messages: int) -> None:
    system = System()
    system.history(6, 4, streams=20)
    replay_id = system.replays().trigger().job.replay_id
    for _ in range(messages):
        system.deliver(system.worker(), system.messages.pop(0))
    system.deploy(tally(factor=5))

    system.reconcile()
    system.work()

    progress = system.progress(replay_id)
    assert (progress.job.state, progress.job.generation, progress.job.fingerprint) == (DONE, 2, "factor-5")
    assert progress.events_done == 120
    assert system.control.active == 2
    assert system.rows() == system.expected(factor=5)


@pytest.mark.parametrize("fewer", [[STREAM], [STREAM, "stream-001"], None], ids=["one", "two", "all"])
@pytest.mark.parametrize("before", [["stream-001", STREAM, "stream-002"], None], ids=["named", "all"])
def test_a_restarted_replay_may_follow_other_streams(before: Any, fewer: Any) -> None:
    system = System(tally(streams=before))
    system.history(6, 4, streams=5)
    replay_id = system.replays().trigger().job.replay_id
    system.deploy(tally(factor=5, streams=fewer))

    system.work(limit=200)
    system.reconcile()
    system.work(limit=200)

    assert system.progress(replay_id).job.state == DONE
    assert system.rows() == system.expected(factor=5)


def test_a_rollback_is_done_with_the_code_of_its_generation() -> None:
    system = System()
    system.history(6, 4, streams=3)
    system.replay()
    system.deploy(tally(factor=5))
    system.replay()
    system.append({"k": "0000", "v": 2})
    system.project()

    replay_id = system.replays().rollback().job.replay_id
    system.work()

    assert system.progress(replay_id).job.state == DONE
    assert system.control.fingerprint == "factor-3"
    assert system.rows() == system.expected(factor=3)


# -- what is refused -----------------------------------------------------------------------------------------------------


def test_a_trigger_while_a_replay_runs_starts_nothing() -> None:
    system = System()
    system.history(10, 5)

    first, second = system.replays().trigger(), system.replays().trigger()

    assert first.job.replay_id == second.job.replay_id
    assert len(system.messages) == 1
    assert system.progress(first.job.replay_id).job.state == RUNNING
    system.work()
    third = system.replays().trigger()
    assert third.job.replay_id != first.job.replay_id
    system.work()
    assert system.control.active == 2


def test_two_triggers_at_once_start_one_replay() -> None:
    system = System()
    system.history(10, 5)
    other = system.replays()
    read_model = Interrupted(system.read_model).before("commit", lambda: other.trigger())

    job = system.replays(read_model=read_model).trigger().job

    building = system.control.building
    assert building is not None
    assert job.replay_id == building.replay_id
    system.work()
    assert system.control.active == 1


def test_what_does_not_exist_is_not_found() -> None:
    system = System()
    system.history(10, 5)
    replays = system.replays()

    with pytest.raises(NotFoundError):
        replays.trigger(StreamId("nobody"))
    with pytest.raises(NotFoundError):
        replays.progress("nobody")
    with pytest.raises(ConflictError):
        replays.rollback()
    with pytest.raises(InvalidInputError):
        replays.trigger(STREAM, 5)  # the fold is not idempotent
    with pytest.raises(InvalidInputError, match="several streams"):
        replays.trigger(STREAM)  # nor does a row come from one stream


def test_a_replay_of_another_projection_is_not_found() -> None:
    system = System()
    system.history(3, 2)
    replay_id = system.replay().job.replay_id

    system.projection = latest()

    with pytest.raises(NotFoundError):
        system.progress(replay_id)


def test_a_replay_that_has_joined_shows_that_it_is_about_to_switch() -> None:
    system = System()
    system.history(3, 2, streams=9)
    replay_id = system.replays().trigger().job.replay_id
    while system.progress(replay_id).job.phase != JOIN:
        system.deliver(system.worker(), system.messages.pop(0))

    assert system.progress(replay_id).job.state == "switching"
    system.read_model.commit(Commit((transitions.unchanged(system.state()),)))
    system.work()
    assert system.progress(replay_id).job.state == DONE
