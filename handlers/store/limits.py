"""What may be stored (E8): every limit in one place, checked before anything is written. Pure.

The checks return faults, so that a request learns all that is wrong with it at once; only sizes raise, because a
request that is too large is answered with its size rather than looked into.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from handlers.core.dynamodb_limits import ITEM_BYTES, NESTING_LEVELS, TRANSACTION_BYTES
from handlers.errors import Fault, TooLarge, pointer
from handlers.events import NewEvent

# A code point takes 4 bytes of UTF-8 at most, and a sort key, which the id is in the index of streams, holds 1,024.
MAX_STREAM_ID_CHARACTERS = 256
MAX_STREAM_ID_BYTES = 4 * MAX_STREAM_ID_CHARACTERS
MAX_TYPE_CHARACTERS = 128
# The margin is for attributes that later versions may add to an event.
ITEM_MARGIN_BYTES = 1024
MAX_EVENT_BYTES = ITEM_BYTES - ITEM_MARGIN_BYTES
# The idempotency guard is in the transaction too: a key, a hash and up to 99 heads, 4 KB at most.
MAX_APPEND_BYTES = TRANSACTION_BYTES - 16 * 1024
# Metadata is for a handful of ids; it is read whenever the event is.
MAX_METADATA_BYTES = 16 * 1024
MAX_METADATA_ID_CHARACTERS = 256
# The longest ARN of an identity: a user's, with a path of 512 characters, a name of 64 and some 40 around them (IAM and
# AWS STS quotas). What is recorded as an actor must be accepted again by an import.
MAX_ACTOR_CHARACTERS = 1024
_METADATA_TEXTS = {
    "correlationId": MAX_METADATA_ID_CHARACTERS,
    "causationId": MAX_METADATA_ID_CHARACTERS,
    "actor": MAX_ACTOR_CHARACTERS,
    "originalActor": MAX_ACTOR_CHARACTERS,
}
MAX_IDEMPOTENCY_KEY_CHARACTERS = 256
# Larger integers lose digits in JavaScript and other readers of JSON (RFC 8259, section 6).
MAX_SAFE_INTEGER = 2**53 - 1
# One event of 400 KB fits with room for escapes; whatever is larger is not read at all.
MAX_EVENT_BODY_BYTES = 1024 * 1024
# What a transaction holds. Lambda's own limit is 6 MB for the call, in which this text is escaped once more.
MAX_EVENTS_BODY_BYTES = 4 * 1024 * 1024

# Names of attributes, eventId, timeStamp, writeId, streamShard and schemaVersion of an event item, rounded up; the
# tests hold it against the items that the store makes.
_ITEM_OVERHEAD_BYTES = 192

# Types are names in code, commands, log queries and filters: visible ASCII compares the same everywhere, and has no
# look-alikes, no blanks to trim and no letters whose case depends on the locale. Names of CloudEvents and URIs fit.
_TYPE = re.compile(r"[!-~]{1,128}")


def idempotency_key_faults(key: str, place: str) -> list[Fault]:
    """Check an idempotency key: it travels in an HTTP header."""
    if 1 <= len(key) <= MAX_IDEMPOTENCY_KEY_CHARACTERS and key.isascii() and key.isprintable():
        return []
    return [Fault(place, f"is not 1 to {MAX_IDEMPOTENCY_KEY_CHARACTERS} printable ASCII characters")]


def stream_id_faults(value: Any, place: str) -> list[Fault]:
    """Check a stream id: 1 to 256 characters of any Unicode text that is not all blank."""
    if not isinstance(value, str):
        return [Fault(place, "is not a string")]
    if not 1 <= len(value) <= MAX_STREAM_ID_CHARACTERS:
        return [Fault(place, f"has {len(value):,} characters, not 1 to {MAX_STREAM_ID_CHARACTERS}")]
    if value.isspace():
        return [Fault(place, "is blank")]
    return _text_faults(value, place)


def type_faults(value: Any, place: str) -> list[Fault]:
    """Check an event type: 1 to 128 visible ASCII characters, kept as sent."""
    if not isinstance(value, str):
        return [Fault(place, "is not a string")]
    if not 1 <= len(value) <= MAX_TYPE_CHARACTERS:
        return [Fault(place, f"has {len(value):,} characters, not 1 to {MAX_TYPE_CHARACTERS}")]
    if not _TYPE.fullmatch(value):
        return [Fault(place, "holds something other than visible ASCII characters")]
    return []


def data_faults(value: Any, place: str) -> list[Fault]:
    """Check an event's data: a JSON object, nested 32 levels deep at most."""
    if not isinstance(value, dict):
        return [Fault(place, "is not a JSON object")]
    if depth(value) > NESTING_LEVELS:
        return [Fault(place, f"is nested more than {NESTING_LEVELS} levels deep")]
    return []


def metadata_faults(value: Any, place: str) -> list[Fault]:
    """Check metadata: a JSON object, whose well-known fields are strings of bounded length."""
    faults = data_faults(value, place)
    if faults:
        return faults
    for name, most in _METADATA_TEXTS.items():
        given = value.get(name, "-")
        if not isinstance(given, str) or not 1 <= len(given) <= most:
            faults.append(Fault(place + pointer(name), f"is not a string of 1 to {most:,} characters"))
    return faults


def integer_faults(value: Any, place: str, *, low: int, high: int = MAX_SAFE_INTEGER) -> list[Fault]:
    """Check a whole number between two bounds, both included; ``true`` and ``1.0`` are none."""
    if type(value) is int and low <= value <= high:  # bool is an int to isinstance
        return []
    return [Fault(place, f"is not a whole number from {low} to {high}")]


def depth(value: Any) -> int:
    """Return how many objects and arrays are nested: 0 for a scalar, 1 for ``{}``; counts to 33 and no further."""
    level, inside = 0, [value]
    while level <= NESTING_LEVELS:
        containers = [each for each in inside if isinstance(each, dict | list)]
        if not containers:
            return level
        level += 1
        inside = [inner for each in containers for inner in (each.values() if isinstance(each, dict) else each)]
    return level


def _text_faults(value: str, place: str) -> list[Fault]:
    try:
        value.encode()
    except UnicodeEncodeError:
        return [Fault(place, "holds an unpaired surrogate, which is not Unicode text")]
    return []


def event_size_bytes(event: NewEvent) -> int:
    """Return the size of an event as DynamoDB counts it, in bytes: all texts as UTF-8, and the names around them."""
    texts = (event.stream_id, event.type, event.data, event.metadata or "")
    return _ITEM_OVERHEAD_BYTES + sum(len(text.encode()) for text in texts)


def check_sizes(events: Sequence[NewEvent]) -> None:
    """Check the sizes of the events of one append.

    Raises
    ------
    TooLarge
        Metadata over 16 KB, an event over 399 KB, or all of them together over what a transaction holds.
    """
    total = 0
    for index, event in enumerate(events):
        name = "the event" if len(events) == 1 else f"event {index} of the request"
        metadata_bytes = len(event.metadata.encode()) if event.metadata else 0
        if metadata_bytes > MAX_METADATA_BYTES:
            raise TooLarge(f"the metadata of {name}", metadata_bytes, MAX_METADATA_BYTES)
        size = event_size_bytes(event)
        if size > MAX_EVENT_BYTES:
            raise TooLarge(name, size, MAX_EVENT_BYTES)
        total += size
    if total > MAX_APPEND_BYTES:
        raise TooLarge("the events together", total, MAX_APPEND_BYTES)
