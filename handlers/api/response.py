"""Responses: JSON documents, pages with their tokens, and problem documents (RFC 9457)."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from handlers.core import lossless_json
from handlers.core.errors import EsError, Fault, InvalidInputError
from handlers.projection.keys import MAX_KEY_BYTES
from handlers.store.limits import MAX_SAFE_INTEGER

JSON = "application/json"
PROBLEM = "application/problem+json"
PROBLEM_TYPES = "urn:esctl:problem:"

# Lambda's limit for the JSON text of the whole proxy response, in which the body is one string ("Response payload size
# exceeded maximum allowed payload size (6291556 bytes)").
MAX_LAMBDA_RESPONSE_BYTES = 6_291_556
# For status, headers and the fields of a page next to its list: the page token is the largest, under 3 KB.
RESERVED_BYTES = 16 * 1024

# A body of a megabyte can have a million faults; the first hundred are enough to fix it.
MAX_FAULTS = 100
# A client's key may be as long as the body: a response must not repeat it a hundred times.
MAX_POINTER_CHARACTERS = 512


class TokenKind(StrEnum):
    """The list that a page token belongs to; the other lists refuse it."""

    STREAMS = "streams"
    EVENTS = "events"
    ROWS = "rows"


_SEPARATOR = b"\xff"  # UTF-8 never contains it, so nothing is escaped, and a token's length is bounded by its parts'

# The longest position is a row's in an index: its sort value, its key, and what separates them.
MAX_POSITION_BYTES = 2 * MAX_KEY_BYTES + 52
# With it: the kind, a checksum, the generation, and 3 separators.
MAX_TOKEN_BYTES = len(TokenKind.ROWS) + 16 + len(str(MAX_SAFE_INTEGER)) + MAX_POSITION_BYTES + 3
# 2,852 characters. API Gateway takes 10,240 bytes of request line and headers together ("Amazon API Gateway quotas").
MAX_TOKEN_CHARACTERS = -(-MAX_TOKEN_BYTES * 4 // 3)


@dataclass(frozen=True, slots=True)
class Response:
    """Status, text of the body, headers."""

    status: int
    body: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def to_gateway(self) -> dict[str, Any]:
        """Return the response of API Gateway's proxy integration."""
        return {
            "statusCode": self.status,
            "headers": {"Content-Type": JSON, **self.headers},
            "body": self.body,
            "isBase64Encoded": False,
        }


def json_response(status: int, value: object, headers: Mapping[str, str] | None = None) -> Response:
    """Return a JSON response; numbers keep every digit."""
    return Response(status, lossless_json.dumps(value), headers or {})


def page_response(name: str, texts: Sequence[str], rest: Mapping[str, Any]) -> Response:
    """Return a page: a list of JSON texts, and further fields."""
    fields = [f'"{name}":[{",".join(texts)}]', *([lossless_json.dumps(rest)[1:-1]] if rest else [])]
    return Response(200, f"{{{','.join(fields)}}}")


def fitting(texts: Iterable[str], room_bytes: int = MAX_LAMBDA_RESPONSE_BYTES - RESERVED_BYTES) -> list[str]:
    r"""Return the JSON texts that fit one page: the first, and more up to Lambda's limit, or a part of it.

    One event or row always fits: it has 400 KB at most, and a control character, the worst case, grows sevenfold
    (to ``\u0001``).
    """
    held: list[str] = []
    left = room_bytes
    for text in texts:
        # The runtime escapes quotes and backslashes, some versions all non-ASCII too. The quotes of `dumps` allow for
        # the comma.
        left -= len(json.dumps(text))
        if held and left < 0:
            break
        held.append(text)
    return held


def page_token(kind: TokenKind, *parts: str | int) -> str:
    """Return the token of a position in a list: the unpadded base64url of its parts.

    Raises
    ------
    ValueError
        The position is longer than the limits of the store and of the read models allow.
    """
    raw = _SEPARATOR.join(str(part).encode() for part in (kind, *parts))
    if len(raw) > MAX_TOKEN_BYTES:
        raise ValueError(f"a position of {len(raw):,} bytes; the limit is {MAX_TOKEN_BYTES:,}")
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def read_page_token(token: str, kind: TokenKind, *types: type[str] | type[int]) -> list[Any] | None:
    """Return the parts of a token; None unless `page_token` would return exactly this token for them."""
    if len(token) > MAX_TOKEN_CHARACTERS:
        return None
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        texts = [part.decode() for part in raw.split(_SEPARATOR)]
        parts = [wanted(text) for wanted, text in zip(types, texts[1:], strict=True)]
        return parts if page_token(kind, *parts) == token else None
    except ValueError:  # not base64, not UTF-8, not a number, or another number of parts
        return None


def problem(error: EsError, request_id: str) -> Response:
    """Return the problem document of an error: every fault, each with its place."""
    document: dict[str, object] = {
        "type": PROBLEM_TYPES + error.type,
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "instance": request_id,
    }
    if isinstance(error, InvalidInputError):
        document["detail"] = _summary(error.faults)
        document["errors"] = [_fault(each) for each in error.faults[:MAX_FAULTS]]
        if len(error.faults) > MAX_FAULTS:
            document["errorsOmitted"] = len(error.faults) - MAX_FAULTS
    for name, value in error.extra.items():
        document.setdefault(name, value)
    headers = {"Content-Type": PROBLEM}
    if error.status == 503:
        headers["Retry-After"] = "1"
    return json_response(error.status, document, headers)


def _summary(faults: tuple[Fault, ...]) -> str:
    shown = "; ".join(f"{_shortened(each.pointer) or 'the body'} {each.detail}" for each in faults[:3])
    return shown if len(faults) <= 3 else f"{shown}; and {len(faults) - 3} more"


def _fault(fault: Fault) -> dict[str, str]:
    place, separator, name = fault.pointer.partition(":")
    if separator and place in {"query", "header", "path"}:
        return {"in": place, "name": _shortened(name), "detail": fault.detail}
    return {"pointer": _shortened(fault.pointer), "detail": fault.detail}


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_POINTER_CHARACTERS else text[: MAX_POINTER_CHARACTERS - 1] + "…"
