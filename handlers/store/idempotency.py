"""Idempotency guards: what makes a repeated append answer as the first one did (E4)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from handlers.core.clock import rfc3339
from handlers.core.errors import IdempotencyMismatchError
from handlers.core.events import StreamId
from handlers.store.items import Item
from handlers.store.planning import AppendPlan
from handlers.store.port import Appended, IdempotencyKey

# How long a repeat is recognised. Long enough for an import that is taken up again after a week's pause.
GUARD_TTL_S = 30 * 24 * 3600


class Guards:
    """The Idempotency table; ``table`` is None where no idempotency keys are used."""

    def __init__(self, client: Any, table: str | None) -> None:
        self._client = client
        self._table = table

    @property
    def table(self) -> str:
        """The table's name.

        Raises
        ------
        ValueError
            There is none.
        """
        if self._table is None:
            raise ValueError("this event store was made without an idempotency table")
        return self._table

    def find(self, idempotency: IdempotencyKey | None) -> Item | None:
        """Return the guard that stands, if there is one."""
        if idempotency is None:
            return None
        answer = self._client.get_item(
            TableName=self.table, Key={"idempotencyKey": {"S": idempotency.key}}, ConsistentRead=True
        )
        item: Item | None = answer.get("Item")
        return item


def guard_item(idempotency: IdempotencyKey, heads: Mapping[StreamId, int], now: datetime) -> Item:
    """Return the guard to write with an append behind these heads.

    The rest of the answer is in the request itself, which the payload hash pins: eventIds and the time are enough.
    """
    answer = json.dumps({"heads": list(heads.values()), "at": rfc3339(now)}, separators=(",", ":"))
    return {
        "idempotencyKey": {"S": idempotency.key},
        "payloadHash": {"S": idempotency.payload_hash},
        "answer": {"S": answer},
        "expiresAt": {"N": str(int(now.timestamp()) + GUARD_TTL_S)},
    }


def repeated(plan: AppendPlan, idempotency: IdempotencyKey | None, guard: Item) -> Appended:
    """Return the first answer again.

    Raises
    ------
    IdempotencyMismatchError
        The guard stands for another request.
    """
    if idempotency is None or guard["payloadHash"]["S"] != idempotency.payload_hash:
        raise IdempotencyMismatchError("this Idempotency-Key was used for another request")
    answer = json.loads(guard["answer"]["S"])
    heads = dict(zip(plan.expected, answer["heads"], strict=True))
    return Appended(plan.place(heads, answer["at"]), replayed=True)
