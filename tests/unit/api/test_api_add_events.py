"""``POST /addEvents``: several events, all or none; and what imports bring along."""

from __future__ import annotations

from typing import Any

import pytest

from handlers.catalogue import upcaster
from handlers.core.events import StreamId
from tests.unit.api.driver import Answer, Api


def event(stream_id: str = "a", **changes: Any) -> dict[str, Any]:
    return {"streamId": stream_id, "type": "NOTED", "data": {"n": 1}, **changes}


def add(api: Api, *events: object, **kwargs: Any) -> Answer:
    return api.call("POST /addEvents", {"events": list(events)}, **kwargs)


def test_events_of_several_streams_are_appended_together(api: Api) -> None:
    answer = add(api, event("a"), event("b"), event("a"))
    assert answer.status == 201
    assert [(each["streamId"], each["eventId"]) for each in answer.json["events"]] == [("a", 0), ("b", 0), ("a", 1)]


def test_one_bad_event_keeps_all_out_and_every_fault_is_named(api: Api) -> None:
    answer = add(api, event(), {"streamId": ""}, 5, event(data=[], extra=1))
    assert answer.status == 400
    assert answer.places == {
        "/events/1/streamId",
        "/events/1/type",
        "/events/1/data",
        "/events/2",
        "/events/3/data",
        "/events/3/extra",
    }
    assert api.is_empty()


@pytest.mark.parametrize(
    ("body", "places"),
    [
        (None, {""}),
        ([], {""}),
        ({}, {"/events"}),
        ({"events": []}, {"/events"}),
        ({"events": {}}, {"/events"}),
        ({"events": None, "other": 1}, {"/events", "/other"}),
        ({"events": [event()] * 101}, {"/events"}),
        (event(), {"/events", "/streamId", "/type", "/data"}),
    ],
)
def test_a_body_that_is_no_list_of_events_is_refused(api: Api, body: object, places: set[str]) -> None:
    answer = api.call("POST /addEvents", body)
    assert (answer.status, answer.places) == (400, places)
    assert api.is_empty()


def test_a_hundred_events_fit_but_only_99_beside_an_idempotency_key(api: Api) -> None:
    assert add(api, *[event()] * 100).status == 201
    key = {"Idempotency-Key": "k"}
    refused = add(api, *[event("b")] * 100, headers=key)
    assert (refused.status, refused.places) == (400, {"/events"})
    assert "99" in refused.json["detail"]
    assert add(api, *[event("b")] * 99, headers=key).status == 201


def test_expected_versions_that_contradict_each_other_are_refused(api: Api) -> None:
    answer = add(api, event(expectedVersion=-1), event(expectedVersion=-1))
    assert (answer.status, answer.places) == (400, {"/events/1/expectedVersion"})


def test_a_conflict_of_one_stream_keeps_the_others_out(api: Api) -> None:
    answer = add(api, event("a"), event("b", expectedVersion=0))
    assert (answer.status, answer.json["streamId"], answer.json["head"]) == (409, "b", -1)
    assert api.is_empty()


def test_an_oversized_event_is_named_and_nothing_is_stored(api: Api) -> None:
    answer = add(api, event(), event(data={"x": "y" * 420_000}))
    assert answer.status == 413
    assert "event 1 of the request" in answer.json["detail"]
    assert api.is_empty()


def test_events_together_over_what_a_transaction_holds_are_refused(api: Api) -> None:
    answer = add(api, *[event(data={"x": "ä" * 180_000})] * 12)
    assert answer.status == 413
    assert api.is_empty()


ANN, BOB = "arn:aws:iam::1:user/ann", "arn:aws:iam::1:user/bob"


def test_an_import_keeps_its_times_and_its_metadata_as_given(api: Api) -> None:
    answer = add(
        api,
        event(timeStamp="2020-01-02T03:04:05.678901+02:00", metadata={"correlationId": "then"}),
        event(timeStamp="2020-01-02T03:04:05Z"),
    )
    assert [each["timeStamp"] for each in answer.json["events"]] == [
        "2020-01-02T01:04:05.678Z",
        "2020-01-02T03:04:05.000Z",
    ]
    first, second = api.store.read(StreamId("a")).events
    assert (first.metadata, second.metadata) == ('{"correlationId":"then"}', None)


