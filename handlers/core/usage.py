"""What an invocation used: AWS requests by operation, and DynamoDB's capacity units, for its log (and ``esctl cost``)."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from typing import Any

# Operations that are billed in write units; all others of DynamoDB's are billed in read units.
_WRITES = {"PutItem", "UpdateItem", "DeleteItem", "TransactWriteItems", "BatchWriteItem"}


class Usage:
    """Counts what clients do, from one `take` to the next."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # a replay reads ahead in a thread of its own
        self._requests: Counter[str] = Counter()
        self._units = {"readUnits": 0.0, "writeUnits": 0.0}

    def watch(self, client: Any) -> Any:
        """Count a boto3 client's answered calls from now on; returns the client."""
        service = client.meta.service_model.service_name
        events = client.meta.events
        if service == "dynamodb":
            events.register(f"provide-client-params.{service}", _ask_for_capacity)
        events.register(f"after-call.{service}", self._count)
        return client

    def take(self) -> dict[str, Any]:
        """Return what was used since the last time; empty when nothing was.

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


def _ask_for_capacity(params: dict[str, Any], model: Any, **_: Any) -> None:
    if "ReturnConsumedCapacity" in model.input_shape.members:
        params.setdefault("ReturnConsumedCapacity", "TOTAL")
