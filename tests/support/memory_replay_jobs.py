"""Replay jobs in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from handlers.replay.jobs import Job, Part


class MemoryReplayJobs:
    """`ReplayJobs` in memory."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._parts: dict[str, dict[str, Part]] = {}

    def record(self, job: Job) -> None:
        self._jobs[job.replay_id] = replace(job, parts=())
        for part in job.parts:
            self.record_part(job.replay_id, part)

    def record_part(self, replay_id: str, part: Part) -> None:
        self._parts.setdefault(replay_id, {})[part.stream_id] = part

    def find(self, replay_id: str) -> Job | None:
        job = self._jobs.get(replay_id)
        return job and replace(job, parts=tuple(self._parts.get(replay_id, {}).values()))

    def recent(self, limit: int) -> Sequence[Job]:
        return sorted(self._jobs.values(), key=lambda job: (job.started_at, job.replay_id), reverse=True)[:limit]
