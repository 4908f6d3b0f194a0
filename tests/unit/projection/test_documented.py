"""The examples of docs/projections.md are run, and lead to the rows that they are about."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from handlers.core.events import Event, EventId, StreamId
from handlers.projection import Projection
from tests.support.projections import fold_all

PAGE = Path(__file__).parents[3] / "docs" / "projections.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def example(name: str) -> Projection:
    for block in BLOCKS:
        namespace: dict[str, Any] = {}
        exec(compile(block, str(PAGE), "exec"), namespace)
        if isinstance(namespace.get(name), Projection):
            projection: Projection = namespace[name]
            return projection
    raise AssertionError(f"no example defines {name}")


def event(number: int, type: str, stream: str = "order-7", **data: Any) -> Event:
    return Event(StreamId(stream), EventId(number), type, json.dumps(data), f"2026-01-0{number + 1}T00:00:00.000Z")


PLACED = event(0, "ORDER_PLACED", customerId="ann", total=5)
ROW = {"status": "placed", "customerId": "ann", "total": 5, "placedAt": "2026-01-01T00:00:00.000Z"}


@pytest.mark.parametrize(
    ("name", "events", "rows"),
    [
        ("orders", [PLACED], {"order-7": ROW}),
        ("orders", [PLACED, event(1, "ORDER_PAID")], {"order-7": {**ROW, "status": "paid"}}),
        ("orders", [PLACED, event(1, "ORDER_DELETED")], {}),
        ("revenue", [PLACED, PLACED], {"2026-01-01": {"orders": 2, "total": 10}}),
        (
            "stock",
            [event(0, "ORDER_SHIPPED", lines=[{"sku": sku, "pieces": 1} for sku in "aba"])],
            {"a": {"shipped": 2}, "b": {"shipped": 1}},
        ),
    ],
)
def test_an_example_leads_to_its_rows(name: str, events: list[Event], rows: dict[str, Any]) -> None:
    projection = example(name)
    found: dict[str, Any] = {}

    fold_all(projection, events, found)

    assert found == rows
    assert all(projection.index_entries(key, row) or not projection.indexes for key, row in found.items())


def test_every_example_of_the_page_is_run() -> None:
    assert len(BLOCKS) == 3
