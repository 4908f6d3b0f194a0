"""What every adapter of replay jobs promises."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace

from handlers.replay.jobs import DONE, FAILED, REPLAY, RUNNING, ReplayJob, ReplayJobs, StreamTask

JobsFactory = Callable[[], ReplayJobs]

AT = "2026-11-23T10:00:00.000Z"
LATER = "2026-11-23T10:00:01.500Z"


def job(started_at: str = AT, *streams: str) -> ReplayJob:
    tasks = tuple(StreamTask(stream, RUNNING, started_at, first=0, head=9) for stream in streams)
    return ReplayJob(str(uuid.uuid4()), "test-items", REPLAY, started_at, tasks=tasks)


class ReplayJobsContract:
    """Subclass it with a fixture ``make_jobs``."""

    def test_a_job_is_found_with_its_parts(self, make_jobs: JobsFactory) -> None:
        jobs, asked = make_jobs(), job(AT, "one", "two\n\u00fc")

        jobs.record(asked)

        found = jobs.find(asked.replay_id)
        assert found is not None
        assert replace(found, tasks=()) == replace(asked, tasks=())
        assert sorted(found.tasks, key=lambda task: task.stream_id) == list(asked.tasks)

    def test_a_job_that_nobody_recorded_is_not_found(self, make_jobs: JobsFactory) -> None:
        assert make_jobs().find("nobody") is None

    def test_a_part_is_recorded_as_it_ended(self, make_jobs: JobsFactory) -> None:
        jobs, asked = make_jobs(), job(AT, "one", "two")
        jobs.record(asked)
        ended = replace(asked.tasks[0], state=DONE, events_done=10, finished_at=LATER)
        failed = replace(
            asked.tasks[1], state=FAILED, events_done=3, finished_at=LATER, error_event_id=3, error="KeyError: 'amount'"
        )

        jobs.record_task(asked.replay_id, ended)
        jobs.record_task(asked.replay_id, failed)

        found = jobs.find(asked.replay_id)
        assert found is not None
        assert {task.stream_id: task for task in found.tasks} == {"one": ended, "two": failed}

    def test_recording_a_job_again_keeps_the_parts_it_has(self, make_jobs: JobsFactory) -> None:
        jobs, asked = make_jobs(), job(AT, "one")
        jobs.record(asked)

        jobs.record(replace(asked, complete=False, tasks=(replace(asked.tasks[0], stream_id="two"),)))

        found = jobs.find(asked.replay_id)
        assert found is not None
        assert not found.complete
        assert {task.stream_id for task in found.tasks} == {"one", "two"}

    def test_the_newest_jobs_come_first_without_their_parts(self, make_jobs: JobsFactory) -> None:
        jobs, first, second = make_jobs(), job(AT, "one"), job(LATER, "one")
        jobs.record(first)
        jobs.record(second)

        assert list(jobs.recent(10)) == [replace(second, tasks=()), replace(first, tasks=())]
        assert list(jobs.recent(1)) == [replace(second, tasks=())]
