"""``POST /addEvent``: what is stored, what is refused, and what the answers say."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from handlers.core.events import StreamId
from handlers.domain.items import TEST_STREAM
from tests.unit.api.driver import REQUEST_ID, Api

CREATED = {"streamId": TEST_STREAM, "type": "ITEM_CREATED", "data": {"itemId": "1", "amount": 225}}


def but(**changes: Any) -> dict[str, Any]:
    """The walkthrough's first event with something changed."""
    return {**CREATED, **changes}


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in CREATED.items() if key != name}


def test_the_walkthroughs_events_are_appended_and_answered_with_their_places(api: Api) -> None:
    first = api.add(CREATED)
    second = api.add(but(type="ITEM_AMOUNT_CHANGED", data={"itemId": "1", "amount": 500}))
    third = api.add(but(type="ITEM_DELETED", data={"itemId": "1"}))
    assert [answer.status for answer in (first, second, third)] == [201, 201, 201]
    assert [answer.json["eventId"] for answer in (first, second, third)] == [0, 1, 2]
    assert first.json == {
        "streamId": TEST_STREAM,
        "eventId": 0,
        "type": "ITEM_CREATED",
        "timeStamp": first.json["timeStamp"],
    }


@pytest.mark.parametrize("amount", ["12345678901234567890", "0.1", "-5", "0", "225.10", "1E+125", "1e-130"])
def test_amounts_are_stored_digit_for_digit(api: Api, amount: str) -> None:
    body = f'{{"streamId":"{TEST_STREAM}","type":"ITEM_CREATED","data":{{"itemId":"1","amount":{amount}}}}}'
    assert api.add(body).status == 201
    stored = json.loads(api.stored()[0][1], parse_float=str, parse_int=str)["amount"]
    assert stored.upper() == amount.upper()


@pytest.mark.parametrize(
    ("body", "places"),
    [
        (None, {""}),
        ("", {""}),
        ("   ", {""}),
        ("null", {""}),
        ("[]", {""}),
        ('"text"', {""}),
        ("17", {""}),
        ("{", {""}),
        ("{'streamId': 'x'}", {""}),
        ("[" * 5000, {""}),
        ("{}", {"/streamId", "/type", "/data"}),
        (but(streamId=""), {"/streamId"}),
        (but(streamId=" \n"), {"/streamId"}),
        (but(streamId="x" * 257), {"/streamId"}),
        (but(streamId=7), {"/streamId"}),
        (but(streamId=None), {"/streamId"}),
        (without("streamId"), {"/streamId"}),
        (but(type=""), {"/type"}),
        (but(type="x" * 129), {"/type"}),
        (but(type="MIT BLANK"), {"/type"}),
        (but(type="GRÖSSE"), {"/type"}),
        (but(type=None), {"/type"}),
        (but(data=None), {"/data"}),
        (but(data=[]), {"/data"}),
        (but(data="text"), {"/data"}),
        (but(data=5), {"/data"}),
        (but(data='{"itemId":"1","amount":225}'), {"/data"}),
        (but(data={}), {"/data/itemId", "/data/amount"}),
        (but(data={"itemId": 1, "amount": "225"}), {"/data/itemId", "/data/amount"}),
        (but(data={"itemId": "", "amount": True}), {"/data/itemId", "/data/amount"}),
        (but(data={"itemId": "x" * 1025, "amount": 1}), {"/data/itemId"}),
        (but(type="ITEM_DELETED", data={}), {"/data/itemId"}),
        (but(expectedVersion=True), {"/expectedVersion"}),
        (but(expectedVersion=1.5), {"/expectedVersion"}),
        (but(expectedVersion=-2), {"/expectedVersion"}),
        (but(expectedVersion="0"), {"/expectedVersion"}),
        (but(expectedVersion=None), {"/expectedVersion"}),
        (but(expectedVersion=2**53), {"/expectedVersion"}),
        (but(metadata=None), {"/metadata"}),
        (but(metadata=[]), {"/metadata"}),
        (but(metadata={"correlationId": 5, "actor": ""}), {"/metadata/correlationId", "/metadata/actor"}),
        (but(amount=1, **{"a/b~c": 2}), {"/amount", "/a~1b~0c"}),
        (but(timeStamp="2026-01-01T00:00:00Z"), {"/timeStamp"}),
        (but(schemaVersion=1), {"/schemaVersion"}),
        (but(streamId="", type=5, data=[], extra=1), {"/streamId", "/type", "/data", "/extra"}),
    ],
)
def test_bad_input_is_refused_with_every_fault_and_its_place(api: Api, body: object, places: set[str]) -> None:
    answer = api.add(body)
    assert answer.status == 400
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json["instance"] == REQUEST_ID
    assert answer.places == places
    assert api.is_empty()


