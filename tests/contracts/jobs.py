"""What every adapter of replay jobs promises."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from handlers.projection.port import Change, Commit, OutdatedError, ReadModel
from handlers.projection.state import Document, JobItem
from handlers.replay.jobs import ReplayJobs

JobsFactory = Callable[[], tuple[ReadModel, ReplayJobs]]
"""Returns a read model, by which jobs are recorded, and the jobs that are found then."""

AT = "2026-11-23T10:00:00.000Z"
LATER = "2026-11-23T10:00:01.500Z"


def new_job(started_at: str = AT) -> Document:
    return {
        "replayId": str(uuid.uuid4()),
        "projection": "orders",
        "action": "replay",
        "state": "running",
        "startedAt": started_at,
        "segments": {"0": {"events": 0}, "1": {"events": 0}},
    }


def record(read_model: ReadModel, job: Document) -> None:
    change(read_model, job, {"startedAt": None}, job)


def change(read_model: ReadModel, job: Document, expect: Mapping[str, Any], put: Document, *remove: str) -> None:
    read_model.commit(Commit((Change(JobItem(job["replayId"]), expect, put, remove, None),)))


class ReplayJobsContract:
    """Subclass it with a fixture ``make_jobs``."""

    def test_a_recorded_job_is_found(self, make_jobs: JobsFactory) -> None:
        read_model, jobs = make_jobs()
        job = new_job()

        record(read_model, job)

        assert jobs.find(job["replayId"]) == job
        assert read_model.read(JobItem(job["replayId"])) == job

    def test_an_unknown_job_is_not_found(self, make_jobs: JobsFactory) -> None:
        read_model, jobs = make_jobs()

        assert jobs.find("unknown") is None
        assert read_model.read(JobItem("unknown")) == {}

    def test_a_job_is_recorded_once(self, make_jobs: JobsFactory) -> None:
        read_model, _ = make_jobs()
        job = new_job()
        record(read_model, job)

        with pytest.raises(OutdatedError) as outdated:
            record(read_model, {**job, "state": "done"})

        assert outdated.value.items == {JobItem(job["replayId"])}

    def test_segments_progress_independently(self, make_jobs: JobsFactory) -> None:
        read_model, jobs = make_jobs()
        job = new_job()
        record(read_model, job)

        for number, events in (("1", 7), ("0", 5)):
            change(read_model, job, {f"segments.{number}.events": 0}, {f"segments.{number}": {"events": events}})
        change(read_model, job, {"finishedAt": None}, {"state": "done", "finishedAt": LATER})

        finished = {"state": "done", "finishedAt": LATER, "segments": {"0": {"events": 5}, "1": {"events": 7}}}
        assert jobs.find(job["replayId"]) == {**job, **finished}

    def test_recent_jobs_are_newest_first(self, make_jobs: JobsFactory) -> None:
        read_model, jobs = make_jobs()
        first, second = new_job(AT), new_job(LATER)
        record(read_model, first)
        record(read_model, second)

        assert list(jobs.recent(10)) == [second, first]
        assert list(jobs.recent(1)) == [second]
