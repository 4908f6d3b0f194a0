"""The faults of the original proof of concept, one by one, on the deployed stack: none of them is here.

What needs a fault injected (a crash between two writes, a lost message) is shown by the simulation and the contract suites.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest

from handlers.core.lossless_json import dumps
from tests.e2e.support import Stack, wait_until


def created(stack: Stack, item: str, amount: object = 1) -> dict[str, Any]:
    return {"streamId": stack.projected_stream, "type": "ITEM_CREATED", "data": {"itemId": item, "amount": amount}}


@pytest.mark.parametrize(
    ("data", "places"),
    [
        ({"amount": 1}, {"/data/itemId"}),
        ({"itemId": "", "amount": 1}, {"/data/itemId"}),
        ({"itemId": 7, "amount": "much"}, {"/data/itemId", "/data/amount"}),
        ({"itemId": "x" * 1025, "amount": 1}, {"/data/itemId"}),
        (None, {"/data"}),
        ([], {"/data"}),
        ({"itemId": "a", "amount": Decimal("1e300")}, {"/data/amount"}),
    ],
    ids=["no itemId", "empty itemId", "two faults", "long itemId", "null", "array", "1e300"],
)
def test_an_event_that_would_block_the_projection_is_refused(stack: Stack, data: object, places: set[str]) -> None:
    before = len(stack.events(stack.projected_stream))

    answer = stack.api("POST", "/addEvent", {"streamId": stack.projected_stream, "type": "ITEM_CREATED", "data": data})

    assert answer.status == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert {error["pointer"] for error in answer.body["errors"]} == places
    assert len(stack.events(stack.projected_stream)) == before


@pytest.mark.parametrize(
    "body", ["null", "", "[]", "{", '"text"', "{}", '{"streamId":"","type":"T","data":{}}', '{"a":NaN}']
)
def test_a_body_that_is_no_event_is_a_problem_of_the_client(stack: Stack, body: str) -> None:
    answer = stack.api("POST", "/addEvent", body)

    assert answer.status == 400
    assert answer.body["errors"]
    assert all({"detail"} < set(error) for error in answer.body["errors"])


def test_a_body_over_1_mb_is_refused_with_its_size_and_the_limit(stack: Stack) -> None:
    answer = stack.api("POST", "/addEvent", {"streamId": "s", "type": "T", "data": {"text": "x" * 1_100_000}})

    assert answer.status == 413
    assert answer.body["size"] > answer.body["limit"]


def test_a_large_event_of_one_stream_delays_no_other(stack: Stack) -> None:
    # given a 300 KB event on another stream, and one of 450 KB behind it
    other, item = stack.fresh_stream(), stack.fresh_item()
    stack.append(other, "BIG", {"text": "x" * 300_000})
    assert (
        stack.api("POST", "/addEvent", {"streamId": other, "type": "BIG", "data": {"t": "x" * 450_000}}).status == 413
    )

    # when an item is created, then it is projected; and the large event is stored once
    assert stack.api("POST", "/addEvent", created(stack, item)).status == 201
    stack.wait_for_item(item, 1)
    assert len(stack.events(other)) == 1


def test_a_large_event_of_the_projected_stream_is_projected(stack: Stack) -> None:
    item = stack.fresh_item()
    event = created(stack, item)
    event["data"]["note"] = "ü" * 100_000

    assert stack.api("POST", "/addEvent", event).status == 201

    stack.wait_for_item(item, 1)


def test_an_oversized_event_in_a_batch_stores_none_of_it(stack: Stack) -> None:
    stream = stack.fresh_stream()
    good = {"streamId": stream, "type": "T", "data": {}}

    answer = stack.api("POST", "/addEvents", {"events": [good, good, {**good, "data": {"text": "x" * 450_000}}]})

    assert answer.status == 413
    assert stack.events(stream) == []


def test_the_same_request_sent_twice_is_stored_once(stack: Stack) -> None:
    stream = stack.fresh_stream()
    event, key = {"streamId": stream, "type": "T", "data": {"n": 1}}, {"Idempotency-Key": stream}

    first, second = (stack.api("POST", "/addEvent", event, key) for _ in range(2))

    assert (first.status, second.status) == (201, 201)
    assert first.body == second.body
    assert second.headers["idempotent-replayed"] == "true"
    assert len(stack.events(stream)) == 1
    assert stack.api("POST", "/addEvent", {**event, "data": {"n": 2}}, key).status == 422


def test_concurrent_writers_store_what_they_send_once_each(stack: Stack) -> None:
    stream, start = stack.fresh_stream(), threading.Barrier(5)

    def write(writer: int) -> list[int]:
        start.wait()
        return [stack.append(stream, "T", {"writer": writer, "n": n}) for n in range(4)]

    with ThreadPoolExecutor(5) as pool:
        answered = list(pool.map(write, range(5)))

    stored = stack.events(stream)
    assert [event["eventId"] for event in stored] == list(range(20))
    for writer, ids in enumerate(answered):
        assert [stored[event_id]["data"] for event_id in ids] == [{"writer": writer, "n": n} for n in range(4)]


def test_a_type_is_stored_as_it_was_sent_and_a_field_that_nobody_knows_is_refused(stack: Stack) -> None:
    stream = stack.fresh_stream()
    stack.append(stream, "somethingHappened", {})

    answer = stack.api("POST", "/addEvent", {"streamId": stream, "type": "T", "data": {}, "extra": 1})

    assert [event["type"] for event in stack.events(stream)] == ["somethingHappened"]
    assert answer.status == 400
    assert answer.body["errors"][0]["pointer"] == "/extra"


@pytest.mark.parametrize("number", ["12345678901234567890", "0.1", "-5", "0.30000000000000000000000000000000000001"])
def test_an_amount_comes_back_exactly_as_it_was_sent(stack: Stack, number: str) -> None:
    item, amount = stack.fresh_item(), Decimal(number)

    assert stack.api("POST", "/addEvent", dumps(created(stack, item, amount))).status == 201

    stack.wait_for_item(item, amount)
    assert f'"amount": {number}' in stack.esctl("list", "-o", "json").stdout


def test_a_change_of_an_unknown_item_creates_nothing(stack: Stack) -> None:
    unknown, known = stack.fresh_item(), stack.fresh_item()
    change = {**created(stack, unknown), "type": "ITEM_AMOUNT_CHANGED"}

    assert stack.api("POST", "/addEvent", change).status == 201

    assert stack.api("POST", "/addEvent", created(stack, known)).status == 201
    stack.wait_for_item(known, 1)
    assert unknown not in stack.items()


def test_types_that_no_projection_handles_are_stored_and_change_nothing(stack: Stack) -> None:
    item = stack.fresh_item()
    event_id = stack.append(stack.projected_stream, "ITEM_ADMIRED", {"itemId": item})

    assert stack.api("POST", "/addEvent", created(stack, stack.fresh_item())).status == 201
    wait_until(lambda: stack.api("GET", "/listTestItems").body["checkpoint"] > event_id, "the checkpoint behind it")
    assert stack.events(stack.projected_stream)[event_id]["type"] == "ITEM_ADMIRED"
    assert item not in stack.items()


def test_items_of_another_stream_are_not_listed(stack: Stack) -> None:
    item = stack.fresh_item()
    stack.append(stack.fresh_stream(), "ITEM_CREATED", {"itemId": item, "amount": 1})

    behind = stack.fresh_item()
    assert stack.api("POST", "/addEvent", created(stack, behind)).status == 201
    stack.wait_for_item(behind, 1)
    assert item not in stack.items()


def test_a_list_is_complete_page_after_page(stack: Stack) -> None:
    items = [stack.fresh_item() for _ in range(5)]
    stack.append_all([created(stack, item) for item in items])
    for item in items:
        stack.wait_for_item(item, 1)

    listed: list[str] = []
    token = ""
    while True:
        page = stack.api("GET", f"/listTestItems?limit=2{token}").body
        listed += [row["itemId"] for row in page["items"]]
        if page["nextToken"] is None:
            break
        token = f"&nextToken={page['nextToken']}"

    assert len(listed) == len(set(listed))
    assert set(items) <= set(listed)