@pytest.mark.parametrize("more", [{}, {"timeStamp": "2020-01-02T03:04:05Z"}])
@pytest.mark.parametrize(
    ("given", "stored"),
    [
        (None, {"actor": BOB}),
        ({}, {"actor": BOB}),
        ({"x": 1}, {"x": 1, "actor": BOB}),
        ({"actor": ANN, "x": 1}, {"actor": BOB, "x": 1, "originalActor": ANN}),
        ({"actor": BOB}, {"actor": BOB}),
        ({"actor": "somebody", "originalActor": ANN}, {"actor": BOB, "originalActor": ANN}),
        ({"actor": BOB, "originalActor": ANN}, {"actor": BOB, "originalActor": ANN}),
        ({"originalActor": ANN}, {"originalActor": ANN, "actor": BOB}),
    ],
)
def test_the_signer_is_always_the_actor_and_an_imports_own_actor_is_kept_beside(
    api: Api, more: dict[str, str], given: dict[str, Any] | None, stored: dict[str, Any]
) -> None:
    add(api, event() | more | ({} if given is None else {"metadata": given}), caller=BOB)
    (found,) = api.store.read(StreamId("a")).events
    kept = found.meta()
    assert (kept.pop("correlationId", None) is None) == ("timeStamp" in more)
    assert kept == stored


def test_an_actor_that_was_recorded_is_accepted_again(api: Api) -> None:
    longest = f"arn:aws:iam::123456789012:user/{'p' * 510}/{'n' * 64}"
    add(api, event(), caller=longest)
    (found,) = api.store.read(StreamId("a")).events
    answer = add(api, event(metadata=found.meta(), timeStamp=found.time_stamp), caller=BOB)
    assert answer.status == 201
    assert api.store.read(StreamId("a"), 1).events[0].meta()["originalActor"] == longest


@pytest.mark.parametrize(
    "time_stamp",
    [
        "yesterday",
        "2020-01-02",
        "2020-01-02T03:04:05",
        "2020-02-30T00:00:00Z",
        "9999-12-31T23:59:59-23:59",
        "0001-01-01T00:00:00+23:59",
        "2030-01-01T00:00:00Z",
        5,
        None,
    ],
)
def test_a_time_that_is_none_or_in_the_future_is_refused(api: Api, time_stamp: object) -> None:
    assert add(api, event(timeStamp=time_stamp)).places == {"/events/0/timeStamp"}


@upcaster("IMPORT_TEST", from_version=1)
def version_2(data: Any) -> Any:
    return {"number": data["n"]}


@upcaster("IMPORT_TEXT", from_version=1)
def in_capitals(data: Any) -> Any:
    return {"text": data["text"].upper()}


def test_an_import_says_which_form_its_data_has(api: Api) -> None:
    assert add(api, event(type="IMPORT_TEST", schemaVersion=1), event(schemaVersion=7), event()).status == 201
    assert [each.schema_version for each in api.store.read(StreamId("a")).events] == [1, 7, 1]


def test_a_form_that_the_catalogue_or_the_data_do_not_have_is_refused(api: Api) -> None:
    answer = add(
        api,
        event(type="IMPORT_TEST", schemaVersion=1, data={}),
        event(type="ITEM_DELETED", schemaVersion=2, data={"itemId": "1"}),
        event(schemaVersion=0),
        event(schemaVersion="1"),
        event(type="IMPORT_TEXT", schemaVersion=1, data={"text": 5}),
    )
    assert answer.places == {
        "/events/0/data",
        "/events/1/schemaVersion",
        "/events/2/schemaVersion",
        "/events/3/schemaVersion",
        "/events/4/data",
    }


def test_what_was_listed_can_be_imported_elsewhere_and_lists_the_same(api: Api) -> None:
    add(
        api, event(data={"n": 0.10}, metadata={"x": 1e3}), event(type="ITEM_CREATED", data={"itemId": "1", "amount": 1})
    )
    listed = api.call("GET /streams/{streamId}/events", path={"streamId": "a"})
    elsewhere = Api()
    lines = [{name: value for name, value in each.items() if name != "eventId"} for each in listed.json["events"]]
    assert add(elsewhere, *lines).status == 201
    assert elsewhere.call("GET /streams/{streamId}/events", path={"streamId": "a"}).text == listed.text
