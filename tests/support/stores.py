"""Event stores for tests, and events to put in them."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from handlers.core.clock import attempts
from handlers.core.events import Event, NewEvent, StreamId
from handlers.store import EventStore
from handlers.store.dynamodb import DynamoDbEventStore
from tests.support.tables import make_event_tables

StoreFactory = Callable[[], EventStore]
"""Each call returns a store over the same streams, as another process would have one."""

STREAM = StreamId("orders-1")

PATIENCE_S = 120.0


def dynamodb_stores(client: Any) -> StoreFactory:
    """Stores over fresh tables; each instance knows nothing at first.

    They keep at it for longer than in production, so that a busy machine is not taken for contention.
    """
    tables = make_event_tables(client)
    return lambda: DynamoDbEventStore(
        client,
        events_table=tables.events,
        idempotency_table=tables.idempotency,
        retries=lambda backoff: attempts(replace(backoff, deadline_s=PATIENCE_S)),
    )


def new_event(
    stream_id: str = STREAM, data: str = '{"itemId":"1"}', *, expected_version: int | None = None, **more: Any
) -> NewEvent:
    return NewEvent(StreamId(stream_id), more.pop("type", "ITEM_CREATED"), data, expected_version, **more)


def numbered(count: int, stream_id: str = STREAM) -> list[NewEvent]:
    """Events that say which they are."""
    return [new_event(stream_id, f'{{"itemId":"{number}"}}') for number in range(count)]


def whole_stream(store: EventStore, stream_id: str = STREAM) -> list[Event]:
    """Read a stream from its first to its last event, page after page."""
    events: list[Event] = []
    more = True
    while more:
        page = store.read(StreamId(stream_id), len(events))
        events += page.events
        more = page.more
    return events
