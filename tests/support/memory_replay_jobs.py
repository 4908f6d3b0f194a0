"""Replay jobs in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from handlers.replay.jobs import ReplayJob, StreamTask


class MemoryReplayJobs:
    """`ReplayJobs` in memory."""

    def __init__(self) -> None:
        self._jobs: dict[str, ReplayJob] = {}
        self._tasks: dict[str, dict[str, StreamTask]] = {}

    def record(self, job: ReplayJob) -> None:
        self._jobs[job.replay_id] = replace(job, tasks=())
        for task in job.tasks:
            self.record_task(job.replay_id, task)

    def record_task(self, replay_id: str, task: StreamTask) -> None:
        self._tasks.setdefault(replay_id, {})[task.stream_id] = task

    def find(self, replay_id: str) -> ReplayJob | None:
        job = self._jobs.get(replay_id)
        return job and replace(job, tasks=tuple(self._tasks.get(replay_id, {}).values()))

    def recent(self, limit: int) -> Sequence[ReplayJob]:
        return sorted(self._jobs.values(), key=lambda job: (job.started_at, job.replay_id), reverse=True)[:limit]
