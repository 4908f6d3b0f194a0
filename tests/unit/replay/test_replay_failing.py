"""Handlers that raise in the middle of a replay (R4), and what is asked for while one runs."""

from __future__ import annotations

from typing import Any

import pytest

from handlers.core.errors import ConflictError, HandlerFailedError, InvalidInputError, NotFoundError
from handlers.core.events import NewEvent, StreamId
from handlers.replay.jobs import DONE, FAILED, RUNNING
from tests.unit.replay.system import STREAM, System, tally

POISON_AT = 57


def with_poison(system: System, data: str = '{"k":"0001","poison":true}') -> System:
    """Event 57 can't be folded any more, though it was: its live rows are there."""
    system.history(100, 20)
    stored = system.store._streams[STREAM]
    from dataclasses import replace

    stored[POISON_AT] = replace(stored[POISON_AT], data=data)
    return system


@pytest.mark.parametrize(
    ("data", "error"),
    [
        ('{"k":"0001","poison":true}', "ValueError: poison"),
        ('{"k":7,"v":1}', "the key is a int, not a string"),
        ("not JSON", "JSONDecodeError: Expecting value: line 1 column 1 (char 0)"),
    ],
)
def test_an_event_that_can_not_be_folded_fails_the_replay_and_nothing_else(data: str, error: str) -> None:
    system = with_poison(System(), data)
    before = system.rows()
    replay_id = system.replays().trigger(STREAM).replay_id

    system.work()

    progress = system.replays().progress(replay_id)
    assert (progress.state, progress.error_event_id, progress.error) == (FAILED, POISON_AT, error)
    assert system.state.active_generation == 0
    assert system.rows() == before
    system.append({"k": "new", "v": 1})
    system.project()
    assert system.rows() == before | {"new": {"n": 1}}, "the old generation goes on being updated"
    assert not system.read_model.rows.get((STREAM, 1)), "what was built is swept"


def test_a_stored_event_that_is_no_json_halts_its_stream_instead_of_failing_for_ever() -> None:
    system = System()
    system.history(10, 5)
    system.store.append([NewEvent(STREAM, "COUNTED", "not JSON")])

    with pytest.raises(HandlerFailedError):
        system.project()

    assert system.state.is_halted
    assert system.state.checkpoint == 9


def test_a_replay_after_the_fold_is_fixed_completes() -> None:
    system = with_poison(System())
    system.replays().trigger(STREAM)
    system.work()
    system.projection = tally()
    fixed: dict[str, Any] = dict(system.projection.handlers)

    system.projection._handlers["COUNTED"] = lambda row, data: fixed["COUNTED"](
        row, {"k": data["k"], "v": data.get("v", 0)}
    )
    replay_id = system.replays().trigger(STREAM).replay_id
    system.work()

    assert system.replays().progress(replay_id).state == DONE
    assert system.state.checkpoint == 99


def test_a_failed_rollback_keeps_the_generation_for_another_try() -> None:
    system = System()
    system.history(10, 5)
    system.replays().trigger(STREAM)
    system.work()
    system.append({"k": "0001", "poison": True})
    replay_id = system.replays().rollback(STREAM).replay_id

    system.work()

    assert system.replays().progress(replay_id).state == FAILED
    assert system.state.previous is not None
    assert system.state.previous.generation == 0


# -- asking --------------------------------------------------------------------------------------------------------------


def test_a_trigger_while_one_runs_starts_nothing() -> None:
    system = System()
    system.history(10, 5)

    first, second = system.replays().trigger(STREAM), system.replays().trigger(STREAM)

    assert first.replay_id == second.replay_id
    assert len(system.messages) == 1
    assert system.replays().progress(first.replay_id).state in (RUNNING, "switching")
    system.work()
    third = system.replays().trigger(STREAM)
    assert third.replay_id != first.replay_id
    system.work()
    assert system.state.active_generation == 2


def test_what_is_not_there_is_not_found() -> None:
    system = System()
    system.history(10, 5)

    with pytest.raises(NotFoundError):
        system.replays().trigger(StreamId("nobody"))
    with pytest.raises(NotFoundError):
        system.replays().progress("nobody")
    with pytest.raises(ConflictError):
        system.replays().rollback(STREAM)
    with pytest.raises(InvalidInputError):
        system.replays().trigger(STREAM, 5)  # the fold is not idempotent
