"""Which events of an import go into one call: decided by the file alone, so that a repeated import makes the same calls.

Every stream belongs to one of eight lanes. The chunks of a lane are appended one after another, which keeps the order of
each stream; those of different lanes at the same time. A chunk is one atomic call under an idempotency key. The key is a
hash of all that the lane had up to the chunk's end: content and position both count, the number of connections doesn't.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from cli.transfer.files import BadLineError
from cli.transfer.incoming import Incoming

# What follows decides the keys: after a change an import that was broken off before it does not recognise its own calls.
LANES = 8
# A transaction holds 100 items; the idempotency guard is one of them.
CHUNK_EVENTS_MAX = 99
# A function takes 6 MB of text, in which the body is escaped once more: at worst twice the size.
CHUNK_BYTES_MAX = 2 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Chunk:
    """Events that are appended together or not at all."""

    lane: int
    events: tuple[Incoming, ...]
    key: str

    @property
    def size_bytes(self) -> int:
        return sum(len(event.text) for event in self.events)


@dataclass(slots=True)
class _Lane:
    number: int
    history: Any  # a running SHA-256
    events: list[Incoming] = field(default_factory=list)
    size_bytes: int = 0
    # The last eventId of each stream in the events above.
    ends: dict[str, int] = field(default_factory=dict)

    def takes(self, event: Incoming) -> bool:
        if not self.events:
            return True
        fits = len(self.events) < CHUNK_EVENTS_MAX and self.size_bytes + _size_bytes(event) <= CHUNK_BYTES_MAX
        # What is known by its eventId and what is known only by the key must not depend on each other.
        return fits and (event.event_id is None) == (self.events[-1].event_id is None)

    def add(self, event: Incoming) -> None:
        if event.event_id is not None:
            before = self.ends.get(event.stream_id)
            self.ends[event.stream_id] = event.event_id
            if before is not None and event.event_id != before + 1:
                fault = f"eventId {event.event_id} does not follow {before}, the one before it of the same stream"
                raise BadLineError([fault], event.line)
        self.events.append(event)
        self.size_bytes += _size_bytes(event)

    def close(self) -> Chunk:
        events = tuple(self.events)
        extend(self.history, events)
        self.events.clear()
        self.ends.clear()
        self.size_bytes = 0
        return Chunk(self.number, events, key_of(self.history))


class Chunker:
    """Sorts events into chunks.

    Parameters
    ----------
    name
        Names the import: the same events under another name are other chunks.
    """

    def __init__(self, name: str = "") -> None:
        self._lanes = [_Lane(number, _history(name, number)) for number in range(LANES)]

    def add(self, event: Incoming) -> Chunk | None:
        """Take one event; returns the chunk that is complete by it.

        Raises
        ------
        BadLineError
            Its eventId does not follow that of the event before it.
        """
        lane = self._lanes[lane_of(event.stream_id)]
        complete = None if lane.takes(event) else lane.close()
        lane.add(event)
        return complete

    def rest(self) -> list[Chunk]:
        """The last chunks, when no event is left."""
        return [lane.close() for lane in self._lanes if lane.events]


def lane_of(stream_id: str) -> int:
    """The lane of a stream."""
    # Not the bytes that shard the list of streams: all neighbours in an export would be in one lane.
    return hashlib.sha256(stream_id.encode()).digest()[-1] % LANES


def derived_key(key: str, events: Sequence[Incoming]) -> str:
    """The key of what is left of a chunk when some of it was there already."""
    history = hashlib.sha256(key.encode())
    extend(history, events)
    return key_of(history)


def extend(history: Any, events: Sequence[Incoming]) -> None:
    for event in events:
        text = event.text.encode()
        history.update(b"%d:" % len(text) + text)
    history.update(b".")


def key_of(history: Any) -> str:
    return f"import-{history.hexdigest()}"


def _history(name: str, lane: int) -> Any:
    return hashlib.sha256(f"{lane}:{name}:".encode())


def _size_bytes(event: Incoming) -> int:
    return len(event.text.encode()) + 1
