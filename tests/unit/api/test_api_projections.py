"""The status of projections: what needs attention first, at the same cost for any number of streams."""

from __future__ import annotations

import json
from typing import Any

import pytest

from handlers.api.response import MAX_LAMBDA_RESPONSE_BYTES
from handlers.core.events import NewEvent, StreamId
from handlers.projection import Projection, transitions
from handlers.projection.definition import Prefix, stream_id
from handlers.projection.port import Change, Commit
from handlers.projection.state import Building, Control, ControlItem, ReconcilerItem, StreamState
from tests.support.ports import Interrupted
from tests.unit.api.driver import Api

AT = "2026-11-23T10:15:30.123Z"
ORDERS = Projection("orders", key=stream_id, streams=Prefix("order-"), indexes={"status": "placedAt", "customer": None})
NAMED = Projection("named", key=("a", "b"), streams=["order-1", "x"])
EVERYTHING = Projection("everything", key="k")


@pytest.fixture
def api() -> Api:
    return Api(projections={each.name: each for each in (EVERYTHING, NAMED, ORDERS)})


def given_streams(api: Api, number: int, name: str = "orders") -> None:
    for each in range(number):
        stream = StreamId(f"order-{each}")
        api.store.append([NewEvent(stream, "x", "{}")] * 2)
        api.commit(transitions.advance(StreamState(stream, 0), 1), name=name)


def halt(api: Api, stream: str, name: str = "orders") -> None:
    api.commit(transitions.halt(api.state(stream, name), 2, "ValueError: no", AT), name=name)


def described(api: Api, name: str = "orders", **query: str) -> dict[str, Any]:
    (projection,) = api.call("GET /projections", query={"name": name, **query}).json["projections"]
    return dict(projection)


def streams(projection: dict[str, Any]) -> list[str]:
    return [each["streamId"] for each in projection["streams"]]


def test_a_projection_is_described(api: Api) -> None:
    orders = described(api)
    assert {name: orders[name] for name in ("listPath", "rowsPath", "follows", "keyAttributes", "indexes")} == {
        "listPath": "/listOrders",
        "rowsPath": "/projections/orders/rows",
        "follows": {"prefix": "order-"},
        "keyAttributes": ["streamId"],
        "indexes": [{"attribute": "status", "sort": "placedAt"}, {"attribute": "customer", "sort": None}],
    }
    assert (orders["generation"], orders["halted"]) == (0, {"count": 0, "more": False})
    named = described(api, "named")
    assert (named["follows"], named["keyAttributes"]) == (["order-1", "x"], ["a", "b"])
    assert described(api, "everything")["follows"] is None


def test_halted_streams_come_first_and_then_those_that_lagged_most(api: Api) -> None:
    given_streams(api, 8)
    halt(api, "order-6")
    last = {"startedAt": AT, "finishedAt": AT, "streams": 8, "lagging": 1, "lag": 7}
    last["worst"] = [{"streamId": "order-4", "lag": 7}]
    record: Change[Any] = Change(ReconcilerItem(), {}, {"runs": 3, "last": last}, (), None)
    api.commit(record, name="orders")

    orders = described(api, limit="3")

    assert streams(orders)[:2] == ["order-6", "order-4"]
    assert len(set(streams(orders))) == 3
    assert orders["more"] is True
    assert orders["halted"] == {"count": 1, "more": False}
    assert orders["compared"] == last
    assert [each["state"] for each in orders["streams"]] == ["halted", "live", "live"]


def test_all_streams_are_shown_if_there_are_few(api: Api) -> None:
    given_streams(api, 20)
    orders = described(api)
    assert (len(streams(orders)), orders["more"]) == (20, False)


def test_streams_that_were_named_are_shown_before_anything_was_projected(api: Api) -> None:
    api.store.append([NewEvent(StreamId("x"), "x", "{}")])
    named = described(api, "named")
    assert [(each["streamId"], each["state"], each["lag"]) for each in named["streams"]] == [
        ("order-1", "live", 0),
        ("x", "behind", 1),
    ]


def test_one_stream_is_shown_whatever_the_number_of_others(api: Api) -> None:
    given_streams(api, 30)
    halt(api, "order-3")
    orders = described(api, streamId="order-7", limit="1")
    assert (streams(orders), orders["more"]) == (["order-7"], False)
    assert streams(described(api, streamId="invoice-1")) == []
    every = api.call("GET /projections", query={"streamId": "order-1"}).json["projections"]
    assert [streams(each) for each in every] == [["order-1"], ["order-1"], ["order-1"]]


def test_more_halted_streams_than_are_counted(api: Api) -> None:
    given_streams(api, 101)
    for number in range(101):
        halt(api, f"order-{number}")
    orders = described(api, limit="5")
    assert orders["halted"] == {"count": 100, "more": True}
    assert len(streams(orders)) == 5


@pytest.mark.parametrize("number", [100, 1000])
def test_the_cost_does_not_depend_on_the_number_of_streams(api: Api, number: int) -> None:
    given_streams(api, number)
    model, store = Interrupted(api.read_models["orders"]), Interrupted(api.store)
    api.read_models["orders"], api.store = model, store  # type: ignore[assignment]
    api.start()

    answer = api.call("GET /projections", query={"limit": "60"})

    # 60 streams, divided among three projections; the two others have met none, or named theirs.
    assert store.calls["head"] <= 20 + 2
    assert model.calls.total() <= 10
    assert len(streams(answer.json["projections"][2])) == 20


def test_a_limit_beyond_the_largest_is_refused(api: Api) -> None:
    assert api.call("GET /projections", query={"limit": "1000"}).places == {"query:limit"}
    assert "everything, named, orders" in api.call("GET /projections", query={"name": "none"}).text


def test_streams_with_many_skipped_events_fit_a_response(api: Api) -> None:
    given_streams(api, 40)
    for number in range(40):
        state = api.state(f"order-{number}", "orders")
        skipped = {str(event): {"error": "é" * 400, "at": AT} for event in range(500)}
        api.commit(transitions.advance(state, 2, skipped), name="orders")

    answer = api.call("GET /projections", query={"name": "orders", "limit": "100"})

    assert len(json.dumps(answer.text)) < MAX_LAMBDA_RESPONSE_BYTES
    (orders,) = answer.json["projections"]
    assert 1 <= len(orders["streams"]) < 40
    assert orders["more"] is True


def test_a_rollback_that_is_running_is_shown(api: Api) -> None:
    control = Control(exists=True, active=3, building=Building(2, "r", "rollback"), next_generation=4)
    model = api.read_models["orders"]
    model.commit(Commit((Change(ControlItem(), {}, control.to_document(), (), control),)))
    orders = described(api)
    assert (orders["generation"], orders["building"]) == (3, {"generation": 2, "replayId": "r", "kind": "rollback"})
