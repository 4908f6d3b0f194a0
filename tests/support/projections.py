"""Projections for tests, each with what events lead to, worked out without the code under test."""

from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from handlers.core.events import Event, NewEvent, StreamId
from handlers.projection import Projection
from handlers.projection.fold import Prepared, fold

KEY = "itemId"


class FixedClock:
    """Always the same time."""

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)


# -- one key, one stream per row: shows every event that is lost, applied twice or out of order -------------------------


def ledger(*, fixed: bool = False) -> Projection:
    """``n`` becomes ``3n + v`` with each event; BROKEN raises until the code is fixed; OTHER is not handled."""
    projection = Projection("ledger", key=KEY)

    @projection.on("ADDED")
    def added(row: Any, event: Any) -> Any:
        return {"n": (row["n"] if row else 0) * 3 + event["v"]}

    @projection.on("REMOVED")
    def removed(row: Any, event: Any) -> None:
        return None

    @projection.on("FILLED")
    def filled(row: Any, event: Any) -> Any:
        return {"text": "x" * event["bytes"]}

    @projection.on("KEPT")
    def kept(row: Any, event: Any) -> Any:
        return row

    @projection.on("BROKEN")
    def broken(row: Any, event: Any) -> Any:
        if not fixed:
            raise RuntimeError("not this one")
        return {"n": -1}

    return projection


def added(key: str, value: int = 1, *, stream_id: str, type: str = "ADDED") -> NewEvent:
    return NewEvent(StreamId(stream_id), type, f'{{"itemId":"{key}","v":{value}}}')


def expected_rows(events: Sequence[Event], upto: int | None = None) -> dict[str, dict[str, int]]:
    """What the events of one stream lead to in `ledger`."""
    rows: dict[str, dict[str, int]] = {}
    for event in events[: None if upto is None else upto + 1]:
        data = event.payload()
        key = data[KEY]
        if event.type == "ADDED":
            rows[key] = {"n": rows.get(key, {"n": 0})["n"] * 3 + data["v"]}
        elif event.type == "REMOVED":
            rows.pop(key, None)
    return rows


# -- rows that several streams write -------------------------------------------------------------------------------------


def totals() -> Projection:
    """Orders and their value per day, over all streams, found by the number of orders."""
    projection = Projection("totals", key={"day": lambda event: event["at"][:10]}, indexes={"orders": "value"})

    @projection.on("PLACED")
    def placed(row: Any, event: Any) -> Any:
        before = row or {"orders": 0, "value": 0}
        return {"orders": before["orders"] + 1, "value": before["value"] + event["value"]}

    return projection


def placed(day: str, value: int = 1, *, stream_id: str) -> NewEvent:
    return NewEvent(StreamId(stream_id), "PLACED", f'{{"at":"{day}T12:00:00Z","value":{value}}}')


def expected_totals(events: Iterable[Event]) -> dict[str, dict[str, int]]:
    """What events of any streams, in any order, lead to in `totals`."""
    rows: dict[str, dict[str, int]] = {}
    for event in events:
        data = event.payload()
        row = rows.setdefault(data["at"][:10], {"orders": 0, "value": 0})
        row["orders"] += 1
        row["value"] += data["value"]
    return rows


# -- several rows per event -----------------------------------------------------------------------------------------------


def stock() -> Projection:
    """How many pieces of each article orders take; an order without lines does not concern it."""
    projection = Projection("stock", key={"sku": lambda event: [line["sku"] for line in event["lines"]]})

    @projection.on("ORDERED")
    def ordered(row: Any, event: Any, key: str) -> Any:
        pieces = sum(line["pieces"] for line in event["lines"] if line["sku"] == key)
        return {"taken": (row["taken"] if row else 0) + pieces}

    return projection


def ordered(lines: dict[str, int], *, stream_id: str) -> NewEvent:
    written = ",".join(f'{{"sku":"{sku}","pieces":{pieces}}}' for sku, pieces in lines.items())
    return NewEvent(StreamId(stream_id), "ORDERED", f'{{"lines":[{written}]}}')


def expected_stock(events: Iterable[Event]) -> dict[str, dict[str, int]]:
    """What events of any streams, in any order, lead to in `stock`."""
    rows: dict[str, dict[str, int]] = {}
    for event in events:
        for line in event.payload()["lines"]:
            row = rows.setdefault(line["sku"], {"taken": 0})
            row["taken"] += line["pieces"]
    return rows


# -- folds in memory -----------------------------------------------------------------------------------------------------


def fold_all(
    projection: Projection, events: Iterable[Event], rows: dict[str, Any], *, skipped: Collection[str] = ()
) -> int:
    """Fold events one by one into rows; returns the last eventId (-1 if none), or raises what a handler's failure is."""
    checkpoint = -1
    for event in events:
        prepared = Prepared(projection, event)
        before = {key: rows.get(key) for key in prepared.keys}
        folded = fold(projection, [prepared], before, checkpoint, skipped=skipped)
        if folded.failure is not None:
            raise folded.failure
        rows |= {key: row for key, row in folded.changed.items() if row is not None}
        for key in (key for key, row in folded.changed.items() if row is None):
            rows.pop(key, None)
        checkpoint = event.event_id
    return checkpoint
