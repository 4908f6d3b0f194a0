"""What an append will write, worked out before anything is written: pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from handlers.core.dynamodb import TRANSACTION_ITEMS
from handlers.core.errors import Fault, InvalidInputError
from handlers.core.events import Event, EventId, NewEvent, StreamId


@dataclass(frozen=True, slots=True)
class AppendPlan:
    """The events of one call, grouped.

    Attributes
    ----------
    events
        As given.
    expected
        For each stream, in the order of first appearance, the head that it must have; None for any.
    """

    events: tuple[NewEvent, ...]
    expected: Mapping[StreamId, int | None]

    def place(self, heads: Mapping[StreamId, int], time_stamp: str) -> tuple[Event, ...]:
        """Give every event its eventId after the known heads, and the time where it brings none."""
        following = {stream: head + 1 for stream, head in heads.items()}
        placed = []
        for event in self.events:
            event_id = following[event.stream_id]
            following[event.stream_id] = event_id + 1
            placed.append(
                Event(
                    stream_id=event.stream_id,
                    event_id=EventId(event_id),
                    type=event.type,
                    data=event.data,
                    time_stamp=event.time_stamp or time_stamp,
                    metadata=event.metadata,
                    schema_version=event.schema_version,
                )
            )
        return tuple(placed)


def plan_append(events: Sequence[NewEvent], *, guarded: bool) -> AppendPlan:
    """Group an append by stream and work out which head each stream must have.

    Raises
    ------
    InvalidInputError
        No events, more than a transaction holds, or expected versions of one stream that contradict each other.
    """
    limit = TRANSACTION_ITEMS - 1 if guarded else TRANSACTION_ITEMS
    if not 1 <= len(events) <= limit:
        because = ": the idempotency guard is one of the 100 items of a transaction" if guarded else ""
        raise InvalidInputError([Fault("/events", f"holds {len(events)} events, not 1 to {limit}{because}")])
    expected: dict[StreamId, int | None] = {}
    counted: dict[StreamId, int] = {}
    faults = []
    for index, event in enumerate(events):
        before = counted.get(event.stream_id, 0)
        counted[event.stream_id] = before + 1
        base = None if event.expected_version is None else event.expected_version - before
        if base is not None and base < -1:
            faults.append(Fault(f"/events/{index}/expectedVersion", "is below what the events before it lead to"))
        if expected.setdefault(event.stream_id, base) is None:
            expected[event.stream_id] = base
        elif base is not None and base != expected[event.stream_id]:
            faults.append(Fault(f"/events/{index}/expectedVersion", "contradicts an earlier event of the same stream"))
    if faults:
        raise InvalidInputError(faults)
    return AppendPlan(tuple(events), expected)
