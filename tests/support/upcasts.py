"""Upcasters that count."""

from collections import Counter
from typing import Any

from handlers.catalogue import upcaster


def counted_upcasts(event_type: str) -> Counter[int]:
    """Register an upcaster that changes nothing; returns how often it was called for each event's ``v``."""
    calls: Counter[int] = Counter()

    @upcaster(event_type, from_version=1)
    def counting(data: Any) -> Any:
        calls[data["v"]] += 1
        return data

    return calls
