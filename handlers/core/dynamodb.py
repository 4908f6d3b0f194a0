"""DynamoDB's limits, retries of its calls, and a counter of what an invocation used of it and of other services."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from handlers.core.clock import Backoff, attempts
from handlers.core.errors import ContendedError

# "Quotas and limits in Amazon DynamoDB",
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html
ITEM_BYTES = 400 * 1024  # attribute names included
SORT_KEY_BYTES = 1024
# How deep attributes may be nested; a projection may store any part of an event's data as an attribute.
NESTING_LEVELS = 32
TRANSACTION_ITEMS = 100
TRANSACTION_BYTES = 4 * 1024 * 1024
BATCH_WRITE_ITEMS = 25
BATCH_READ_ITEMS = 100
# Significant digits of a number, and the exponents of the largest and smallest magnitudes (9.99e125, 1e-130).
NUMBER_DIGITS = 38
LARGEST_EXPONENT = 125
SMALLEST_EXPONENT = -130

# Operations billed in write units; all others are billed in read units.
_WRITES = {"PutItem", "UpdateItem", "DeleteItem", "TransactWriteItems", "BatchWriteItem"}

Retries = Callable[[Backoff], Iterator[int]]
"""Yields once per attempt and waits in between, like `attempts`."""

# After an append's own retries (20 s, E7) there is still time for one of these within the 28 s of an API function.
TRANSIENT = Backoff(deadline_s=6.0, base_s=0.05, cap_s=1.0)

# "Error handling with DynamoDB" and "TransactWriteItems" in its documentation; the codes of errors have the suffix
# "Exception", those of a cancelled transaction's items mostly not. boto3 retries some of the former, none of the latter.
_TRANSIENT_CODES = {
    "InternalServerError",
    "ProvisionedThroughputExceeded",
    "ReplicatedWriteConflict",
    "RequestLimitExceeded",
    "ServiceUnavailable",
    "Throttling",
    "ThrottlingError",
    "TransactionConflict",
    "TransactionInProgress",
}


def with_retries(operation: Callable[..., Any], retries: Retries = attempts, /, **request: Any) -> Any:
    """Call DynamoDB, and repeat the call while the reason for its failure is transient: throttling is not failure.

    Give a transaction a ``ClientRequestToken``: then a repeated call is no second write.

    Raises
    ------
    ContendedError
        The reason has not passed. The message does not say whether a write took effect.
    ClientError
        Any other failure.
    """
    reasons: set[str] = set()
    for _ in retries(TRANSIENT):
        try:
            return operation(**request)
        except Exception as error:
            # Not by its class: what only needs the limits above must not import botocore.
            if not hasattr(error, "response"):
                raise
            reasons = failure_reasons(error)
            if not all(map(is_transient, reasons)):
                raise
    raise ContendedError(f"DynamoDB kept answering {', '.join(sorted(reasons))} for {TRANSIENT.deadline_s:g} seconds")


def failure_reasons(error: Any) -> set[str]:
    """Return the codes of a `ClientError`: its own, or those of the cancelled transaction's items."""
    code: str = error.response["Error"]["Code"]
    reasons = {each.get("Code", "None") for each in error.response.get("CancellationReasons", ())} - {"None"}
    return reasons if code == "TransactionCanceledException" and reasons else {code}


def is_transient(code: str) -> bool:
    """Tell whether a call that failed for this reason may succeed later without any change."""
    return code.removesuffix("Exception") in _TRANSIENT_CODES


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
