"""An API Gateway proxy event (REST API, payload version 1.0) as a plain record.

API Gateway leaves path parameters percent-encoded, and so must they be decoded here; the embedded emulator decodes
them before. A stream id that would suffer from a second decoding, or that a URL cannot carry (a slash, ``..``), goes
as ``~`` and the unpadded base64url of its UTF-8 text instead: `path_segment` writes it, both ways of delivery keep it.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from handlers.errors import Fault, InvalidInput, TooLarge

_PLAIN_SEGMENT = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asked for.

    Attributes
    ----------
    resource
        The route as the API declares it (``/streams/{streamId}/events``).
    path
        Path parameters as delivered; `path_value` decodes one.
    query
        Query parameters, each with all its values.
    headers
        By lower-case name.
    body
        As delivered; `text` decodes it.
    request_id
        The API request's id.
    caller
        ARN of the IAM identity that signed the request, where API Gateway checked one.
    """

    method: str
    resource: str
    path: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    is_base64: bool = False
    request_id: str = ""
    caller: str | None = None

    def text(self, limit_bytes: int) -> str:
        """Return the body as text.

        Raises
        ------
        TooLarge
            It is longer than the limit.
        InvalidInput
            It is no UTF-8 text.
        """
        try:
            raw = base64.b64decode(self.body) if self.is_base64 else self.body.encode(errors="surrogatepass")
            if len(raw) > limit_bytes:
                raise TooLarge("the request body", len(raw), limit_bytes)
            return raw.decode()
        except (binascii.Error, UnicodeDecodeError) as error:
            raise InvalidInput([Fault("", "is not UTF-8 text")]) from error

    def path_value(self, name: str) -> str:
        """Return a path parameter, decoded.

        Raises
        ------
        InvalidInput
            It is neither percent-encoded UTF-8 nor, after a ``~``, base64url of UTF-8.
        """
        given = self.path.get(name, "")
        try:
            if given.startswith("~"):
                padded = given[1:] + "=" * (-len(given[1:]) % 4)
                return base64.b64decode(padded, altchars=b"-_", validate=True).decode()
            return unquote(given, errors="strict")
        except (ValueError, binascii.Error) as error:
            raise InvalidInput([Fault(f"path:{name}", "is not percent-encoded UTF-8 text")]) from error


def path_segment(value: str) -> str:
    """Write a value as a path segment that every client, gateway and emulator delivers unchanged."""
    if _PLAIN_SEGMENT.fullmatch(value):
        return value
    return "~" + base64.urlsafe_b64encode(value.encode()).decode().rstrip("=")


def parse_request(event: Mapping[str, Any]) -> Request:
    """Read a proxy event; whatever is missing or ``null`` in it counts as empty."""
    context = event.get("requestContext") or {}
    headers = {name: values[-1] for name, values in (event.get("multiValueHeaders") or {}).items() if values}
    headers |= event.get("headers") or {}
    query = {name: (value,) for name, value in (event.get("queryStringParameters") or {}).items()}
    query |= {name: tuple(all_) for name, all_ in (event.get("multiValueQueryStringParameters") or {}).items() if all_}
    return Request(
        method=str(event.get("httpMethod") or ""),
        resource=str(event.get("resource") or event.get("path") or ""),
        path=event.get("pathParameters") or {},
        query=query,
        headers={name.lower(): str(value) for name, value in headers.items()},
        body=str(event.get("body") or ""),
        is_base64=bool(event.get("isBase64Encoded")),
        request_id=str(context.get("requestId") or ""),
        caller=(context.get("identity") or {}).get("userArn") or None,
    )
