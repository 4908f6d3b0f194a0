"""The event store: append-only streams of events (rules E1 to E8)."""

from handlers.store.port import Appended, EventPage, EventStore, IdempotencyKey, ScanPage, StreamPage

__all__ = ["Appended", "EventPage", "EventStore", "IdempotencyKey", "ScanPage", "StreamPage"]
