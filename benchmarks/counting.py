"""Counting what a boto3 client sends, and what DynamoDB says that it consumed."""

from __future__ import annotations

from collections import Counter
from typing import Any


class Calls:
    """Counts from the moment it is put on a client; a call that boto3 repeats counts each time.

    Attributes
    ----------
    by_operation
        Operation (``PutItem``) to how often it was sent.
    write_units
        Of DynamoDB's answers together.
    """

    def __init__(self, client: Any) -> None:
        self.reset()
        service = client.meta.service_model.service_name
        client.meta.events.register(f"before-send.{service}", self._sent)
        if service == "dynamodb":
            client.meta.events.register("provide-client-params.dynamodb", self._ask_for_units)
            client.meta.events.register("after-call.dynamodb", self._answered)

    def reset(self) -> None:
        self.by_operation: Counter[str] = Counter()
        self.write_units = 0.0

    @property
    def total(self) -> int:
        return sum(self.by_operation.values())

    def listed(self) -> str:
        """Return the counts as text."""
        return ", ".join(f"{count} {name}" for name, count in sorted(self.by_operation.items()))

    def _sent(self, event_name: str, **_: Any) -> None:
        self.by_operation[event_name.rsplit(".", 1)[-1]] += 1

    @staticmethod
    def _ask_for_units(params: dict[str, Any], model: Any, **_: Any) -> None:
        if "ReturnConsumedCapacity" in model.input_shape.members:
            params["ReturnConsumedCapacity"] = "TOTAL"

    def _answered(self, parsed: dict[str, Any], model: Any, **_: Any) -> None:
        if not model.name.startswith(("Put", "Update", "Delete", "TransactWrite", "BatchWrite")):
            return
        consumed = parsed.get("ConsumedCapacity", [])
        for each in consumed if isinstance(consumed, list) else [consumed]:
            self.write_units += each["CapacityUnits"]
