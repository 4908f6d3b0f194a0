"""Jobs that change the active generation in place: replays from the middle (R3), and of one stream."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from handlers.core.errors import InvalidInputError
from handlers.core.events import EventId, StreamId
from handlers.core.messages import Hint
from handlers.projection import transitions
from handlers.projection.port import MAX_COMMIT_ROWS, Commit, RowChange
from handlers.replay.jobs import DONE, FAILED, JOIN, REWIND, RUNNING
from handlers.replay.jobs import STREAM as OF_A_STREAM
from handlers.replay.worker import ReplayWorker
from tests.support.ports import Interrupted
from tests.unit.replay.system import STREAM, System, latest

OTHER = StreamId("stream-001")


def damage(system: System, key: str, row: dict[str, Any] | None) -> None:
    """Change a row as no event does."""
    before = system.read_model.load(system.control.active, (), [key]).rows[key]
    change = RowChange(key, None if before is None else before.version, True, row, "damaged")
    system.read_model.commit(Commit((), (change,), system.control.active))


def given(**settings: Any) -> System:
    system = System(latest(), **settings)
    system.history(20, 4, streams=3)
    return system


# -- from the middle -----------------------------------------------------------------------------------------------------


def test_a_replay_from_the_middle_applies_the_events_from_there_again() -> None:
    system = given()
    rows = system.rows()
    damage(system, f"{STREAM}\x00{19 * 7 % 4:04}", {"n": -1})
    progress = system.replays().trigger(STREAM, 15)
    replay_id = progress.job.replay_id
    assert (progress.job.kind, progress.job.state, progress.events_done, progress.events) == (REWIND, RUNNING, 0, 5)
    assert (system.state().checkpoint, system.state().is_settled) == (14, False)

    system.work()

    progress = system.progress(replay_id)
    assert (progress.job.state, progress.job.generation) == (DONE, None)
    assert (progress.events_done, progress.events) == (5, 5)
    assert (system.state().checkpoint, system.state().is_settled, system.control.active) == (19, True, 0)
    assert system.rows() == rows


def test_a_replay_from_the_middle_needs_several_messages_if_time_is_short() -> None:
    system = given(page_events=2)
    replay_id = system.replays().trigger(STREAM, 5).job.replay_id

    system.work(one_step=True)

    assert system.progress(replay_id).job.state == DONE
    assert system.state().checkpoint == 19


def test_progress_from_the_middle_counts_what_the_projector_has_caught_up() -> None:
    system = given()
    replay_id = system.replays().trigger(STREAM, 15).job.replay_id
    system.messages.clear()

    system.projector().catch_up(STREAM, [Hint(STREAM, EventId(17))])

    assert system.progress(replay_id).events_done == 5


def test_a_replay_from_the_middle_that_a_handler_fails_halts_the_stream_and_has_failed() -> None:
    system = given()
    replay_id = system.replays().trigger(STREAM, 15).job.replay_id
    stored = system.store._streams[STREAM]  # type: ignore[attr-defined]
    stored[17] = replace(stored[17], data='{"k":"0001","poison":true}')

    system.work()

    progress = system.progress(replay_id)
    job = progress.job
    assert (job.state, job.error) == (FAILED, {"streamId": STREAM, "eventId": 17, "error": "ValueError: poison"})
    assert (progress.events_done, progress.events) == (2, 5)
    assert system.state().is_halted


@pytest.mark.parametrize("projection", [latest(idempotent=False)])
def test_a_replay_from_the_middle_is_refused_if_the_fold_is_not_idempotent(projection: Any) -> None:
    system = System(projection)
    system.history(5, 2)

    with pytest.raises(InvalidInputError, match="idempotent"):
        system.replays().trigger(STREAM, 2)


def test_a_replay_from_beyond_the_head_or_of_no_stream_is_refused() -> None:
    system = given()

    with pytest.raises(InvalidInputError, match="beyond the head 19"):
        system.replays().trigger(STREAM, 20)
    with pytest.raises(InvalidInputError, match="streamId"):
        system.replays().trigger(None, 3)


def test_a_replay_from_the_middle_while_the_projection_is_replayed_starts_nothing() -> None:
    system = given()
    replay_id = system.replays().trigger().job.replay_id

    assert system.replays().trigger(STREAM, 3).job.replay_id == replay_id

    system.work()
    assert system.progress(replay_id).job.state == DONE


def test_a_stream_that_has_followed_a_cancelled_replay_can_be_replayed_from_the_middle() -> None:
    # given a stream that has joined a generation which was abandoned
    system = given()
    replay_id = system.replays().trigger().job.replay_id
    while system.state().ahead is None:
        system.deliver(system.worker(), system.messages.pop(0))
    system.replays().cancel(replay_id)
    system.messages.clear()

    rewind = system.replays().trigger(STREAM, 15).job.replay_id
    system.work()

    assert system.progress(rewind).job.state == DONE
    assert (system.state().ahead, system.state().rewinds) == (None, 1)


def test_a_replay_of_the_projection_never_shows_less_than_before_a_rewind() -> None:
    # given a rewind whose catch-up has not begun, and a new generation whose worker saw the stream's first events only
    system = given()
    system.replays().trigger(STREAM, 5)
    system.messages.clear()
    replay_id = system.replays().trigger().job.replay_id

    class Partial(Interrupted):
        def scan(self, *arguments: object, **named: object) -> Any:
            page = self._inner.scan(*arguments, **named)
            return type(page)(tuple(each for each in page.events if each.event_id < 10), page.next_position)

    while system.messages:
        worker = system.worker(store=Partial(system.store))
        system.deliver(worker, system.messages.pop(0))

    assert system.progress(replay_id).job.state == DONE
    assert system.state().checkpoint == 19


# -- one stream ----------------------------------------------------------------------------------------------------------


def test_one_stream_is_replayed_in_place() -> None:
    system = given()
    rows = system.rows()
    damage(system, f"{STREAM}\x000001", {"n": -1})
    damage(system, f"{STREAM}\x000002", None)
    damage(system, f"{OTHER}\x000001", {"n": -2})

    progress = system.replays().trigger(STREAM)
    assert (progress.job.kind, progress.job.stream_id) == (OF_A_STREAM, STREAM)
    system.work()

    assert system.progress(progress.job.replay_id).job.state == DONE
    assert system.control.active == 0
    assert system.rows() == {**rows, f"{OTHER}\x000001": {"n": -2}}


@pytest.mark.parametrize("page_events", [1, 3, 1000])
def test_events_during_the_replay_of_a_stream_are_not_lost(page_events: int) -> None:
    system = given(page_events=page_events)
    replay_id = system.replays().trigger(STREAM).job.replay_id
    damage(system, f"{STREAM}\x000001", {"n": -1})

    def live() -> None:
        system.append({"k": "0001", "v": 99})
        system.project(STREAM)

    read_model = Interrupted(system.read_model).before("commit", live)
    system.deliver(system.worker(read_model=read_model), system.messages.pop(0))

    assert system.progress(replay_id).job.state == DONE
    assert system.rows()[f"{STREAM}\x000001"] == {"n": 99}
    assert system.state().checkpoint == 20


def test_a_stream_with_more_rows_than_a_transaction_holds_is_not_replayed_by_itself() -> None:
    system = System(latest())
    system.history(MAX_COMMIT_ROWS + 1, MAX_COMMIT_ROWS + 1)
    before = system.rows()

    replay_id = system.replays().trigger(STREAM).job.replay_id
    system.work()

    job = system.progress(replay_id).job
    assert job.state == FAILED
    assert job.error is not None
    assert "replay the whole projection" in job.error["error"]
    assert system.rows() == before


def test_a_stream_with_as_many_rows_as_a_transaction_holds_is_replayed() -> None:
    system = System(latest(), page_events=10)
    system.history(MAX_COMMIT_ROWS, MAX_COMMIT_ROWS)
    before = system.rows()
    for key in before:
        damage(system, key, {"n": -1})

    replay_id = system.replays().trigger(STREAM).job.replay_id
    system.work()

    assert system.progress(replay_id).job.state == DONE
    assert system.rows() == before


def test_a_stream_whose_rows_are_large_together_is_not_replayed_by_itself() -> None:
    system = System(latest())
    system.projection._handlers["COUNTED"] = lambda row, event: {"text": "x" * 380_000}
    system.append(*({"k": f"{number:02}", "v": 1} for number in range(20)))
    system.project()

    replay_id = system.replays().trigger(STREAM).job.replay_id
    system.work()

    assert system.progress(replay_id).job.state == FAILED


def test_a_skipped_event_stays_skipped() -> None:
    system = given()
    system.append({"k": "0001", "poison": True})
    with pytest.raises(Exception, match="poison"):
        system.project(STREAM)
    system.read_model.commit(Commit((transitions.skip(system.state(), "2026-01-01T00:00:00.000Z"),)))
    rows = system.rows()
    damage(system, f"{STREAM}\x000001", {"n": -1})

    replay_id = system.replays().trigger(STREAM).job.replay_id
    system.work()

    assert system.progress(replay_id).job.state == DONE
    assert system.rows() == rows


def test_a_worker_does_nothing_for_a_job_that_it_does_not_know() -> None:
    worker: ReplayWorker = given().worker()

    assert worker.work("nobody", None, lambda: True)
    assert JOIN == "join"
