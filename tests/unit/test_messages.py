"""The messages to projections and to the workers of replays."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.core.events import Event, EventId, StreamId
from handlers.core.messages import (
    MAX_MESSAGE_BYTES,
    Hint,
    decode,
    deduplication_id,
    encode,
    replay_entry,
    stream_hash,
    sweep_entry,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=100)


def event(data: str = "{}", stream_id: str = "s", **more: str | int | None) -> Event:
    return Event(StreamId(stream_id), EventId(7), "T", data, "2026-01-01T00:00:00.000Z", **more)  # type: ignore[arg-type]


@given(stream_id=TEXT, data=TEXT, metadata=st.none() | TEXT, version=st.integers(1, 5), fresh=st.booleans())
def test_a_hint_arrives_as_it_was_sent(
    stream_id: str, data: str, metadata: str | None, version: int, fresh: bool
) -> None:
    carried = event(data, stream_id, metadata=metadata, schema_version=version)
    for sent in (
        Hint(carried.stream_id, carried.event_id, carried, fresh),
        Hint(carried.stream_id, carried.event_id, None, fresh),
    ):
        text = encode(sent)
        assert decode(text) == sent
        assert text.isascii()
        assert text.isprintable()


@pytest.mark.parametrize("data", ["x" * MAX_MESSAGE_BYTES, "\U0001f600" * 9000, "\u0000" * 12_000])
def test_a_large_event_stays_in_the_store(data: str) -> None:
    carried = event(data)

    text = encode(Hint(carried.stream_id, carried.event_id, carried))

    assert len(text) <= MAX_MESSAGE_BYTES
    assert decode(text).event is None


def test_the_largest_event_that_fits_rides_along() -> None:
    empty = len(encode(Hint(StreamId("s"), EventId(7), event(""))))
    fits, too_large = event("x" * (MAX_MESSAGE_BYTES - empty)), event("x" * (MAX_MESSAGE_BYTES - empty + 1))

    assert len(encode(Hint(StreamId("s"), EventId(7), fits))) == MAX_MESSAGE_BYTES
    assert decode(encode(Hint(StreamId("s"), EventId(7), fits))).event == fits
    assert decode(encode(Hint(StreamId("s"), EventId(7), too_large))).event is None


def test_ids_are_hashes_that_sqs_takes() -> None:
    for text in (stream_hash("\u0000\U0001f600"), deduplication_id("\u0000", 1), deduplication_id("s", 1, "salt")):
        assert len(text) == 64
        assert set(text) <= set("0123456789abcdef")


def test_deduplication_tells_events_streams_and_triggers_apart() -> None:
    positions = [("a", 1, ""), ("a", 2, ""), ("b", 1, ""), ("a", 1, "x"), ("1#a", 1, ""), ("a", 11, "")]
    given_ = {deduplication_id(*each) for each in positions}

    assert len(given_) == 6
    assert deduplication_id("a", 1) == deduplication_id("a", 1)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"streamId":"s"}', '{"streamId":"s","eventId":"x"}', "null"])
def test_what_is_no_message_of_ours_is_told(text: str) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        decode(text)


def test_each_task_of_a_replay_is_a_group_of_its_own() -> None:
    entries = [replay_entry("orders", "r-1"), replay_entry("orders", "r-1", 0), replay_entry("orders", "r-1", 0)]

    assert [json.loads(each["MessageBody"]) for each in entries] == [
        {"projection": "orders", "replayId": "r-1"},
        {"projection": "orders", "replayId": "r-1", "segment": 0},
        {"projection": "orders", "replayId": "r-1", "segment": 0},
    ]
    assert len({each["MessageGroupId"] for each in entries}) == 3
    assert len({each["MessageDeduplicationId"] for each in entries}) == 3


def test_a_generation_is_swept_by_one_worker_at_a_time() -> None:
    first, again, rest = (sweep_entry("orders", 3), sweep_entry("orders", 3), sweep_entry("orders", 3, salt="x"))
    others = [sweep_entry("orders", 4), sweep_entry("items", 3)]

    assert json.loads(first["MessageBody"]) == {"projection": "orders", "sweep": 3}
    assert first == again
    assert rest["MessageGroupId"] == first["MessageGroupId"]
    assert rest["MessageDeduplicationId"] != first["MessageDeduplicationId"]
    assert first["MessageGroupId"] not in {each["MessageGroupId"] for each in others}
