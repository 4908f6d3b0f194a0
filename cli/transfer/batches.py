"""Read the lines of an import and group them into atomic, repeatable batches.

The grouping depends only on the file, so that a repeated import makes the same calls. Every stream belongs to one of eight
partitions. The batches of a partition are appended in sequence, which keeps the order of each stream; different partitions
are appended concurrently. A batch is one atomic call under an idempotency key. The key is a hash of all events of the
partition up to the end of the batch: it depends on content and position, but not on the number of connections.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from cli.transfer.files import BadLineError
from handlers import catalogue
from handlers.api.new_event import EventContext, read_event
from handlers.api.route import integer, record
from handlers.core.clock import parse_rfc3339, rfc3339
from handlers.core.errors import TooLargeError
from handlers.core.lossless_json import NotJsonError, dumps, loads
from handlers.core.validation import Validator
from handlers.store.limits import MAX_SAFE_INTEGER, check_sizes

# These three decide the keys: a changed value makes an interrupted import unable to recognise its own earlier calls.
PARTITIONS = 8
BATCH_EVENTS_MAX = 99  # a transaction holds 100 items; the idempotency record is one of them
# A function accepts 6 MB of text, in which the body is escaped once more: up to twice the size.
BATCH_BYTES_MAX = 2 * 1024 * 1024

# Whether a time is in the future is decided by the store's clock: this machine's may be wrong.
_ANY_TIME = EventContext(request_id="", caller=None, now=datetime(9000, 1, 1, tzinfo=UTC), strict=False, importing=True)

_positions = Validator(
    record(optional={"eventId": integer(0, MAX_SAFE_INTEGER - 1), "expectedVersion": integer(-1, MAX_SAFE_INTEGER - 1)})
)


@dataclass(frozen=True, slots=True)
class Incoming:
    """An event to be imported."""

    line: int  # its number in the file, from 1
    stream_id: str
    event_id: int | None  # None if the line leaves it to the store
    text: str  # the JSON that POST /addEvents accepts


def read_line(number: int, raw: bytes) -> Incoming:
    """Parse one line; raise `BadLineError` with everything in it that the store would reject."""
    try:
        value = loads(raw.decode())
        if not isinstance(value, dict):
            raise BadLineError(["it is not a JSON object"])
        event = dict(value)
        event_id = _pop_event_id(event)
        if event_id is not None:
            event["expectedVersion"] = event_id - 1
        new, faults = read_event(event, "", _ANY_TIME)
        if new is None or faults:
            raise BadLineError([f"{fault.pointer or 'the event'} {fault.detail}" for fault in faults])
        check_sizes([new])
    except UnicodeDecodeError as error:
        raise BadLineError(["it is not UTF-8 text"], number) from error
    except NotJsonError as error:
        raise BadLineError([f"it is not JSON: {str(error).replace('line 1, ', '')}"], number) from error
    except TooLargeError as error:
        raise BadLineError([error.detail], number) from error
    except BadLineError as error:
        raise BadLineError(error.faults, number) from error
    return Incoming(number, new.stream_id, event_id, dumps(event))


def _pop_event_id(event: dict[str, Any]) -> int | None:
    """Remove eventId and expectedVersion from an event; either gives its position."""
    given = {name: event.pop(name) for name in ("eventId", "expectedVersion") if name in event}
    faults = _positions(given)
    if faults:
        raise BadLineError([f"{fault.pointer} {fault.detail}" for fault in faults])
    meant = {value if name == "eventId" else value + 1 for name, value in given.items()}
    if len(meant) > 1:
        raise BadLineError([f"eventId {given['eventId']} and expectedVersion {given['expectedVersion']} contradict"])
    return meant.pop() if meant else None


def same_event(incoming: Incoming, stored: Mapping[str, Any]) -> bool:
    """Return whether a stored event equals a line: the type, every digit of the data, and whatever else the line gives."""
    event = loads(incoming.text)
    newest = catalogue.current_version(event["type"])
    if event["type"] != stored["type"] or _canonical(event["data"]) != _canonical(stored["data"]):
        return False
    if event.get("schemaVersion", newest) != stored.get("schemaVersion", 1):
        return False
    given, kept = dict(event.get("metadata") or {}), dict(stored.get("metadata") or {})
    if _pop_actor(given) not in (None, _pop_actor(kept)):
        return False
    if "timeStamp" in event:
        at = rfc3339(parse_rfc3339(event["timeStamp"]))
        return at == stored["timeStamp"] and _canonical(given) == _canonical(kept)
    # For an event without a time, the store has added metadata.
    return all(name in kept and _canonical(value) == _canonical(kept[name]) for name, value in given.items())


def _pop_actor(metadata: dict[str, Any]) -> Any:
    """Remove both actors from metadata; returns the original one.

    A store that checks signatures has replaced ``actor`` by the identity that imported the event.
    """
    actor = metadata.pop("actor", None)
    return metadata.pop("originalActor", actor)


def _canonical(value: Any) -> str:
    """Return a JSON value as text that does not depend on the order of names."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{dumps(name)}:{_canonical(value[name])}" for name in sorted(value)) + "}"
    if isinstance(value, list):
        return f"[{','.join(map(_canonical, value))}]"
    return dumps(value)


