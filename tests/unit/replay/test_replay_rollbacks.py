"""Going back to the generation before, and what is swept."""

from __future__ import annotations

from handlers.replay.jobs import DONE
from tests.unit.replay.system import STREAM, System


def given_a_replay_and_events_after_it() -> System:
    system = System()
    system.history(20, 4)
    system.replays().trigger(STREAM)
    system.work()
    system.append(*({"k": f"{number % 4:04}", "v": number} for number in range(5)))
    return system


def test_a_rollback_counts_the_events_since_it_was_left() -> None:
    system = given_a_replay_and_events_after_it()

    replay_id = system.replays().rollback(STREAM).replay_id
    system.work()

    progress = system.replays().progress(replay_id)
    assert (progress.state, progress.events_done) == (DONE, 5)
    assert system.state.active_generation == 0
    assert system.rows() == system.expected()


def test_one_worker_sweeps_every_generation_that_was_given_up() -> None:
    # given a replay whose predecessor's rows are still there, and which fails
    system = given_a_replay_and_events_after_it()
    system.append({"k": "0000", "poison": True})
    replay_id = system.replays().trigger(STREAM).replay_id
    (_,) = system.state.sweep

    assert system.worker().work(STREAM, replay_id, lambda: True)

    assert system.state.sweep == ()
    assert {generation for (_, generation), rows in system.read_model.rows.items() if rows} == {1}
