"""What the publisher sends: attributes to filter by, in batches that SNS accepts (P7, P8)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.core.events import Event, EventId, StreamId
from handlers.core.messages import MAX_MESSAGE_BYTES, MAX_START_BYTES, stream_hash, stream_start
from handlers.functions.publisher import publish
from handlers.store.limits import MAX_STREAM_ID_CHARACTERS

SNS_BATCH_BYTES = 256 * 1024


class Sns:
    """Accepts all entries, and takes note of them."""

    def __init__(self) -> None:
        self.batches: list[list[dict[str, Any]]] = []

    def publish_batch(self, **request: Any) -> dict[str, Any]:
        self.batches.append(request["PublishBatchRequestEntries"])
        return {}


def published(*events: Event) -> list[list[dict[str, Any]]]:
    sns = Sns()
    assert publish(events, sns, "arn") == len(events)
    return sns.batches


def event(event_id: int, stream_id: str = "s", data: str = "{}") -> Event:
    return Event(StreamId(stream_id), EventId(event_id), "T", data, "2026-01-01T00:00:00.000Z")


def size_of(entry: dict[str, Any]) -> int:
    """Return the bytes that SNS counts: the message, and the name, type and value of each attribute."""
    attributes = entry["MessageAttributes"].items()
    return len(entry["Message"]) + sum(len(name + each["DataType"] + each["StringValue"]) for name, each in attributes)


def test_a_message_can_be_filtered_by_stream_and_by_the_start_of_its_id() -> None:
    ((entry,),) = published(event(0, "ordér-7"))

    assert {name: each["StringValue"] for name, each in entry["MessageAttributes"].items()} == {
        "stream": stream_hash("ordér-7"),
        "start": "6f7264c3a9722d37",
    }


TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=MAX_START_BYTES // 4)


@given(prefix=TEXT, stream_id=TEXT)
def test_a_prefix_of_the_digits_is_a_prefix_of_the_id(prefix: str, stream_id: str) -> None:
    assert stream_start(prefix + stream_id).startswith(stream_start(prefix))
    assert stream_start(stream_id).startswith(stream_start(prefix)) == stream_id.startswith(prefix)


@pytest.mark.parametrize("stream_id", ["s", "\U0001f600" * MAX_STREAM_ID_CHARACTERS], ids=["short", "longest"])
def test_a_batch_is_as_large_as_sns_accepts_with_its_attributes(stream_id: str) -> None:
    batches = published(*(event(number, stream_id, "x" * (MAX_MESSAGE_BYTES - 4_000)) for number in range(10)))

    assert max(sum(map(size_of, batch)) for batch in batches) <= SNS_BATCH_BYTES
    assert min(len(batch) for batch in batches[:-1]) > 1


def test_small_messages_are_published_ten_at_a_time() -> None:
    batches = published(*(event(number, "x" * MAX_STREAM_ID_CHARACTERS) for number in range(25)))

    assert [len(batch) for batch in batches] == [10, 10, 5]
    assert max(size_of(entry) - len(entry["Message"]) for batch in batches for entry in batch) == 287
