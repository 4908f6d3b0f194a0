"""Replay jobs in memory."""

from __future__ import annotations

from collections.abc import Sequence

from handlers.projection.state import Document, JobItem
from tests.support.memory_read_model import MemoryReadModel


class MemoryReplayJobs:
    """`ReplayJobs` of some projections in memory."""

    def __init__(self, *read_models: MemoryReadModel) -> None:
        self._read_models = read_models

    def find(self, replay_id: str) -> Document | None:
        for read_model in self._read_models:
            document = read_model.read(JobItem(replay_id))
            if document:
                return {**document, "replayId": replay_id}
        return None

    def recent(self, limit: int) -> Sequence[Document]:
        jobs = [
            {**document, "replayId": item.replay_id}
            for read_model in self._read_models
            for item, document in list(read_model.documents.items())
            if isinstance(item, JobItem)
        ]
        return sorted(jobs, key=lambda job: (job["startedAt"], job["replayId"]), reverse=True)[:limit]
