"""What may be stored (E8): every limit in one place, checked before anything is written. Pure.

Lengths and ranges of single fields are part of the schemas in `handlers.api.schemas`; here is what a schema cannot say.
The checks return faults, so that a request learns all that is wrong with it at once; only sizes raise, because a
request that is too large is answered with its size rather than examined.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from handlers.core.dynamodb import ITEM_BYTES, NESTING_LEVELS, TRANSACTION_BYTES
from handlers.core.errors import TooLargeError
from handlers.core.events import NewEvent

# A code point takes 4 bytes of UTF-8 at most, and a sort key, which the id is in the index of streams, holds 1,024.
MAX_STREAM_ID_CHARACTERS = 256
MAX_STREAM_ID_BYTES = 4 * MAX_STREAM_ID_CHARACTERS
# Types are names in code, commands, log queries and filters: visible ASCII compares the same everywhere, and has no
# look-alikes, no blanks to trim and no letters whose case depends on the locale. Names of CloudEvents and URIs fit.
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


def event_size_bytes(event: NewEvent) -> int:
    """Return the size of an event as DynamoDB counts it, in bytes: all texts as UTF-8, and the names around them."""
    texts = (event.stream_id, event.type, event.data, event.metadata or "")
    return _ITEM_OVERHEAD_BYTES + sum(len(text.encode()) for text in texts)


def check_sizes(events: Sequence[NewEvent]) -> None:
    """Check the sizes of the events of one append.

    Raises
    ------
    TooLargeError
        Metadata over 16 KB, an event over 399 KB, or all of them together over what a transaction holds.
    """
    total = 0
    for index, event in enumerate(events):
        name = "the event" if len(events) == 1 else f"event {index} of the request"
        metadata_bytes = len(event.metadata.encode()) if event.metadata else 0
        if metadata_bytes > MAX_METADATA_BYTES:
            raise TooLargeError(f"the metadata of {name}", metadata_bytes, MAX_METADATA_BYTES)
        size = event_size_bytes(event)
        if size > MAX_EVENT_BYTES:
            raise TooLargeError(name, size, MAX_EVENT_BYTES)
        total += size
    if total > MAX_APPEND_BYTES:
        raise TooLargeError("the events together", total, MAX_APPEND_BYTES)
