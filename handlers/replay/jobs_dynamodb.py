"""Replay jobs on DynamoDB: one item per job and one per task, under the job's replayId.

Requires dynamodb:PutItem and dynamodb:Query on the Jobs table, and dynamodb:Query on its index `recent`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from handlers.core.clock import parse_rfc3339
from handlers.core.messages import stream_hash
from handlers.projection.dynamodb import deserialize, serialize
from handlers.replay.jobs import ReplayJob, StreamTask

# Jobs expire after 90 days (DynamoDB TTL).
JOB_TTL_S = 90 * 24 * 3600

RECENT_INDEX = "recent"

_JOB = "job"
"""The sort key of a job's item, and its partition in the index of recent jobs. A task's sort key is its stream's hash."""


class DynamoDbReplayJobs:
    """`ReplayJobs` on a Jobs table."""

    def __init__(self, client: Any, table: str) -> None:
        self._client = client
        self._table = table

    def record(self, job: ReplayJob) -> None:
        self._put(
            {
                "replayId": job.replay_id,
                "part": _JOB,
                "kind": _JOB,
                "action": job.kind,
                "projection": job.projection,
                "startedAt": job.started_at,
                "fromEventId": job.from_event_id,
                "complete": job.complete,
                "expiresAt": _expiry(job.started_at),
            }
        )
        for task in job.tasks:
            self.record_task(job.replay_id, task)

    def record_task(self, replay_id: str, task: StreamTask) -> None:
        self._put(
            {
                "replayId": replay_id,
                "part": stream_hash(task.stream_id),
                "streamId": task.stream_id,
                "state": task.state,
                "partStartedAt": task.started_at,
                "first": task.first,
                "head": task.head,
                "eventsDone": task.events_done,
                "finishedAt": task.finished_at,
                "errorEventId": task.error_event_id,
                "error": task.error,
                "expiresAt": _expiry(task.started_at),
            }
        )

    def find(self, replay_id: str) -> ReplayJob | None:
        query: dict[str, Any] = {
            "TableName": self._table,
            "KeyConditionExpression": "replayId = :id",
            "ExpressionAttributeValues": {":id": {"S": replay_id}},
            "ConsistentRead": True,
        }
        job: dict[str, Any] | None = None
        tasks = []
        while True:
            answer = self._client.query(**query)
            for item in map(_plain, answer["Items"]):
                if item["part"] == _JOB:
                    job = item
                else:
                    tasks.append(_task(item))
            if "LastEvaluatedKey" not in answer:
                return None if job is None else _job(job, tuple(tasks))
            query["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    def recent(self, limit: int) -> Sequence[ReplayJob]:
        answer = self._client.query(
            TableName=self._table,
            IndexName=RECENT_INDEX,
            KeyConditionExpression="kind = :job",
            ExpressionAttributeValues={":job": {"S": _JOB}},
            ScanIndexForward=False,
            Limit=limit,
        )
        return [_job(_plain(item), ()) for item in answer["Items"]]

    def _put(self, values: dict[str, Any]) -> None:
        item = {name: serialize(value) for name, value in values.items() if value is not None}
        self._client.put_item(TableName=self._table, Item=item)


def _expiry(started_at: str) -> int:
    return int(parse_rfc3339(started_at).timestamp()) + JOB_TTL_S


def _plain(item: dict[str, Any]) -> dict[str, Any]:
    return {name: deserialize(value) for name, value in item.items()}


def _job(item: dict[str, Any], tasks: tuple[StreamTask, ...]) -> ReplayJob:
    return ReplayJob(
        replay_id=item["replayId"],
        projection=item["projection"],
        kind=item["action"],
        started_at=item["startedAt"],
        from_event_id=item["fromEventId"],
        complete=item["complete"],
        tasks=tasks,
    )


def _task(item: dict[str, Any]) -> StreamTask:
    return StreamTask(
        stream_id=item["streamId"],
        state=item["state"],
        started_at=item["partStartedAt"],
        first=item["first"],
        head=item["head"],
        events_done=item["eventsDone"],
        finished_at=item.get("finishedAt"),
        error_event_id=item.get("errorEventId"),
        error=item.get("error"),
    )
