"""The CloudEvents form: there and back, and events of other systems."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.transfer.cloudevents import CloudEvents
from cli.transfer.forms import BadLineError
from handlers.exactjson import dumps, loads

FORM = CloudEvents()
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
_METADATA = st.dictionaries(st.sampled_from(["correlationId", "causationId", "actor"]) | _TEXT, _TEXT, max_size=4)


def event(**more: Any) -> dict[str, Any]:
    return {
        "streamId": "s",
        "eventId": 7,
        "type": "PAID",
        "data": {"sum": 1},
        "timeStamp": "2026-11-23T10:15:30.123Z",
        "schemaVersion": 1,
        **more,
    }


def foreign(**more: Any) -> dict[str, Any]:
    required = {"specversion": "1.0", "id": "A-1", "source": "https://shop.example", "type": "com.example.paid"}
    return {**required, "data": {"sum": 1}, **more}


@given(_TEXT, st.none() | _METADATA)
def test_there_and_back_nothing_is_lost(stream_id: str, metadata: dict[str, str] | None) -> None:
    original = event(streamId=stream_id, schemaVersion=3) | ({} if metadata is None else {"metadata": metadata})

    back = FORM.decode(loads(FORM.encode(original)))

    assert {name: dumps(value) for name, value in back.items()} == {
        name: dumps(value) for name, value in original.items()
    }


def test_the_attributes_are_those_of_the_specification() -> None:
    written = loads(FORM.encode(event(streamId="a b/ä", metadata={"correlationId": "c-1", "actor": "me"})))

    assert written == {
        "specversion": "1.0",
        "id": "7",
        "source": "/streams/a%20b%2F%C3%A4",
        "type": "PAID",
        "time": "2026-11-23T10:15:30.123Z",
        "datacontenttype": "application/json",
        "dataschema": "urn:esctl:schema:PAID:1",
        "correlationid": "c-1",
        "actor": "me",
        "data": {"sum": 1},
    }


def test_attributes_are_strings_without_control_characters() -> None:
    written = loads(FORM.encode(event(metadata={"actor": "a\x9bb", "nested": {"deep": ["\x7f", "é"]}})))

    assert "actor" not in written
    assert written["metadata"].isascii()
    assert written["metadata"].isprintable()


def test_digits_survive() -> None:
    text = FORM.encode(event(data=loads('{"sum":1.10,"big":12345678901234567890}')))

    assert text.endswith('"data":{"sum":1.10,"big":12345678901234567890}}')
    assert dumps(FORM.decode(loads(text))["data"]) == '{"sum":1.10,"big":12345678901234567890}'


def test_an_event_of_another_system_keeps_what_it_says() -> None:
    read = FORM.decode(foreign(subject="order-1", time="2026-01-01T00:00:00Z", traceparent="00-1", dataschema="u:x"))

    assert read == {
        "streamId": "order-1",
        "type": "com.example.paid",
        "data": {"sum": 1},
        "timeStamp": "2026-01-01T00:00:00Z",
        "metadata": {
            "cloudEventId": "A-1",
            "cloudEventSource": "https://shop.example",
            "dataschema": "u:x",
            "traceparent": "00-1",
        },
    }
    assert FORM.decode(foreign())["streamId"] == "https://shop.example"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (foreign(specversion="0.3"), "specversion is '0.3'"),
        ({"specversion": "1.0", "data": {}}, "id is missing; source is missing; type is missing"),
        (foreign(id=7), "id is not a text"),
        (foreign(data_base64="aGk="), "binary"),
        ({name: value for name, value in foreign().items() if name != "data"}, "data is missing"),
        (foreign(datacontenttype="text/plain"), "only JSON"),
        (foreign(source="/streams/s", id="A-1"), "no eventId"),
        (foreign(source="/streams/%ff", id="1"), "UTF-8"),
        (foreign(metadata="{"), "metadata is not JSON"),
        (foreign(metadata="[]"), "metadata is not a JSON object"),
        (event(), "it is no CloudEvent"),
    ],
)
def test_what_is_no_event_of_ours_is_refused_with_its_reason(value: dict[str, Any], said: str) -> None:
    with pytest.raises(BadLineError) as caught:
        FORM.decode(value)

    assert said in str(caught.value)


@pytest.mark.parametrize("content", ["application/json", "application/json; charset=utf-8", "application/x.y+json"])
def test_json_by_any_name_is_json(content: str) -> None:
    assert FORM.decode(foreign(datacontenttype=content))["data"] == {"sum": 1}
