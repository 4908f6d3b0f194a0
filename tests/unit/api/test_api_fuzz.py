"""Whatever is sent: never a 5xx, never an answer outside the contract, and what is stored is what was sent."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from handlers.core import lossless_json
from handlers.core.events import StreamId
from handlers.domain.items import TEST_STREAM
from handlers.projection import Projection
from tests.unit.api.driver import Api

# Characters of every kind, unpaired surrogates among them: json.dumps writes those as escapes, as a client might.
TEXT = st.text(st.characters(), max_size=20)
NUMBERS = st.integers(-(10**45), 10**45) | st.floats() | st.sampled_from([2**53, 10**38, 10**39, 1e125, 1e300])
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
TYPES = st.sampled_from(["ITEM_CREATED", "ITEM_AMOUNT_CHANGED", "ITEM_DELETED", "NOTED", "item_created"])
DATA = st.fixed_dictionaries({}, optional={"itemId": st.just("1") | JSON, "amount": NUMBERS | JSON, "more": JSON})
EVENT = st.fixed_dictionaries(
    {},
    optional={
        "streamId": st.just(TEST_STREAM) | TEXT | JSON,
        "type": TYPES | JSON,
        "data": DATA | JSON,
        "expectedVersion": st.integers(-2, 2) | JSON,
        "metadata": st.dictionaries(st.sampled_from(["actor", "correlationId", "x"]), TEXT | JSON) | JSON,
        "timeStamp": st.datetimes(min_value=datetime(1000, 1, 1)).map(lambda moment: moment.isoformat() + "Z") | JSON,
        "schemaVersion": st.integers(0, 2) | JSON,
        "extra": JSON,
    },
)
VALID = st.fixed_dictionaries({"streamId": st.just(TEST_STREAM), "type": TYPES, "data": DATA})
SETTINGS = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
ROUTES = st.sampled_from(["POST /addEvent", "POST /addEvents", "POST /triggerReplay"])


@SETTINGS
@given(ROUTES, JSON | EVENT | VALID | st.fixed_dictionaries({"events": st.lists(EVENT | VALID, max_size=3) | JSON}))
def test_no_json_body_ever_fails_inside(route: str, body: Any) -> None:
    answer = Api().call(route, json.dumps(body))
    assert answer.status in {201, 202, 400, 404, 409, 413}
    if answer.status == 400:
        assert answer.json["errors"]


@SETTINGS
@given(ROUTES, st.text(max_size=60) | st.text('{}[]",:\\u0123456789.eE+-truefalsnN ', max_size=60))
def test_no_text_ever_fails_inside(route: str, body: str) -> None:
    assert Api().call(route, body).status in {202, 400}


@SETTINGS
@given(VALID)
def test_what_is_accepted_is_stored_and_read_back_as_it_was_sent(event: Any) -> None:
    api = Api()
    text = json.dumps(event)
    if api.add(text).status == 201:
        (stored,) = api.store.read(StreamId(TEST_STREAM)).events
        assert stored.payload() == lossless_json.loads(text)["data"]
        api.project()
        listed = api.call("GET /listTestItems").json
        halted = api.state().is_halted  # a number that DynamoDB cannot hold, for example
        assert listed["checkpoint"] == (-1 if halted else 0)
        if not halted and event["type"] == "ITEM_CREATED":
            assert [row["amount"] for row in listed["items"]] == [stored.payload()["amount"]]


@SETTINGS
@given(
    st.sampled_from(["GET /listTestItems", "GET /streams", "GET /projections", "GET /replays", "GET /openapi.json"]),
    st.dictionaries(
        st.sampled_from(["limit", "nextToken", "streamId", "name", "from", "direction"]) | st.text(max_size=5),
        st.text(max_size=30) | st.integers().map(str),
        max_size=3,
    ),
    st.text(max_size=30),
)
def test_no_query_and_no_path_ever_fails_inside(route: str, query: dict[str, str], segment: str) -> None:
    api = Api()
    assert api.call(route, query=query).status in {200, 400, 404, 410}
    events = api.call("GET /streams/{streamId}/events", path={"streamId": segment}, query=query)
    assert events.status in {200, 400, 404}
    assert api.call("GET /replays/{replayId}", path={"replayId": segment}).status in {400, 404}
    assert api.call("POST /replays/{replayId}/cancel", path={"replayId": segment}).status in {400, 404}


ROWS_QUERY = st.dictionaries(
    st.sampled_from(["key", "prefix", "from", "to", "index", "value", "order", "limit", "nextToken", "after"]),
    st.sampled_from(["by", "n", "asc", "desc", "5", '"5"', "1e400", '["a"]', '["a","b"]', "[", "s:0"])
    | st.text(max_size=30)
    | st.lists(st.text(max_size=5)).map(json.dumps),
    max_size=4,
)


@SETTINGS
@given(st.sampled_from(["seats", "pairs"]), ROWS_QUERY)
def test_no_query_of_rows_ever_fails_inside(name: str, query: dict[str, str]) -> None:
    seats = Projection("seats", key="seat", indexes={"by": "n", "n": None})
    pairs = Projection("pairs", key=("a", "b"))
    api = Api(projections={each.name: each for each in (seats, pairs)}, polls=range(2))
    assert api.call("GET /projections/{name}/rows", path={"name": name}, query=query).status in {200, 400, 404, 409}
