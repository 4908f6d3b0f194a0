"""The limits of what may be stored (E8), and the checks that a schema cannot express. Pure.

The schemas in `handlers.api.schemas` check lengths and ranges of single fields.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from handlers.core.dynamodb import ITEM_BYTES, NESTING_LEVELS, TRANSACTION_BYTES
from handlers.core.errors import TooLargeError
from handlers.core.events import NewEvent

# At most 4 bytes of UTF-8 per code point, and 1,024 bytes per sort key, which the id is in the index of streams.
MAX_STREAM_ID_CHARACTERS = 256
# Types appear in code, commands, log queries and filters: visible ASCII compares the same everywhere, without look-alikes,
# spaces to trim or locale-dependent case. URIs fit.
MAX_TYPE_CHARACTERS = 128
# Reserved for attributes that later versions may add to an event.
ITEM_MARGIN_BYTES = 1024
MAX_EVENT_BYTES = ITEM_BYTES - ITEM_MARGIN_BYTES
# The transaction includes the idempotency record: a key, a hash and up to 99 heads, at most 4 KB.
MAX_APPEND_BYTES = TRANSACTION_BYTES - 16 * 1024
# Metadata is for a few ids; every read of the event reads it too.
MAX_METADATA_BYTES = 16 * 1024
MAX_METADATA_ID_CHARACTERS = 256
# The longest ARN of an identity is a user's: a path of 512 characters, a name of 64 and about 40 more (IAM and AWS STS
# quotas). An import must accept every recorded actor.
MAX_ACTOR_CHARACTERS = 1024
MAX_IDEMPOTENCY_KEY_CHARACTERS = 256
# Larger integers lose digits in JavaScript and other JSON parsers (RFC 8259, section 6).
MAX_SAFE_INTEGER = 2**53 - 1
# One event of 400 KB fits with room for escapes; larger bodies are rejected unread.
MAX_EVENT_BODY_BYTES = 1024 * 1024
# The size of a transaction. Lambda's limit is 6 MB for an invocation, in which this text is escaped again.
MAX_EVENTS_BODY_BYTES = 4 * 1024 * 1024

# Attribute names, eventId, timeStamp, writeId, streamShard and schemaVersion of an event item, rounded up; a test compares
# it with real items.
_ITEM_OVERHEAD_BYTES = 192


def depth(value: Any) -> int:
    """Return the nesting depth of objects and arrays: 0 for a scalar, 1 for ``{}``; stops counting at 33."""
    level, inside = 0, [value]
    while level <= NESTING_LEVELS:
        containers = [each for each in inside if isinstance(each, dict | list)]
        if not containers:
            return level
        level += 1
        inside = [inner for each in containers for inner in (each.values() if isinstance(each, dict) else each)]
    return level


def event_size_bytes(event: NewEvent) -> int:
    """Return the size of an event in bytes as DynamoDB counts it: UTF-8 texts and attribute names."""
    texts = (event.stream_id, event.type, event.data, event.metadata or "")
    return _ITEM_OVERHEAD_BYTES + sum(len(text.encode()) for text in texts)


def check_sizes(events: Sequence[NewEvent]) -> None:
    """Check the sizes of the events of one append.

    Raises
    ------
    TooLargeError
        Metadata over 16 KB, an event over 399 KB, or the events together over the size of a transaction.
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
