"""DynamoDB's limits, and a counter of what an invocation used of it and of other services."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from typing import Any

# "Quotas and limits in Amazon DynamoDB",
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html
ITEM_BYTES = 400 * 1024  # attribute names included
SORT_KEY_BYTES = 1024
# How deep attributes may be nested; a projection may store any part of an event's data as an attribute.
NESTING_LEVELS = 32
TRANSACTION_ITEMS = 100
TRANSACTION_BYTES = 4 * 1024 * 1024
BATCH_WRITE_ITEMS = 25
# Significant digits of a number, and the exponents of the largest and smallest magnitudes (9.99e125, 1e-130).
NUMBER_DIGITS = 38
LARGEST_EXPONENT = 125
SMALLEST_EXPONENT = -130

# Operations billed in write units; all others are billed in read units.
_WRITES = {"PutItem", "UpdateItem", "DeleteItem", "TransactWriteItems", "BatchWriteItem"}


class Usage:
    """Count AWS requests by operation and DynamoDB capacity units, for an invocation's log and ``esctl cost``."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # a replay reads ahead in a separate thread
        self._requests: Counter[str] = Counter()
        self._units = {"readUnits": 0.0, "writeUnits": 0.0}

    def watch(self, client: Any) -> Any:
        """Count the completed calls of a boto3 client from now on; returns the client."""
        service = client.meta.service_model.service_name
        events = client.meta.events
        if service == "dynamodb":
            events.register(f"provide-client-params.{service}", _request_capacity)
        events.register(f"after-call.{service}", self._count)
        return client

    def take(self) -> dict[str, Any]:
        """Return the usage since the last call and reset it; empty if there was none.

        ``{"requests": {"dynamodb.PutItem": 1}, "readUnits": 0, "writeUnits": 1}``
        """
        with self._lock:
            requests, self._requests = self._requests, Counter()
            units, self._units = self._units, {"readUnits": 0.0, "writeUnits": 0.0}
        return {"requests": dict(requests), **units} if requests else {}

    def _count(self, parsed: Mapping[str, Any], model: Any, **_: Any) -> None:
        name = f"{model.service_model.service_name}.{model.name}"
        consumed = parsed.get("ConsumedCapacity") or []
        tables = consumed if isinstance(consumed, list) else [consumed]
        kind = "writeUnits" if model.name in _WRITES else "readUnits"
        with self._lock:
            self._requests[name] += 1
            self._units[kind] += sum(float(table.get("CapacityUnits", 0)) for table in tables)


def _request_capacity(params: dict[str, Any], model: Any, **_: Any) -> None:
    if "ReturnConsumedCapacity" in model.input_shape.members:
        params.setdefault("ReturnConsumedCapacity", "TOTAL")
