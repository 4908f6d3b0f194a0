"""A projection for tests: its fold shows every event that is lost, doubled or out of order."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from handlers.core.events import Event, NewEvent, StreamId
from handlers.projection import Projection

KEY = "itemId"


class FixedClock:
    """Always the same time."""

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)


def ledger(*, fixed: bool = False) -> Projection:
    """``n`` becomes ``3n + v`` with each event; BROKEN raises until the code is fixed; OTHER is not handled."""
    projection = Projection("ledger", key=KEY)

    @projection.on("ADDED")
    def added(row: Any, data: Any) -> Any:
        return {"n": (row["n"] if row else 0) * 3 + data["v"]}

    @projection.on("REMOVED")
    def removed(row: Any, data: Any) -> None:
        return None

    @projection.on("FILLED")
    def filled(row: Any, data: Any) -> Any:
        return {"text": "x" * data["bytes"]}

    @projection.on("KEPT")
    def kept(row: Any, data: Any) -> Any:
        return row

    @projection.on("BROKEN")
    def broken(row: Any, data: Any) -> Any:
        if not fixed:
            raise RuntimeError("not this one")
        return {"n": -1}

    return projection


def added(key: str, value: int = 1, *, stream_id: str, type: str = "ADDED") -> NewEvent:
    return NewEvent(StreamId(stream_id), type, f'{{"itemId":"{key}","v":{value}}}')


def expected_rows(events: Sequence[Event], upto: int | None = None) -> dict[str, dict[str, int]]:
    """What the events lead to, worked out without the code under test."""
    rows: dict[str, dict[str, int]] = {}
    for event in events[: None if upto is None else upto + 1]:
        data = event.payload()
        key = data[KEY]
        if event.type == "ADDED":
            rows[key] = {"n": rows.get(key, {"n": 0})["n"] * 3 + data["v"]}
        elif event.type == "REMOVED":
            rows.pop(key, None)
    return rows
