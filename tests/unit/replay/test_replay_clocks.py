"""Replays with clocks that are minutes off: they finish, because nothing compares clocks of different hosts."""

from __future__ import annotations

from datetime import timedelta

import pytest

from handlers.replay.jobs import DONE
from tests.unit.replay.system import HandClock, System


@pytest.mark.parametrize("minutes", [-90, -5, 5, 90])
def test_a_replay_finishes_however_wrong_a_worker_s_clock_is(minutes: int) -> None:
    # given a request made by a function whose clock is right
    system = System(states_per_page=2)
    system.history(6, 4, streams=10)
    replay_id = system.replays().trigger().job.replay_id

    # when the workers' clock is wrong
    system.clock = HandClock(system.clock.time + timedelta(minutes=minutes))
    system.work(one_step=True)

    # then it is done, and described without a negative duration by a function whose clock is right
    system.clock = HandClock(system.clock.time - timedelta(minutes=minutes))
    progress = system.progress(replay_id)
    assert (progress.job.state, progress.events_done) == (DONE, 60)
    assert progress.rate >= 0
    assert system.is_complete()
