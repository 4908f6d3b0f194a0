"""Replays from the middle, in place (R3): the job reports progress whether the worker or the projector catches up."""

from __future__ import annotations

from dataclasses import replace

import pytest

from handlers.core.errors import HandlerFailedError
from handlers.replay.jobs import DONE, FAILED, RUNNING
from tests.unit.replay.system import STREAM, System, tally


def test_a_rewind_whose_message_was_lost_is_done_when_the_projector_has_caught_up() -> None:
    system = System(tally(idempotent=True))
    system.history(20, 4)
    replay_id = system.replays().trigger(STREAM, 15).replay_id
    system.messages.clear()
    assert system.replays().progress(replay_id).state == RUNNING

    system.project()

    progress = system.replays().progress(replay_id)
    assert (progress.state, progress.events_done) == (DONE, 5)


def test_a_rewind_that_the_projector_halted_in_has_failed_there() -> None:
    system = System(tally(idempotent=True))
    system.history(20, 4)
    replay_id = system.replays().trigger(STREAM, 15).replay_id
    system.messages.clear()
    stored = system.store._streams[STREAM]
    stored[17] = replace(stored[17], data='{"k":"0001","poison":true}')

    with pytest.raises(HandlerFailedError):
        system.project()

    progress = system.replays().progress(replay_id)
    assert (progress.state, progress.events_done, progress.error_event_id) == (FAILED, 2, 17)
