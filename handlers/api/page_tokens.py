"""Page tokens: where a list continues, as opaque text that fits a query string.

A token is the unpadded base64url of its parts in UTF-8, joined by 0xFF. UTF-8 never contains that byte, so nothing is
escaped, and the length of a token is bounded by the lengths of its parts: every token that is issued is accepted.
"""

from __future__ import annotations

import base64
from typing import Any

from handlers.projection.definition import MAX_NAME_CHARACTERS
from handlers.projection.rows import MAX_KEY_BYTES
from handlers.store.limits import MAX_SAFE_INTEGER, MAX_STREAM_ID_BYTES

STREAMS, EVENTS, ROWS = "streams", "events", "rows"
"""Kinds of tokens: a token of one list is refused by the others."""

_SEPARATOR = b"\xff"

# The longest position is a row's: the kind, the projection, the stream, the generation and the key, and 4 separators.
MAX_TOKEN_BYTES = len(ROWS) + MAX_NAME_CHARACTERS + MAX_STREAM_ID_BYTES + len(str(MAX_SAFE_INTEGER)) + MAX_KEY_BYTES + 4
# 2,816 characters. API Gateway takes 10,240 bytes of request line and headers together ("Amazon API Gateway quotas").
MAX_TOKEN_CHARACTERS = -(-MAX_TOKEN_BYTES * 4 // 3)


def page_token(kind: str, *parts: str | int) -> str:
    """Return the token of a position.

    Raises
    ------
    ValueError
        The position is larger than any that the limits of the store and of the read models allow.
    """
    raw = _SEPARATOR.join(str(part).encode() for part in (kind, *parts))
    if len(raw) > MAX_TOKEN_BYTES:
        raise ValueError(f"a position of {len(raw):,} bytes; the limit is {MAX_TOKEN_BYTES:,}")
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def read_page_token(token: str, kind: str, *types: type[str] | type[int]) -> list[Any] | None:
    """Return the parts of a token; None where `page_token` would not write exactly this token for such parts."""
    if len(token) > MAX_TOKEN_CHARACTERS:
        return None
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        texts = [part.decode() for part in raw.split(_SEPARATOR)]
        parts = [wanted(text) for wanted, text in zip(types, texts[1:], strict=True)]
        return parts if page_token(kind, *parts) == token else None
    except ValueError:  # not base64, not UTF-8, not a number, or another number of parts
        return None