@pytest.mark.parametrize(
    ("data", "error"),
    [
        ('{"itemId":"1","amount":1e-131}', "a number of magnitude 1e-131 is out of range"),
        (f'{{"itemId":"1","amount":{"1" * 39}}}', "a number has 39 significant digits"),
        (f'{{"itemId":"{"ä" * 513}","amount":1}}', "the key has 1,026 bytes"),
    ],
)
def test_an_event_that_the_projection_cannot_hold_is_stored_and_halts_it(api: Api, data: str, error: str) -> None:
    answer = api.add(f'{{"streamId":"{TEST_STREAM}","type":"ITEM_CREATED","data":{data}}}')

    assert answer.status == 201
    api.project()
    halted = api.state().halted
    assert halted is not None
    assert error in halted.error


@pytest.mark.parametrize(
    ("amount", "why"),
    [
        ("NaN", "NaN"),
        ("-Infinity", "-Infinity"),
        ("1e99999999999999999999", "out of range"),
        ("9" * 5000, "out of range"),
        ('1,"amount":2', "amount"),
        ('1,"note":"\\ud800"', "surrogate"),
        ("1,,", "column"),
        ("[" * 100_000, "deep"),
    ],
)
def test_what_is_not_json_is_refused_with_the_first_reason(api: Api, amount: str, why: str) -> None:
    answer = api.add(f'{{"streamId":"s","type":"x","data":{{"amount":{amount}}}}}')
    assert (answer.status, answer.places) == (400, {""})
    assert answer.json["detail"].startswith("the body is not valid JSON: ")
    assert why in answer.json["detail"]


def test_a_surrogate_pair_is_text_like_any_other(api: Api) -> None:
    assert api.add('{"streamId":"\\ud83d\\ude00","type":"x","data":{"\\ud83d\\ude00":1}}').status == 201
    assert api.stored("😀") == [("x", '{"😀":1}')]


def test_more_than_a_hundred_faults_are_counted_rather_than_listed(api: Api) -> None:
    answer = api.add(but(**{f"extra{index}": 1 for index in range(250)}))
    assert len(answer.json["errors"]) == 100
    assert answer.json["errorsOmitted"] == 150


def test_huge_keys_do_not_make_huge_answers(api: Api) -> None:
    answer = api.add(but(**{"k" * 100_000: 1}))
    assert answer.status == 400
    assert len(answer.text) < 3000


@pytest.mark.parametrize("number", ["1e300", "1" * 60, "1e-999"])
def test_events_that_nobody_projects_may_hold_any_number(api: Api, number: str) -> None:
    assert api.add(f'{{"streamId":"{TEST_STREAM}","type":"MEASURED","data":{{"x":{number}}}}}').status == 201
    assert api.add(f'{{"streamId":"other","type":"ITEM_DELETED","data":{{"itemId":"1","x":{number}}}}}').status == 201


def test_the_type_is_stored_as_sent_and_properties_outside_the_schema_are_kept(api: Api) -> None:
    assert api.add(but(type="item_created", data={"any": "thing"})).json["type"] == "item_created"
    assert api.add(but(data={"itemId": "1", "amount": 1, "colour": "red"})).status == 201
    assert api.stored() == [
        ("item_created", '{"any":"thing"}'),
        ("ITEM_CREATED", '{"itemId":"1","amount":1,"colour":"red"}'),
    ]


def test_a_large_event_is_stored_and_a_larger_one_refused_with_size_and_limit(api: Api) -> None:
    assert api.add(but(data={"itemId": "1", "amount": 1, "note": "x" * 300_000})).status == 201
    answer = api.add(but(streamId="other", data={"itemId": "1", "amount": 1, "note": "x" * 450_000}))
    assert answer.status == 413
    assert answer.json["size"] > answer.json["limit"] == 408_576
    assert api.stored("other") == []


