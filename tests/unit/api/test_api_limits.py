"""The limits hold against what the store really writes."""

from __future__ import annotations

from typing import Any

import pytest

from handlers.core import lossless_json
from handlers.core.errors import TooLargeError
from handlers.core.events import Event, EventId, NewEvent, StreamId
from handlers.store import limits
from handlers.store.items import event_item


def item_bytes(item: dict[str, dict[str, str]]) -> int:
    """The size of an item of strings and numbers by DynamoDB's rules; a number has 21 bytes at most."""
    return sum(len(name.encode()) + (len(value["S"].encode()) if "S" in value else 21) for name, value in item.items())


@pytest.mark.parametrize("stream_id", ["s", "😀" * 256])
@pytest.mark.parametrize("metadata", [None, '{"actor":"ä"}'])
def test_the_counted_size_is_never_below_what_dynamodb_counts(stream_id: str, metadata: str | None) -> None:
    new = NewEvent(StreamId(stream_id), "T" * 128, '{"ä":"😀"}', metadata=metadata, schema_version=2**53 - 1)
    for event_id in (0, 2**53 - 1):
        event = Event(
            new.stream_id,
            EventId(event_id),
            new.type,
            new.data,
            "2026-11-23T10:15:30.123Z",
            new.metadata,
            new.schema_version,
        )
        real = item_bytes(event_item(event, "w" * 12))
        assert real <= limits.event_size_bytes(new) <= real + 200


def test_the_largest_event_that_is_accepted_fits_an_item() -> None:
    room = limits.MAX_EVENT_BYTES - limits.event_size_bytes(NewEvent(StreamId("s"), "T", '{"x":""}'))
    limits.check_sizes([NewEvent(StreamId("s"), "T", '{"x":"' + "y" * room + '"}')])
    with pytest.raises(TooLargeError):
        limits.check_sizes([NewEvent(StreamId("s"), "T", '{"x":"' + "y" * (room + 1) + '"}')])


@pytest.mark.parametrize(
    ("value", "expected"),
    [(1, 0), ({}, 1), ([[]], 2), ({"a": [{"b": 1}], "c": {}}, 3), (lossless_json.loads("[" * 900 + "]" * 900), 33)],
)
def test_depth_counts_nested_containers(value: Any, expected: int) -> None:
    assert limits.depth(value) == expected
