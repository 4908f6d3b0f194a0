"""Pages of history with more rows than a transaction holds: written in several commits, each row once (P3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from handlers.core.errors import ContendedError
from handlers.core.events import EventId
from handlers.core.messages import Hint
from handlers.projection.port import Commit, OutdatedError
from handlers.replay.jobs import DONE, FAILED
from tests.support.ports import DiedError, Interrupted, die
from tests.unit.replay.system import STREAM, System, tally

EVENTS, KEYS = 900, 300


@pytest.fixture
def system() -> System:
    """One stream of 900 events on 300 rows: a page takes four commits."""
    found = System(tally(streams=[STREAM]))
    found.history(EVENTS, KEYS)
    return found


def row_writes(system: System, act: Callable[[], object]) -> list[int]:
    """Return the number of rows in each commit that has any."""
    written = []
    inner = system.read_model

    class Counting:
        def __getattr__(self, name: str) -> Any:
            return getattr(inner, name)

        def commit(self, commit: Commit) -> None:
            inner.commit(commit)
            if commit.rows:
                written.append(sum(each.write for each in commit.rows))

    system.read_model = Counting()
    try:
        act()
    finally:
        system.read_model = inner
    return written


def test_n_events_on_k_rows_are_k_writes(system: System) -> None:
    written = row_writes(system, system.replay)

    assert sum(written) == KEYS
    assert len(written) == 4
    assert system.is_complete()


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("commit", range(7))
def test_a_worker_that_dies_between_commits_is_continued(system: System, moment: str, commit: int) -> None:
    system.replays().trigger()
    message = system.messages.pop(0)
    ports = Interrupted(system.read_model)
    getattr(ports, moment)("commit", *[lambda: None] * commit, die)
    with pytest.raises(DiedError):
        system.deliver(system.worker(read_model=ports), message)

    system.messages.append(message)
    written = row_writes(system, system.work)

    assert sum(written) <= KEYS
    assert system.is_complete()


def test_a_page_that_grew_is_continued_exactly_to_its_end(system: System) -> None:
    system.replays().trigger()
    message = system.messages.pop(0)
    ports = Interrupted(system.read_model).after("commit", lambda: None, die)
    with pytest.raises(DiedError):
        system.deliver(system.worker(read_model=ports), message)
    system.history(50, KEYS)

    system.messages.append(message)
    system.work()

    assert system.is_complete()


def test_two_workers_on_one_page_write_each_row_once(system: System) -> None:
    system.replays().trigger()
    message = system.messages.pop(0)
    ports = Interrupted(system.read_model)
    ports.before("commit", lambda: None, lambda: system.deliver(system.worker(), message))

    system.deliver(system.worker(read_model=ports), message)
    system.work()

    assert system.is_complete()


def test_live_events_wait_while_the_page_of_an_unborn_stream_is_written() -> None:
    # given a new projection, and a worker that died within a page
    system = System(tally(streams=[STREAM]))
    system.history(EVENTS, KEYS, project=False)
    replay_id = system.replays().trigger().job.replay_id
    message = system.messages.pop(0)
    ports = Interrupted(system.read_model).after("commit", lambda: None, die)
    with pytest.raises(DiedError):
        system.deliver(system.worker(read_model=ports), message)

    # then the stream is not projected yet, since the new generation must be ahead
    with pytest.raises(ContendedError):
        system.projector().catch_up(STREAM, [Hint(STREAM, EventId(0))])
    assert not system.state().exists

    # and goes on afterwards
    system.messages.append(message)
    system.work()
    system.project()
    assert system.progress(replay_id).job.state == DONE
    assert system.is_complete()


def test_no_page_is_begun_after_its_segment_is_done(system: System) -> None:
    # given a worker that stopped right before it writes a page of events that came late
    system.replays().trigger()
    message = system.messages.pop(0)

    def others_finish() -> None:
        system.deliver(system.worker(), message)
        system.history(EVENTS, KEYS)

    first = Interrupted(system.store).before("head", others_finish)
    refused: list[OutdatedError] = []
    inner = system.read_model

    class Noting:
        def __getattr__(self, name: str) -> Any:
            return getattr(inner, name)

        def commit(self, commit: Commit) -> None:
            try:
                inner.commit(commit)
            except OutdatedError as error:
                refused.append(error)
                raise

    system.deliver(system.worker(read_model=Noting(), store=first), message)
    system.work()

    assert refused
    assert system.state().page is None
    system.project()
    assert system.is_complete()


def test_a_handler_that_raises_within_a_page_fails_the_job_at_its_event(system: System) -> None:
    system.append({"k": "0001", "v": 1, "poison": True})

    progress = system.replay()

    assert progress.job.state == FAILED
    assert progress.job.error == {"streamId": STREAM, "eventId": EVENTS, "error": "ValueError: poison"}
    assert system.control.active == 0


def test_a_page_whose_rows_other_streams_have_written_too() -> None:
    system = System(tally(streams=[STREAM, "stream-001", "stream-002"]))
    system.history(EVENTS, KEYS, streams=3)

    replay_id = system.replays().trigger().job.replay_id
    system.work(limit=100)

    assert system.progress(replay_id).job.state == DONE
    assert system.is_complete()
