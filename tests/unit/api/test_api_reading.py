"""The reading side: rows, streams, events, projections."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from handlers.api.route import path_segment
from handlers.core.events import NewEvent, StreamId
from handlers.domain.items import TEST_STREAM, items
from handlers.projection import transitions
from tests.unit.api.driver import Answer, Api

LIST = "GET /listTestItems"


def created(item_id: str, amount: object = 1) -> tuple[str, dict[str, Any]]:
    return "ITEM_CREATED", {"itemId": item_id, "amount": amount}


def events_of(api: Api, stream_id: str, **query: str) -> Answer:
    return api.call("GET /streams/{streamId}/events", path={"streamId": path_segment(stream_id)}, query=query or None)


def ids(answer: Answer) -> list[int]:
    return [each["eventId"] for each in answer.json["events"]]


# -- rows ----------------------------------------------------------------------------------------------------------------


def test_the_list_is_empty_before_anything_happened(api: Api) -> None:
    assert api.call(LIST).json == {"items": [], "checkpoint": -1, "nextToken": None}


def test_the_walkthroughs_lists(api: Api) -> None:
    api.given(created("1", 225))
    assert api.call(LIST).text == '{"items":[{"itemId":"1","amount":225}],"checkpoint":0,"nextToken":null}'
    api.given(("ITEM_AMOUNT_CHANGED", {"itemId": "1", "amount": 12345678901234567890}))
    assert '"amount":12345678901234567890' in api.call(LIST).text
    api.given(("ITEM_DELETED", {"itemId": "1"}))
    assert api.call(LIST).json == {"items": [], "checkpoint": 2, "nextToken": None}


def test_pages_go_on_where_the_one_before_ended(api: Api) -> None:
    api.given(*[created(str(number)) for number in range(5)])
    found, query = [], {"limit": "2"}
    while True:
        page = api.call(LIST, query=query).json
        found += [row["itemId"] for row in page["items"]]
        if page["nextToken"] is None:
            break
        query = {"limit": "2", "nextToken": page["nextToken"]}
    assert found == ["0", "1", "2", "3", "4"]


def test_a_page_of_rows_that_were_replaced_is_gone(api: Api) -> None:
    api.given(*[created(str(number)) for number in range(5)])
    token = api.call(LIST, query={"limit": "2"}).json["nextToken"]
    api.replay()
    assert api.call(LIST, query={"limit": "2", "nextToken": token}).status == 200  # kept for a rollback
    api.replay()
    assert api.call(LIST, query={"limit": "2", "nextToken": token}).status == 410


def test_rows_that_change_while_they_are_read_are_said_to(api: Api) -> None:
    api.given(created("1"), created("2"))
    api.commit(transitions.rewind(api.state(), 0))
    assert api.call(LIST).json["settled"] is False


@pytest.mark.parametrize(
    ("query", "places"),
    [
        ({"limit": "0"}, {"query:limit"}),
        ({"limit": "1001"}, {"query:limit"}),
        ({"limit": "1_0"}, {"query:limit"}),
        ({"limit": "٣"}, {"query:limit"}),
        ({"limit": "x", "colour": "red", "nextToken": "%%"}, {"query:limit", "query:colour", "query:nextToken"}),
        ({"nextToken": "bm9uc2Vuc2U"}, {"query:nextToken"}),
        ({"nextToken": ""}, {"query:nextToken"}),
        ({"nextToken": "A" * 5000}, {"query:nextToken"}),
        ({"nextToken": base64.b64encode(b"[" * 900).decode()}, {"query:nextToken"}),
        ({"streamId": ""}, {"query:streamId"}),
        ({"streamId": "\ud800"}, {"query:streamId"}),
    ],
)
def test_a_bad_query_is_refused_with_every_fault(api: Api, query: dict[str, str], places: set[str]) -> None:
    answer = api.call(LIST, query=query)
    assert (answer.status, answer.places) == (400, places)


def test_a_parameter_given_twice_is_refused(api: Api) -> None:
    answer = api.call(LIST, multiValueQueryStringParameters={"limit": ["1", "2"]})
    assert answer.places == {"query:limit"}


def test_a_stream_that_the_projection_does_not_follow_is_not_found(api: Api) -> None:
    assert api.call(LIST, query={"streamId": "other"}).status == 404
    assert api.call(LIST, query={"streamId": TEST_STREAM}).status == 200


# -- events --------------------------------------------------------------------------------------------------------------


def test_events_come_back_digit_for_digit(api: Api) -> None:
    data = '{"z":12345678901234567890,"a":0.10,"e":1E+3,"text":"\\"ä😀"}'
    api.store.append([NewEvent(StreamId("s"), "x", data, metadata='{"actor":"me"}')])
    answer = events_of(api, "s")
    assert f'"data":{data},' in answer.text
    (event,) = answer.json["events"]
    assert list(event) == ["streamId", "eventId", "type", "data", "timeStamp", "schemaVersion", "metadata"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, [0, 1, 2, 3, 4]),
        ({"from": "3"}, [3, 4]),
        ({"from": "9"}, []),
        ({"direction": "backward"}, [4, 3, 2, 1, 0]),
        ({"direction": "backward", "from": "2"}, [2, 1, 0]),
        ({"direction": "backward", "from": "99", "limit": "2"}, [4, 3]),
        ({"limit": "2"}, [0, 1]),
    ],
)
def test_events_are_read_from_where_and_in_the_order_asked_for(
    api: Api, query: dict[str, str], expected: list[int]
) -> None:
    api.store.append([NewEvent(StreamId("s"), "x", "{}")] * 5)
    assert ids(events_of(api, "s", **query)) == expected


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_pages_of_events_meet_without_gap_or_overlap(api: Api, direction: str) -> None:
    api.store.append([NewEvent(StreamId("s"), "x", "{}")] * 6)
    page = events_of(api, "s", limit="2", direction=direction)
    found = ids(page)
    while page.json["nextToken"]:
        page = events_of(api, "s", limit="2", nextToken=page.json["nextToken"])
        found += ids(page)
    assert found == (list(range(6)) if direction == "forward" else list(reversed(range(6))))


@pytest.mark.parametrize(
    "stream_id", ["plain", "with/slash", "..", ".", "a%2Fb", "100%", "~tilde", "ä 😀", "\n", "a+b?c#d", "x" * 256]
)
def test_any_stream_id_can_be_asked_for(api: Api, stream_id: str) -> None:
    stream_id = stream_id if stream_id.strip() else "a\nb"
    api.store.append([NewEvent(StreamId(stream_id), "x", "{}")])
    assert ids(events_of(api, stream_id)) == [0]


def test_percent_encoded_stream_ids_are_decoded(api: Api) -> None:
    api.store.append([NewEvent(StreamId("ä b"), "x", "{}")])
    assert api.call("GET /streams/{streamId}/events", path={"streamId": "%C3%A4%20b"}).status == 200


@pytest.mark.parametrize("segment", ["%FF", "~%%%", "~_w", "", "%20", "x" * 257, "\ud800"])
def test_a_path_that_is_no_stream_id_is_refused(api: Api, segment: str) -> None:
    answer = api.call("GET /streams/{streamId}/events", path={"streamId": segment})
    assert (answer.status, answer.places) == (400, {"path:streamId"})


@pytest.mark.parametrize("query", [{}, {"direction": "backward"}, {"from": "7"}])
def test_an_unknown_stream_is_not_found(api: Api, query: dict[str, str]) -> None:
    assert events_of(api, "nowhere", **query).status == 404


def test_streams_are_listed_a_page_at_a_time(api: Api) -> None:
    api.store.append([NewEvent(StreamId(name), "x", "{}") for name in ("b", "a/ä", "c")])
    first = api.call("GET /streams", query={"limit": "2"}).json
    second = api.call("GET /streams", query={"limit": "2", "nextToken": first["nextToken"]}).json
    listed = [each["streamId"] for each in first["streams"] + second["streams"]]
    assert sorted(listed) == ["a/ä", "b", "c"]
    assert second["nextToken"] is None


# -- projections ---------------------------------------------------------------------------------------------------------


def projected(api: Api, **query: str) -> dict[str, Any]:
    (projection,) = api.call("GET /projections", query=query or None).json["projections"]
    (stream,) = projection["streams"]
    assert isinstance(stream, dict)
    return stream


def test_a_projection_is_live_when_it_is_at_the_head_and_behind_before(api: Api) -> None:
    assert projected(api)["state"] == "live"
    api.given(created("1"))
    assert projected(api) | {"state": "live", "head": 0, "checkpoint": 0, "lag": 0} == projected(api)
    api.store.append([NewEvent(StreamId(TEST_STREAM), "x", "{}")] * 2)
    stream = projected(api, name="test-items", streamId=TEST_STREAM)
    assert (stream["state"], stream["head"], stream["lag"]) == ("behind", 2, 2)


def test_a_halted_stream_shows_event_and_error(api: Api) -> None:
    api.given(created("1"))
    api.commit(transitions.halt(api.state(), 1, "KeyError: 'amount'", "2026-11-23T10:15:30.123Z"))
    stream = projected(api)
    assert stream["state"] == "halted"
    assert stream["halted"] == {"eventId": 1, "error": "KeyError: 'amount'", "at": "2026-11-23T10:15:30.123Z"}
    api.commit(transitions.skip(api.state(), "2026-11-23T10:15:31.000Z"))
    assert projected(api)["skipped"][0]["eventId"] == 1


def test_the_generations_and_their_code_are_shown(api: Api) -> None:
    api.given(created("1"))

    def shown() -> dict[str, Any]:
        (projection,) = api.call("GET /projections").json["projections"]
        return dict(projection)

    assert (shown()["generation"], "building" in shown(), "previous" in shown()) == (0, False, False)
    replay_id = api.call("POST /triggerReplay").json["replayId"]
    fingerprint = items.fingerprint()
    assert shown()["building"] == {
        "generation": 1,
        "replayId": replay_id,
        "kind": "replay",
        "fingerprint": fingerprint,
    }
    api.work()
    assert (shown()["generation"], shown()["generationFingerprint"]) == (1, fingerprint)
    assert shown()["previous"]["generation"] == 0
    assert projected(api)["generation"] == 1


def test_unknown_projections_are_refused_and_foreign_streams_not_shown(api: Api) -> None:
    assert api.call("GET /projections", query={"name": "nothing"}).places == {"query:name"}
    assert api.call("GET /projections", query={"streamId": "x"}).json["projections"][0]["streams"] == []
