"""Page tokens: every one that is issued is accepted and continues behind the last item; forged ones are refused."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers import runtime
from handlers.api import http
from handlers.api.response import (
    MAX_POSITION_BYTES,
    MAX_TOKEN_BYTES,
    MAX_TOKEN_CHARACTERS,
    TokenKind,
    page_token,
    read_page_token,
)
from handlers.api.route import Route, path_segment
from handlers.api.routes import LIST_EVENTS, LIST_STREAMS, READ_ROWS, list_rows
from handlers.api.streams import StreamRoutes
from handlers.core.events import NewEvent, StreamId
from handlers.domain.items import TEST_STREAM, items
from handlers.projection import Projection
from handlers.projection.keys import MAX_KEY_BYTES
from handlers.store import limits
from tests.support.memory_event_store import MemoryEventStore
from tests.support.stores import StoreFactory, dynamodb_stores
from tests.unit.api.driver import Api, stored_rows

Pages = Callable[..., Iterator[dict[str, Any]]]

# The dearest characters of UTF-8, of JSON, of base64 and of URLs, and any other.
CHARACTERS = st.sampled_from(["\x00", "\x1f", '"', "\\", "/", "+", "%", "\x7f", "ÿ", "\uffff", "😀", "\U0010ffff"])
SEEDS = st.text(CHARACTERS | st.characters(exclude_categories=["Cs"]), min_size=1, max_size=3)
EXAMPLES = settings(max_examples=60)


def longest_id(seed: str) -> str:
    """The longest stream id that repeats a text."""
    text = (seed * limits.MAX_STREAM_ID_CHARACTERS)[: limits.MAX_STREAM_ID_CHARACTERS]
    return "x" + text[1:] if text.isspace() else text


def longest_key(seed: str) -> str:
    """The longest row key that repeats a text."""
    return (seed * MAX_KEY_BYTES).encode()[:MAX_KEY_BYTES].decode(errors="ignore")


STREAM_IDS = SEEDS.map(longest_id)
KEYS = SEEDS.map(longest_key)


def pages(
    resource: http.Resource,
    route: Route,
    path: Mapping[str, str] | None = None,
    *,
    repeated: bool = False,
    **query: str,
) -> Iterator[dict[str, Any]]:
    """Follow a list through its real route, one item a page; the query is repeated with each token, or not."""
    handler = http.serve(route.function, resource, telemetry=runtime)
    token: str | None = None
    while True:
        given_query = {"limit": "1", **(query if token is None or repeated else {})}
        given_query |= {} if token is None else {"nextToken": token}
        event = {"httpMethod": route.method, "resource": route.path, "pathParameters": path}
        answer = handler({**event, "queryStringParameters": given_query}, None)
        assert answer["statusCode"] == 200, answer["body"]
        page = json.loads(answer["body"])
        yield page
        token = page["nextToken"]
        if token is None:
            return
        assert len(token) <= MAX_TOKEN_CHARACTERS


# -- issued tokens -------------------------------------------------------------------------------------------------------


@EXAMPLES
@given(st.sets(STREAM_IDS, min_size=2, max_size=4))
def test_streams_of_the_largest_ids_are_listed_to_the_end(stream_ids: set[str]) -> None:
    store = MemoryEventStore()
    store.append([NewEvent(StreamId(each), "x", "{}") for each in stream_ids])
    found = [page["streams"] for page in pages(StreamRoutes(lambda: store), LIST_STREAMS)]
    assert sorted(stream["streamId"] for page in found for stream in page) == sorted(stream_ids)


@pytest.fixture(scope="class")
def make_store(shared_moto_client: Callable[[str], Any]) -> StoreFactory:
    return dynamodb_stores(shared_moto_client("dynamodb"))


class TestOnDynamoDb:
    @pytest.mark.parametrize("character", ["😀", "\x00", "x"])
    def test_streams_of_the_largest_ids_are_listed_to_the_end(self, make_store: StoreFactory, character: str) -> None:
        store = make_store()
        stream_ids = {f"{number:02}" + character * 254 for number in range(25)}
        store.append([NewEvent(StreamId(each), "x", "{}") for each in stream_ids])
        found = [page["streams"] for page in pages(StreamRoutes(lambda: store), LIST_STREAMS)]
        listed = [stream["streamId"] for page in found for stream in page if stream["streamId"].endswith(character)]
        assert sorted(listed) == sorted(stream_ids)


@EXAMPLES
@given(STREAM_IDS, st.sampled_from(["forward", "backward"]))
def test_events_of_the_largest_stream_ids_are_listed_to_the_end(stream_id: str, direction: str) -> None:
    store = MemoryEventStore()
    store.append([NewEvent(StreamId(stream_id), "x", "{}")] * 3)
    path = {"streamId": path_segment(stream_id)}
    found = list(pages(StreamRoutes(lambda: store), LIST_EVENTS, path, direction=direction))
    listed = [event["eventId"] for page in found for event in page["events"]]
    assert listed == ([0, 1, 2] if direction == "forward" else [2, 1, 0])


@EXAMPLES
@given(STREAM_IDS, st.sets(KEYS, min_size=2, max_size=4), st.sampled_from([0, limits.MAX_SAFE_INTEGER]))
def test_rows_of_the_largest_keys_are_listed_to_the_end(stream_id: str, keys: set[str], generation: int) -> None:
    for streams in ([stream_id], [stream_id, "other"]):
        projection = Projection("p" * 40, key="key", streams=streams)
        routes = stored_rows(projection, {key: {"n": 1} for key in keys}, generation)
        found = [row["key"] for page in pages(routes, list_rows(projection)) for row in page["items"]]
        assert found == sorted(keys, key=str.encode)


@EXAMPLES
@given(st.sets(KEYS, min_size=2, max_size=4), KEYS, st.sampled_from(["asc", "desc"]))
def test_rows_of_the_largest_places_in_an_index_are_listed_to_the_end(keys: set[str], text: str, order: str) -> None:
    projection = Projection("p" * 40, key="key", indexes={"status": "name"})
    longest = text.encode()[: MAX_KEY_BYTES - 1].decode(errors="ignore")
    routes = stored_rows(projection, {key: {"status": "new", "name": longest} for key in keys}, limits.MAX_SAFE_INTEGER)
    path, query = {"name": projection.name}, {"index": "status", "value": "new", "order": order}
    listed = pages(routes, READ_ROWS, path, repeated=True, **query)
    found = [row["key"] for page in listed for row in page["rows"]]
    assert found == sorted(keys, key=str.encode, reverse=order == "desc")


@given(
    st.sampled_from([TokenKind.STREAMS, TokenKind.EVENTS, TokenKind.ROWS]),
    st.lists(st.text(max_size=50) | st.integers(), max_size=4),
)
def test_a_token_gives_back_what_it_was_made_of(kind: TokenKind, parts: list[str | int]) -> None:
    assert read_page_token(page_token(kind, *parts), kind, *map(type, parts)) == parts


def test_the_longest_token_fits_the_head_of_a_request() -> None:
    token = page_token(TokenKind.ROWS, "f" * 16, limits.MAX_SAFE_INTEGER, "\x00" * MAX_POSITION_BYTES)
    assert len(token) == MAX_TOKEN_CHARACTERS
    # API Gateway takes 10,240 bytes; what remains is for a session token of AWS STS and the other headers.
    assert len(token) < 3_000
    with pytest.raises(ValueError, match="limit"):
        page_token(TokenKind.STREAMS, "x" * MAX_TOKEN_BYTES)


# -- forged tokens -------------------------------------------------------------------------------------------------------


def raw_token(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


STREAM = "a"
EVENTS_ROUTE, ROWS_ROUTE, STREAMS_ROUTE = "GET /streams/{streamId}/events", "GET /listTestItems", "GET /streams"
FORGED = {
    EVENTS_ROUTE: [
        page_token(TokenKind.EVENTS, STREAM, 1, "sideways"),
        page_token(TokenKind.EVENTS, STREAM, 1, ""),
        page_token(TokenKind.EVENTS, STREAM, "one", "forward"),
        page_token(TokenKind.EVENTS, STREAM, "01", "forward"),
        page_token(TokenKind.EVENTS, STREAM, "٣", "forward"),
        page_token(TokenKind.EVENTS, STREAM, -1, "forward"),
        page_token(TokenKind.EVENTS, STREAM, 10**40, "forward"),
        page_token(TokenKind.EVENTS, STREAM, 1),
        page_token(TokenKind.EVENTS, STREAM, 1, "forward", "more"),
        page_token(TokenKind.EVENTS, "b", 1, "forward"),
        page_token(TokenKind.STREAMS, STREAM, 1, "forward"),
        page_token(TokenKind.STREAMS, STREAM),
        page_token(TokenKind.ROWS, items.name, TEST_STREAM, 0, "k"),
        raw_token(b"events\xffa\xff1\xffforward\xff"),
        raw_token(b'["events","a",1,"forward"]'),
        raw_token(b"events\xff\xc3\xff1\xffforward"),
        page_token(TokenKind.EVENTS, STREAM, 1, "forward") + "=",
        page_token(TokenKind.EVENTS, STREAM, 1, "forward")[:-1],
    ],
    STREAMS_ROUTE: [
        page_token(TokenKind.STREAMS, ""),
        page_token(TokenKind.STREAMS, " "),
        page_token(TokenKind.STREAMS, "x" * 257),
        page_token(TokenKind.STREAMS),
        page_token(TokenKind.STREAMS, "a", "b"),
        page_token(TokenKind.STREAMS, 1, 2),
        page_token(TokenKind.EVENTS, STREAM, 1, "forward"),
        page_token(TokenKind.ROWS, items.name, TEST_STREAM, 0, "k"),
    ],
    ROWS_ROUTE: [
        page_token(TokenKind.ROWS, "f" * 16, 0, "k"),
        page_token(TokenKind.ROWS, "f" * 16, 0, ""),
        page_token(TokenKind.ROWS, "f" * 16, -1, "k"),
        page_token(TokenKind.ROWS, "f" * 16, 2**53, "k"),
        page_token(TokenKind.ROWS, "f" * 16, "k", "k"),
        page_token(TokenKind.ROWS, "", 0, "k"),
        page_token(TokenKind.ROWS, "f" * 16, 0),
        page_token(TokenKind.ROWS, items.name, TEST_STREAM, 0, "k"),
        page_token(TokenKind.STREAMS, STREAM),
        page_token(TokenKind.EVENTS, TEST_STREAM, 1, "forward"),
    ],
}


@pytest.fixture
def stored(api: Api) -> Api:
    api.store.append([NewEvent(StreamId(name), "x", "{}") for name in (STREAM, STREAM, STREAM, "b")])
    return api


def with_token(api: Api, route: str, token: str, **query: str) -> Any:
    path = {"streamId": STREAM} if route == EVENTS_ROUTE else None
    return api.call(route, path=path, query={"nextToken": token, **query})


@pytest.mark.parametrize(("route", "token"), [(route, token) for route, tokens in FORGED.items() for token in tokens])
def test_a_forged_token_is_refused(stored: Api, route: str, token: str) -> None:
    answer = with_token(stored, route, token)
    assert (answer.status, answer.places) == (400, {"query:nextToken"})


def test_a_token_of_the_other_direction_is_refused(stored: Api) -> None:
    forward = page_token(TokenKind.EVENTS, STREAM, 1, "forward")
    assert with_token(stored, EVENTS_ROUTE, forward).status == 200
    assert with_token(stored, EVENTS_ROUTE, forward, direction="backward").places == {"query:nextToken"}


MADE_UP = (
    st.text(max_size=60)
    | st.binary(max_size=60).map(raw_token)
    | st.tuples(
        st.sampled_from([TokenKind.STREAMS, TokenKind.EVENTS, TokenKind.ROWS]),
        st.lists(st.sampled_from([STREAM, TEST_STREAM, items.name, "forward"]) | st.text() | st.integers()),
    ).map(lambda made: page_token(made[0], *made[1][:5]))
)


@settings(max_examples=300)
@given(st.sampled_from(list(FORGED)), MADE_UP)
def test_a_token_that_was_made_up_is_refused_unless_it_could_have_been_issued(route: str, token: str) -> None:
    api = Api()
    api.store.append([NewEvent(StreamId(STREAM), "x", "{}")] * 3)
    answer = with_token(api, route, token)
    plausible = {
        EVENTS_ROUTE: read_page_token(token, TokenKind.EVENTS, str, int, str),
        STREAMS_ROUTE: read_page_token(token, TokenKind.STREAMS, str),
        ROWS_ROUTE: read_page_token(token, TokenKind.ROWS, str, int, str),
    }[route]
    assert answer.status in ({400} if plausible is None else {200, 400, 410})