@dataclass(frozen=True, slots=True)
class Batch:
    """Events that are appended in one atomic call."""

    partition: int
    events: tuple[Incoming, ...]
    key: str

    @property
    def size_bytes(self) -> int:
        return sum(len(event.text) for event in self.events)

    def without(self, stored: set[int]) -> Batch:
        """Return the events whose lines are not stored yet, under a key of their own."""
        events = tuple(event for event in self.events if event.line not in stored)
        history = hashlib.sha256(self.key.encode())
        _extend(history, events)
        return Batch(self.partition, events, _key_of(history))


@dataclass(slots=True)
class _Partition:
    number: int
    history: Any  # a running SHA-256
    events: list[Incoming] = field(default_factory=list)
    size_bytes: int = 0
    # The last eventId of each stream in the events above.
    ends: dict[str, int] = field(default_factory=dict)

    def accepts(self, event: Incoming) -> bool:
        if not self.events:
            return True
        fits = len(self.events) < BATCH_EVENTS_MAX and self.size_bytes + _size_bytes(event) <= BATCH_BYTES_MAX
        # Events recognised by eventId and events recognised only by the key must not depend on each other.
        return fits and (event.event_id is None) == (self.events[-1].event_id is None)

    def add(self, event: Incoming) -> None:
        if event.event_id is not None:
            before = self.ends.get(event.stream_id)
            self.ends[event.stream_id] = event.event_id
            if before is not None and event.event_id != before + 1:
                fault = f"eventId {event.event_id} does not follow {before}, the previous one of the same stream"
                raise BadLineError([fault], event.line)
        self.events.append(event)
        self.size_bytes += _size_bytes(event)

    def close(self) -> Batch:
        events = tuple(self.events)
        _extend(self.history, events)
        self.events.clear()
        self.ends.clear()
        self.size_bytes = 0
        return Batch(self.number, events, _key_of(self.history))


class Batcher:
    """Groups events into batches. The same events under another name of the import have other keys."""

    def __init__(self, name: str = "") -> None:
        self._partitions = [
            _Partition(number, hashlib.sha256(f"{number}:{name}:".encode())) for number in range(PARTITIONS)
        ]

    def add(self, event: Incoming) -> Batch | None:
        """Add an event; return the batch that this completes, if any.

        Raise `BadLineError` if its eventId does not follow the previous one of its stream.
        """
        partition = self._partitions[partition_of(event.stream_id)]
        complete = None if partition.accepts(event) else partition.close()
        partition.add(event)
        return complete

    def rest(self) -> list[Batch]:
        """Return the incomplete batches, after the last event."""
        return [partition.close() for partition in self._partitions if partition.events]


def partition_of(stream_id: str) -> int:
    """Return the partition of a stream."""
    # Not the bytes that shard the list of streams: all neighbours in an export would be in one partition.
    return hashlib.sha256(stream_id.encode()).digest()[-1] % PARTITIONS


def _extend(history: Any, events: Sequence[Incoming]) -> None:
    for event in events:
        text = event.text.encode()
        history.update(b"%d:" % len(text) + text)
    history.update(b".")


def _key_of(history: Any) -> str:
    return f"import-{history.hexdigest()}"


def _size_bytes(event: Incoming) -> int:
    return len(event.text.encode()) + 1
