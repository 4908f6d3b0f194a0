"""`esctl cost`: amounts from log lines, and money from amounts."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from cli.operate.cost import Measured, assumptions, load_prices, measure, monthly, on_event_path, per_million
from cli.operate.logs import Line, RawLine, understand
from cli.operate.logs_tail import start_of


def line(function: str, text: str, **fields: Any) -> Line:
    return understand(RawLine(function, 0, json.dumps({"level": "INFO", "message": text, **fields})))


def report(function: str, milliseconds: int, *, memory_mb: int = 512) -> Line:
    text = f"REPORT RequestId: r\tDuration: {milliseconds}.1 ms\tBilled Duration: {milliseconds} ms\t"
    return understand(RawLine(function, 0, f"{text}Memory Size: {memory_mb} MB\tMax Memory Used: 90 MB"))


def used(**units: float) -> dict[str, Any]:
    return {"requests": {"dynamodb.TransactWriteItems": 1, "dynamodb.GetItem": 2}, **units}


LINES = [
    line("AddEvent", "appended", streamId="s", eventId=0, lastEventId=1),
    line("AddEvent", "POST /addEvents 201", used=used(readUnits=0.5, writeUnits=4.0)),
    report("AddEvent", 10),
    line("AddEvent", "replayed", streamId="s", eventId=0, lastEventId=1),
    line("Publisher", "published", eventIds=[0, 1]),
    report("Publisher", 20),
    line("ProjectorItems", "projected", eventIds=[0, 1]),
    line("ProjectorItems", "used", used=used(readUnits=0.5, writeUnits=3.0)),
    report("ProjectorItems", 500),
    report("ProjectorItems", 12),
    report("ProjectorItems", 14),
]


def costs(measured: Measured, *, count_reads: bool = False) -> dict[str, Decimal]:
    return {
        f"{part.service} {part.what}": part.cost
        for part in per_million(measured, load_prices(), count_reads=count_reads)
    }


def test_times_before_1970_are_not_requested() -> None:
    assert start_of(1e11, None).timestamp() == 0
    assert start_of(None, {"timeStamp": "1950-01-01T00:00:00Z"}).timestamp() == 0


def test_amounts_are_added_up_from_log_lines() -> None:
    found = measure(LINES)

    assert (found.events, found.calls, found.published, found.delivered) == (2, 1, 2, 2)
    projector = found.functions["ProjectorItems"]
    assert (projector.invocations, projector.typical_ms, projector.memory_mb) == (3, 14, 512)
    assert (projector.write_units, projector.read_units, projector.reads_by_count) == (3.0, 0.5, 2.0)
    assert projector.log_bytes > 0


def test_a_replayed_answer_appended_nothing() -> None:
    assert measure([line("AddEvent", "replayed", eventId=0, lastEventId=9)]).events == 0


def test_amounts_are_priced() -> None:
    found = costs(measure(LINES))

    assert found["API Gateway calls"] == Decimal("1.75")  # one call for two events
    assert found["DynamoDB AddEvent: writes"] == Decimal("1.25")  # two units an event
    assert found["SNS messages published"] == Decimal("0.30")
    # 3 invocations of 14 ms and 0.5 GB for two events
    assert round(found["Lambda ProjectorItems: 14 ms of 512 MB"], 4) == round(
        Decimal("10500") * Decimal("0.0000133334"), 4
    )
    # an event: one message in, and for three invocations of two events a receive and a delete each
    assert found["SQS sent, received, deleted"] == Decimal("2.00")


def test_reads_are_counted_if_the_units_are_wrong() -> None:
    measured = measure(LINES)

    reads = "DynamoDB ProjectorItems: reads"
    assert costs(measured)[reads] * 4 == costs(measured, count_reads=True)[reads]


def test_only_functions_on_an_events_path_are_counted() -> None:
    names = ["Api", "ProjectorItems", "Browse", "Publisher", "AddEvent", "ReplayWorker"]

    assert on_event_path(names) == ["AddEvent", "Publisher", "ProjectorItems"]


def test_a_month_without_events_has_a_cost() -> None:
    parts = monthly(load_prices(), event_bytes=400, alarms=24, queues=2, projections=1)

    assert {part.what: part.cost for part in parts}["alarms"] == Decimal("2.40")
    assert next(part for part in parts if "stored" in part.what).cost == Decimal("0.10")


def test_prices_have_a_date_and_sources() -> None:
    table = load_prices()

    assert len(table.as_of) == len("2026-11-23")
    assert all(price.source.startswith("https://aws.amazon.com/") for price in table.by_name.values())
    assert all(price.price > 0 and price.per > 0 for price in table.by_name.values())


def test_assumptions_are_stated() -> None:
    said = " ".join(assumptions(measure(LINES), load_prices(), local=True))

    assert load_prices().as_of in said
    assert "2 events in 1 calls" in said
    assert "this machine" in said