@pytest.mark.parametrize("body", [" " * 1_100_000, '{"streamId":"' + "x" * 1_100_000, but(data={"x": "y" * 1_100_000})])
def test_a_body_over_a_megabyte_is_refused_unread(api: Api, body: object) -> None:
    answer = api.add(body)
    assert answer.status == 413
    assert answer.json["limit"] == 1024 * 1024
    assert api.is_empty()


def test_metadata_over_its_limit_is_refused(api: Api) -> None:
    answer = api.add(but(metadata={"note": "x" * 20_000}))
    assert (answer.status, answer.json["limit"]) == (413, 16 * 1024)


@pytest.mark.parametrize("levels", [32, 33])
def test_data_nests_32_levels_deep_at_most(api: Api, levels: int) -> None:
    nested = '{"a":' * levels + "1" + "}" * levels
    answer = api.add('{"streamId":"s","type":"x","data":' + nested + "}")
    assert answer.status == (201 if levels == 32 else 400)


def test_a_body_in_base64_is_decoded(api: Api) -> None:
    text = base64.b64encode(json.dumps(CREATED).encode()).decode()
    assert api.add(text, isBase64Encoded=True).status == 201
    assert api.add("%%%", isBase64Encoded=True).status == 400
    assert api.add(base64.b64encode(b"\xff\xfe").decode(), isBase64Encoded=True).places == {""}


def test_a_wrong_expected_version_is_a_conflict_with_the_actual_head(api: Api) -> None:
    assert api.add(but(expectedVersion=-1)).status == 201
    for expected in (-1, 1, 5):
        answer = api.add(but(expectedVersion=expected))
        assert answer.status == 409
        assert (answer.json["head"], answer.json["expectedVersion"]) == (0, expected)
    assert api.add(but(expectedVersion=0)).json["eventId"] == 1


def test_an_expected_version_beyond_the_head_leaves_no_gap_on_a_new_stream(api: Api) -> None:
    assert api.add(but(expectedVersion=3)).json["head"] == -1
    assert api.is_empty()


def test_a_repeat_with_the_same_key_answers_the_same_and_stores_nothing(api: Api) -> None:
    key = {"Idempotency-Key": "once"}
    first = api.add(CREATED, headers=key)
    body = '{"type":"ITEM_CREATED", "data":{"amount":2.250e2,"itemId":"1"}, "streamId":"' + TEST_STREAM + '"}'
    second = api.add(body, headers={"idempotency-key": "once"})
    assert (first.status, second.status) == (201, 201)
    assert first.text == second.text
    assert "Idempotent-Replayed" not in first.headers
    assert second.headers["Idempotent-Replayed"] == "true"
    assert len(api.stored()) == 1


@pytest.mark.parametrize(
    "changed",
    [
        but(data={"itemId": "1", "amount": 226}),
        but(data={"itemId": "2", "amount": 225}),
        but(streamId="other"),
        but(expectedVersion=-1),
        but(metadata={}),
    ],
)
def test_the_same_key_with_another_payload_is_refused(api: Api, changed: object) -> None:
    key = {"Idempotency-Key": "once"}
    api.add(CREATED, headers=key)
    assert api.add(changed, headers=key).status == 422
    assert len(api.stored()) == 1


@pytest.mark.parametrize("key", ["", "x" * 257, "ümlaut", "a\tb"])
def test_an_unusable_idempotency_key_is_refused(api: Api, key: str) -> None:
    answer = api.add(but(type=5), headers={"Idempotency-Key": key})
    assert answer.places == {"header:Idempotency-Key", "/type"}


def test_metadata_gets_the_request_id_and_the_callers_identity(api: Api) -> None:
    api.add(CREATED)
    api.add(but(metadata={"correlationId": "mine", "actor": "claimed", "x": 1}), caller="arn:aws:iam::1:user/ann")
    first, second = api.store.read(StreamId(TEST_STREAM)).events
    assert first.meta() == {"correlationId": REQUEST_ID}
    assert second.meta() == {"correlationId": "mine", "actor": "arn:aws:iam::1:user/ann", "x": 1}


def test_a_strict_stack_refuses_types_outside_the_catalogue() -> None:
    api = Api(strict=True)
    assert api.add(CREATED).status == 201
    assert api.add(but(type="SOMETHING_ELSE")).places == {"/type"}
    assert len(api.stored()) == 1
