"""Reading rows across streams: by key, by prefix, between bounds, in an index, page by page, after one's own writes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from handlers.core.clock import attempts
from handlers.core.dynamodb import Usage
from handlers.core.events import NewEvent, StreamId
from handlers.projection import Projection, transitions
from handlers.projection.definition import Prefix, stream_id
from handlers.projection.port import Commit, read_control
from handlers.projection.reading import POLLING
from handlers.projection.state import ControlItem
from tests.support.ports import Interrupted
from tests.support.read_models import dynamodb_read_model
from tests.unit.api.driver import Answer, Api

ROWS = "GET /projections/{name}/rows"
AT = "2026-11-23T10:15:30.123Z"


def orders(version: int = 1, indexes: dict[str, str | None] | None = None) -> Projection:
    """Orders, each a stream of its own."""
    if indexes is None:
        indexes = {"status": "total", "customer": None}
    projection = Projection("orders", key=stream_id, streams=Prefix("order-"), indexes=indexes)

    @projection.on("PLACED")
    def placed(row: Any, event: Any) -> Any:
        return {**event.data, "status": "placed", "version": version}

    @projection.on("PAID")
    def paid(row: Any, event: Any) -> Any:
        return {**row, "status": "paid"}

    return projection


def lines() -> Projection:
    """The lines of orders, by customer and product."""
    projection = Projection("lines", key=("customer", "product"), streams=Prefix("order-"))

    @projection.on("PLACED")
    def placed(row: Any, event: Any) -> Any:
        return {"count": (row["count"] if row else 0) + 1}

    return projection


@pytest.fixture
def api() -> Api:
    """Four orders: placed, placed, paid, paid."""
    api = Api(projections={each.name: each for each in (lines(), orders())})
    for number, (customer, product, total) in enumerate(
        [("ann", "tea", 30), ("ann b", "tea", 4), ("bob", "pot", 200), ("ann", "cup", 5)]
    ):
        data = {"customer": customer, "product": product, "total": total}
        paid: list[Any] = [("PAID", {})] if number > 1 else []
        api.given(("PLACED", data), *paid, stream_id=f"order-{number}")
    return api


def read(api: Api, name: str = "orders", **query: str) -> Answer:
    # "from" is a keyword of Python.
    return api.call(ROWS, path={"name": name}, query={key.rstrip("_"): value for key, value in query.items()})


def ids(answer: Answer) -> list[str]:
    assert answer.status == 200, answer.text
    return [row["streamId"][-1] for row in answer.json["rows"]]


def keys(answer: Answer) -> list[tuple[str, str]]:
    assert answer.status == 200, answer.text
    return [(row["customer"], row["product"]) for row in answer.json["rows"]]


# -- what is read --------------------------------------------------------------------------------------------------------


def test_all_rows_are_read_in_key_order_in_either_direction(api: Api) -> None:
    assert ids(read(api)) == ["0", "1", "2", "3"]
    assert ids(read(api, order="desc")) == ["3", "2", "1", "0"]
    assert list(read(api, limit="1").json["rows"][0].items()) == [
        ("streamId", "order-0"),
        ("customer", "ann"),
        ("product", "tea"),
        ("total", 30),
        ("status", "placed"),
        ("version", 1),
    ]


def test_one_row_is_read_by_its_key(api: Api) -> None:
    assert ids(read(api, key="order-2")) == ["2"]
    assert read(api, key="order-2").json["nextToken"] is None
    assert read(api, key="order-9").status == 404


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"prefix": "order-"}, ["0", "1", "2", "3"]),
        ({"prefix": "order-2"}, ["2"]),
        ({"prefix": "x"}, []),
        ({"from_": "order-2"}, ["2", "3"]),
        ({"to": "order-1"}, ["0", "1"]),
        ({"from_": "order-1", "to": "order-2"}, ["1", "2"]),
        ({"from_": "order-1", "to": "order-2", "order": "desc"}, ["2", "1"]),
        ({"index": "status", "value": "paid"}, ["3", "2"]),
        ({"index": "status", "value": "paid", "order": "desc"}, ["2", "3"]),
        ({"index": "status", "value": "paid", "from_": "5", "to": "5"}, ["3"]),
        ({"index": "status", "value": "paid", "from_": "6"}, ["2"]),
        ({"index": "status", "value": "paid", "to": "1e2"}, ["3"]),
        ({"index": "status", "value": "paid", "from_": '"6"'}, []),
        ({"index": "status", "value": "lost"}, []),
        ({"index": "customer", "value": "ann"}, ["0", "3"]),
        ({"index": "customer", "value": "ann", "from_": "order-1"}, ["3"]),
    ],
)
def test_rows_are_read_by_prefix_by_range_and_in_an_index(api: Api, query: dict[str, str], expected: list[str]) -> None:
    assert ids(read(api, **query)) == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, [("ann", "cup"), ("ann", "tea"), ("ann b", "tea"), ("bob", "pot")]),
        ({"key": '["ann","tea"]'}, [("ann", "tea")]),
        ({"prefix": "ann"}, [("ann", "cup"), ("ann", "tea"), ("ann b", "tea")]),
        ({"prefix": '["ann",""]'}, [("ann", "cup"), ("ann", "tea")]),
        ({"prefix": '["ann","t"]'}, [("ann", "tea")]),
        ({"from_": '["ann","d"]', "to": "ann b"}, [("ann", "tea"), ("ann b", "tea")]),
        ({"to": "ann"}, [("ann", "cup"), ("ann", "tea")]),
        ({"from_": "b"}, [("bob", "pot")]),
    ],
)
def test_a_compound_key_is_given_by_its_leading_parts(
    api: Api, query: dict[str, str], expected: list[tuple[str, str]]
) -> None:
    assert keys(read(api, "lines", **query)) == expected


def test_a_list_across_streams_has_no_checkpoint(api: Api) -> None:
    answer = api.call("GET /listOrders", query={"limit": "3"})
    assert list(answer.json) == ["items", "nextToken"]
    rest = api.call("GET /listOrders", query={"nextToken": answer.json["nextToken"]})
    assert [row["streamId"] for row in rest.json["items"]] == ["order-3"]
    assert api.call("GET /listOrders", query={"streamId": "order-1"}).places == {"query:streamId"}


# -- pages ---------------------------------------------------------------------------------------------------------------


def pages(api: Api, name: str = "orders", **query: str) -> Iterator[Answer]:
    answer = read(api, name, **query)
    yield answer
    while answer.json["nextToken"]:
        answer = read(api, name, **query, nextToken=answer.json["nextToken"])
        yield answer


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"order": "desc"},
        {"prefix": "order"},
        {"from_": "order-1", "to": "order-3"},
        {"index": "status", "value": "paid"},
        {"index": "status", "value": "paid", "order": "desc"},
        {"index": "customer", "value": "ann"},
    ],
)
def test_pages_meet_without_gap_or_overlap(api: Api, query: dict[str, str]) -> None:
    expected = ids(read(api, **query))
    assert [each for page in pages(api, **query, limit="1") for each in ids(page)] == expected
    assert len(expected) > 1


def test_a_token_of_another_query_is_refused(api: Api) -> None:
    queries: list[tuple[str, dict[str, str]]] = [
        ("orders", {}),
        ("orders", {"order": "desc"}),
        ("orders", {"prefix": "order-"}),
        ("orders", {"from_": "order-0"}),
        ("orders", {"to": "order-3"}),
        ("orders", {"index": "status", "value": "paid"}),
        ("orders", {"index": "status", "value": "placed"}),
        ("orders", {"index": "customer", "value": "ann"}),
        ("lines", {}),
    ]
    for name, query in queries:
        token = read(api, name, **query, limit="1").json["nextToken"]
        for other, another in queries:
            answer = read(api, other, **another, nextToken=token)
            same = (name, query) == (other, another)
            assert answer.status == (200 if same else 400), (name, query, other, another)
            assert same or answer.places == {"query:nextToken"}


def test_a_page_is_continued_in_its_generation_until_that_is_gone(api: Api) -> None:
    token = read(api, limit="1").json["nextToken"]
    api.replay("orders")
    assert ids(read(api, nextToken=token)) == ["1", "2", "3"]
    api.replay("orders")
    assert read(api, nextToken=token).status == 410
    api.sweep()
    assert read(api, nextToken=token).status == 410
    assert ids(read(api)) == ["0", "1", "2", "3"]


# -- generations ---------------------------------------------------------------------------------------------------------


def test_rows_are_those_of_the_active_generation_when_the_answer_is_given(api: Api) -> None:
    # given a function that knows generation 0 from an earlier request
    assert ids(read(api)) == ["0", "1", "2", "3"]

    # when two replays have replaced it since, and it is deleted
    api.replay("orders")
    api.replay("orders")
    api.sweep()

    # then no answer shows the remains of it
    assert ids(read(api)) == ["0", "1", "2", "3"]
    assert ids(read(api, key="order-1")) == ["1"]
    assert ids(read(api, index="status", value="paid")) == ["3", "2"]


@pytest.mark.parametrize(
    "query", [{}, {"index": "status", "value": "paid"}, {"key": "order-2"}], ids=["page", "index", "key"]
)
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_generation_that_is_replaced_and_swept_during_a_read_is_read_again(
    api: Api, query: dict[str, str], moment: str
) -> None:
    expected = ids(read(api, **query))
    inner = api.read_models["orders"]

    def replace() -> None:
        api.read_models["orders"] = inner
        api.replay("orders")
        api.replay("orders")
        api.sweep()

    port = Interrupted(inner)
    getattr(port, moment)("load" if "key" in query else "rows", replace)
    api.read_models["orders"] = port  # type: ignore[assignment]
    api.start()

    assert ids(read(api, **query)) == expected
    assert inner.read(ControlItem())["active"] == 2


def test_rows_are_read_with_the_code_of_their_generation(api: Api) -> None:
    # given rows built by the deployed code
    old = api.projections["orders"]
    api.replay("orders")

    # when other code is deployed, with other indexes
    new = orders(version=2, indexes={"customer": None, "product": None})
    api.projections = {**api.projections, "orders": new}
    api.older = {"orders": {old.fingerprint(): old}}
    api.start()

    # then queries mean what they meant, until the replay is through
    assert ids(read(api, index="status", value="paid")) == ["3", "2"]
    refused = read(api, index="product", value="tea")
    assert (refused.places, refused.json["errors"][0]["detail"]) == ({"query:index"}, "must be one of status, customer")
    api.replay("orders")
    assert ids(read(api, index="product", value="tea")) == ["0", "1"]
    assert read(api, index="status", value="paid").places == {"query:index"}
    assert {row["version"] for row in read(api).json["rows"]} == {2}


# -- calls ---------------------------------------------------------------------------------------------------------------


def counted(api: Api) -> Interrupted:
    """Counts the calls of a function that has just read something."""
    port = Interrupted(api.read_models["orders"])
    api.read_models["orders"] = port  # type: ignore[assignment]
    api.start()
    read(api)
    port.calls.clear()
    return port


@pytest.mark.parametrize(
    ("query", "calls"),
    [
        ({}, {"rows": 1, "read": 1}),
        ({"prefix": "order"}, {"rows": 1, "read": 1}),
        # One call of the port in an index is a query and a batch of rows.
        ({"index": "status", "value": "paid"}, {"rows": 1, "read": 1}),
        ({"key": "order-1"}, {"load": 1, "read": 1}),
        ({"key": "order-9"}, {"load": 1, "read": 1}),
        ({"index": "colour", "value": "red"}, {"read": 1}),
        ({"from_": "b", "to": "a"}, {"read": 1}),
        ({"key": "a", "prefix": "b"}, {}),
    ],
)
def test_a_read_costs_few_calls(api: Api, query: dict[str, str], calls: dict[str, int]) -> None:
    port = counted(api)
    read(api, **query)
    assert port.calls == calls


def test_later_pages_and_the_first_read_of_a_function_cost_a_call_more_at_most(api: Api) -> None:
    port = counted(api)
    token = read(api, limit="1").json["nextToken"]
    port.calls.clear()
    read(api, nextToken=token)
    assert port.calls == {"rows": 1, "read": 1}
    api.start()
    port.calls.clear()
    read(api)
    assert port.calls == {"rows": 1, "read": 2}


# -- reading one's own writes --------------------------------------------------------------------------------------------


def test_an_event_of_ones_own_is_waited_for(api: Api) -> None:
    api.store.append([NewEvent(StreamId("order-1"), "PAID", "{}")])

    def polls() -> Iterator[int]:
        yield 0
        yield 1
        api.project("order-1")
        yield 2

    api.polls = polls()
    api.start()
    answer = read(api, key="order-1", after="order-1:1")
    assert answer.json["rows"][0]["status"] == "paid"


def test_an_event_that_is_not_applied_in_time_is_a_conflict(api: Api) -> None:
    answer = read(api, after="order-1:1")
    assert (answer.status, answer.json["type"]) == (409, "urn:esctl:problem:not-applied")
    assert (answer.json["streamId"], answer.json["checkpoint"]) == ("order-1", 0)


def test_an_event_that_was_applied_long_ago_costs_one_look(api: Api) -> None:
    port = counted(api)
    assert ids(read(api, limit="1", after="order-2:1")) == ["0"]
    assert port.calls == {"load": 1, "rows": 1, "read": 3}


def test_a_halted_stream_is_not_waited_for(api: Api) -> None:
    state = api.state("order-1", "orders")
    api.commit(transitions.halt(state, 1, "KeyError: 'total'", AT), name="orders")

    def polls() -> Iterator[int]:
        yield 0
        raise AssertionError("it waits")

    api.polls = polls()
    answer = read(api, after="order-1:2")
    assert answer.status == 409
    assert answer.json["halted"] == {"eventId": 1, "error": "KeyError: 'total'", "at": AT}


def test_an_event_applied_in_the_generation_before_is_applied(api: Api) -> None:
    assert ids(read(api, limit="1")) == ["0"]
    api.replay("orders")
    assert ids(read(api, limit="1", after="order-2:1")) == ["0"]


def test_waiting_ends_after_ten_seconds(api: Api) -> None:
    now, waits = 0.0, []

    def sleep(seconds: float) -> None:
        nonlocal now
        waits.append(seconds)
        now += seconds + 0.01  # the poll itself

    api.polls = attempts(POLLING, monotonic=lambda: now, sleep=sleep)
    assert read(api, after="order-1:1").status == 409
    assert 9 < now <= 10.1
    assert max(waits) <= 0.4
    assert len(set(waits)) > 10  # jitter


# -- bad input -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "places"),
    [
        ({"limit": "0"}, {"query:limit"}),
        ({"limit": "1001"}, {"query:limit"}),
        ({"limit": "101", "index": "status", "value": "paid"}, {"query:limit"}),
        ({"order": "up"}, {"query:order"}),
        ({"key": "a", "prefix": "b"}, {"query:prefix"}),
        ({"key": "a", "from_": "b", "to": "c"}, {"query:from", "query:to"}),
        ({"key": "a", "index": "status", "value": "b"}, {"query:index", "query:value"}),
        ({"prefix": "a", "from_": "b"}, {"query:from"}),
        ({"prefix": "a", "index": "status", "value": "b"}, {"query:index", "query:value"}),
        ({"index": "status"}, {"query:value"}),
        ({"value": "paid"}, {"query:index"}),
        ({"index": "colour", "value": "red"}, {"query:index"}),
        ({"from_": "b", "to": "a"}, {"query:to"}),
        ({"index": "status", "value": "paid", "from_": "5", "to": "4"}, {"query:to"}),
        ({"index": "status", "value": "paid", "from_": "1e200"}, {"query:from"}),
        ({"index": "status", "value": "x" * 1501}, {"query:value"}),
        ({"index": "status", "value": "paid", "to": "x" * 1024}, {"query:to"}),
        ({"key": "ä" * 513}, {"query:key"}),
        ({"prefix": "ä" * 513, "limit": "x"}, {"query:limit"}),
        ({"prefix": "ä" * 513}, {"query:prefix"}),
        ({"key": ""}, {"query:key"}),
        ({"prefix": ""}, {"query:prefix"}),
        ({"colour": "red"}, {"query:colour"}),
        ({"nextToken": "bm9uc2Vuc2U"}, {"query:nextToken"}),
        ({"after": "order-1"}, {"query:after"}),
        ({"after": "order-1:"}, {"query:after"}),
        ({"after": "order-1:-1"}, {"query:after"}),
        ({"after": ":1"}, {"query:after"}),
        ({"after": "order-1:٣"}, {"query:after"}),
        ({"after": "x" * 257 + ":1"}, {"query:after"}),
        ({"after": "invoice-1:1"}, {"query:after"}),
        ({"after": "order-1:1", "index": "colour", "value": "red"}, {"query:index"}),
    ],
)
def test_a_bad_query_is_refused_with_every_fault(api: Api, query: dict[str, str], places: set[str]) -> None:
    answer = read(api, **query)
    assert (answer.status, answer.places) == (400, places)


@pytest.mark.parametrize(
    ("query", "place"),
    [
        ({"key": "ann"}, "query:key"),
        ({"key": '["ann"]'}, "query:key"),
        ({"key": '["ann",""]'}, "query:key"),
        ({"key": '["ann","tea","x"]'}, "query:key"),
        ({"key": '["ann",5]'}, "query:key"),
        ({"key": '["ann","tea"'}, "query:key"),
        ({"prefix": "[]"}, "query:prefix"),
        ({"prefix": "[ann]"}, "query:prefix"),
        ({"from_": '["a","b","c"]'}, "query:from"),
        ({"to": '["\\ud800"]'}, "query:to"),
        ({"to": json.dumps(["\x00" * 512, "x"])}, "query:to"),
        ({"index": "status", "value": "paid"}, "query:index"),
    ],
)
def test_a_bad_compound_key_is_refused(api: Api, query: dict[str, str], place: str) -> None:
    answer = read(api, "lines", **query)
    assert (answer.status, answer.places) == (400, {place})


def test_what_exists_is_listed_instead_of_what_does_not(api: Api) -> None:
    unknown = read(api, "invoices")
    assert unknown.status == 404
    assert "lines, orders" in unknown.json["detail"]
    assert "must be one of status, customer" in read(api, index="colour", value="red").text


def test_a_generation_that_changes_all_the_time_is_said_to_be_contended(api: Api) -> None:
    inner = api.read_models["orders"]

    def switch() -> None:
        control = read_control(inner)
        for change in (transitions.begin_replay, lambda control, *_: transitions.switch(control, AT)):
            made = change(control, "r", "f")
            inner.commit(Commit((made,), fences=made.after.version))
            control = made.after

    api.read_models["orders"] = Interrupted(inner).before("rows", *[switch] * 9)  # type: ignore[assignment]
    api.start()
    assert read(api).status == 503


class TestOnDynamoDb:
    """What a read costs in calls of AWS."""

    @pytest.mark.parametrize(
        ("query", "calls"),
        [
            ({}, 2),
            ({"key": "order-1"}, 2),
            ({"key": "order-9"}, 2),
            ({"prefix": "order", "order": "desc"}, 2),
            ({"index": "status", "value": "paid"}, 3),
            ({"index": "customer", "value": "ann", "order": "desc"}, 3),
        ],
    )
    def test_a_page_of_rows_costs_two_calls_and_one_of_an_index_three(
        self, api: Api, shared_moto_client: Callable[[str], Any], query: dict[str, str], calls: int
    ) -> None:
        # given the same rows in memory and on DynamoDB
        expected = read(api, **query).text
        usage = Usage()
        client = usage.watch(shared_moto_client("dynamodb"))
        api.read_models["orders"] = dynamodb_read_model(client)  # type: ignore[assignment]
        for number in range(4):
            api.project(f"order-{number}")
        api.start()
        read(api)
        usage.take()

        # when they are read
        answer = read(api, **query)

        # then
        assert sum(usage.take()["requests"].values()) == calls
        if answer.status == 200:
            assert answer.text == expected
