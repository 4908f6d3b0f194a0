"""Replay jobs on DynamoDB: one item per job, changed by the read model's commits.

Requires dynamodb:GetItem on the Jobs table, and dynamodb:Query on its index `recent`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from handlers.core.clock import attempts
from handlers.core.dynamodb import Retries, with_retries
from handlers.projection.items import JOB, RECENT_INDEX, document_from_item
from handlers.projection.state import Document


class DynamoDbReplayJobs:
    """`ReplayJobs` on a Jobs table."""

    def __init__(self, client: Any, table: str, retries: Retries = attempts) -> None:
        self._client = client
        self._table = table
        self._retries = retries

    def find(self, replay_id: str) -> Document | None:
        answer = with_retries(
            self._client.get_item,
            self._retries,
            TableName=self._table,
            Key={"replayId": {"S": replay_id}},
            ConsistentRead=True,
        )
        return document_from_item(answer["Item"]) if "Item" in answer else None

    def recent(self, limit: int) -> Sequence[Document]:
        answer = with_retries(
            self._client.query,
            self._retries,
            TableName=self._table,
            IndexName=RECENT_INDEX,
            KeyConditionExpression="kind = :job",
            ExpressionAttributeValues={":job": {"S": JOB}},
            ScanIndexForward=False,
            Limit=limit,
        )
        return list(map(document_from_item, answer["Items"]))
