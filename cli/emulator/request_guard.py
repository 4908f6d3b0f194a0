"""Authorize each request before the emulator receives it.

The emulator allows every origin, checks no signature of its administrator, and runs any code it receives. Without this
guard, a web page in a browser on this machine, or another user of it, could run programs as its owner.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from cli.config.targets import LOCAL_ACCOUNT

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = Sequence[tuple[bytes, bytes]]
"""Names are in lower case."""

# A subset of the paths that the emulator (`ministack.app._parse_execute_api_url`) routes to an API, and to nothing before
# it. `@connections` manages an API's WebSocket clients and is no route.
_API_ROUTE = re.compile(
    r"/restapis/[A-Za-z0-9]+/[\w$-]+/_user_request_(?!/@connections/)(?:/.*)?", re.DOTALL | re.ASCII
)
# Other host names select buckets, distributions or function URLs.
_API_HOST = re.compile(r"(?:127\.0\.0\.1|localhost)(?::\d{1,5})?", re.IGNORECASE | re.ASCII)
_HOST = re.compile(
    r"(?:127\.0\.0\.1|(?:[\w-]+\.)*localhost|(?:[\w-]+\.)+amazonaws\.com)(?::\d{1,5})?", re.IGNORECASE | re.ASCII
)
# Custom resources and wait conditions call back without credentials: the address itself, with a random UUID, is the
# secret, like the presigned URL on AWS.
_CALLBACK = re.compile(r"/_ministack/cfn-(?:response|signal)/[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.ASCII)
_AUTHORIZATION = re.compile(r"AWS4-HMAC-SHA256 +Credential=(\w+)/.+", re.ASCII)
# They would invalidate what esctl records about the stacks.
_ADMIN_PATHS = ("/_ministack/reset", "/_ministack/config")
_READ_PREFIXES = ("Get", "BatchGet", "TransactGet", "Query", "Scan", "Describe", "List", "Filter", "Tail")


def refusal(
    method: str, path: str, query: bytes, headers: Headers, *, access_key: str, is_issued: Callable[[str], bool]
) -> str | None:
    """Return why a request is refused; None if it is allowed. The path is decoded once, as the emulator receives it.

    Routes of the deployed API are open: the API checks its key, and with ``AUTH=iam`` signatures. Everything else needs an
    ``Authorization`` header with the access key id of this local target, or one that the emulator issued. A browser sends
    such a header to another origin only after a preflight, and preflights are refused.
    """
    fields = _fields(headers)
    host = fields.get("host", "")
    if _API_ROUTE.fullmatch(path) and _API_HOST.fullmatch(host):
        return None
    if not _HOST.fullmatch(host):
        return "The Host header is not an address of this local target."
    if method == "OPTIONS" or "origin" in fields or fields.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return "Web pages may only call the deployed API."
    parameters = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    if any(name.lower() == "action" or name.lower().startswith("x-amz-") for name, _ in parameters):
        return "Send the action in the body and the signature in the Authorization header, not in the query string."
    if path in _ADMIN_PATHS:
        return "Type: esctl local reset"
    if method == "PUT" and _CALLBACK.fullmatch(path):
        return None
    named = _AUTHORIZATION.fullmatch(fields.get("authorization", ""))
    if named is not None:
        if hmac.compare_digest(named[1], access_key):
            return None
        # The emulator checks their signature, but not on its own paths (`/_ministack/`, `/_aws/`).
        if not path.startswith("/_") and is_issued(named[1]):
            return None
    return 'Only for the credentials of this local target. Type: eval "$(esctl local env)"'


def _fields(headers: Headers) -> dict[str, str]:
    """Return the header fields; repeated ones are joined as in the emulator, so that both see the same."""
    fields: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        fields[name] = f"{fields[name]}, {value}" if name in fields else value
    return fields


def is_issued(access_key: str) -> bool:
    """Return whether the emulator of this process issued an access key id: to a user, or with a session still valid."""
    from ministack.core.iam_evaluator import ResolvedCredential, resolve_credential

    return isinstance(resolve_credential(access_key, LOCAL_ACCOUNT), ResolvedCredential)


class RequestGuard:
    """ASGI application that forwards requests without a `refusal` to the emulator.

    It sets ``started`` once the emulator has restored its data and can answer.
    """

    def __init__(self, app: App, started: asyncio.Event, *, access_key: str, is_issued: Callable[[str], bool]) -> None:
        self._app = app
        self._started = started
        self._access_key = access_key
        self._is_issued = is_issued
        self.activity = Activity()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, self._noting_start(send))
        elif scope["type"] == "http":
            await self._guard(scope, receive, send)
        else:
            await send({"type": "websocket.close"})

    async def _guard(self, scope: Scope, receive: Receive, send: Send) -> None:
        method, path, headers = str(scope["method"]), str(scope["path"]), scope["headers"]
        query = scope.get("query_string", b"")
        reason = refusal(method, path, query, headers, access_key=self._access_key, is_issued=self._is_issued)
        if reason is not None:
            await _refuse(send, headers, reason)
            return
        try:
            await self._app(scope, receive, send)
        finally:
            self.activity.note(headers, method, path)

    def _noting_start(self, send: Send) -> Send:
        async def noting(message: Any) -> None:
            await send(message)
            if message["type"] == "lifespan.startup.complete":
                self._started.set()

        return noting


async def _refuse(send: Send, headers: Headers, message: str) -> None:
    kind, body = _error_document(_fields(headers), message)
    answer = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 403, "headers": answer})
    await send({"type": "http.response.body", "body": body})


def _error_document(fields: Mapping[str, str], message: str) -> tuple[bytes, bytes]:
    """Return content type and body as the caller's SDK reads them: XML for the query protocol and S3, otherwise JSON."""
    is_query = fields.get("content-type", "").startswith("application/x-www-form-urlencoded")
    if is_query or ("x-amz-content-sha256" in fields and "x-amz-target" not in fields):
        error = f"<Error><Code>AccessDenied</Code><Message>{escape(message)}</Message></Error>"
        return b"text/xml", f"<ErrorResponse>{error}</ErrorResponse>".encode()
    return b"application/json", json.dumps({"__type": "AccessDenied", "message": message}).encode()


class Activity:
    """Counts requests that may have changed data."""

    def __init__(self) -> None:
        self.changes = 0

    def note(self, headers: Headers, method: str, path: str) -> None:
        if not is_read(_fields(headers).get("x-amz-target", ""), method, path):
            self.changes += 1


def is_read(target: str, method: str, path: str) -> bool:
    """Return whether a request is certain to change nothing, given its ``x-amz-target`` header or an empty string.

    Examples
    --------
    >>> is_read("DynamoDB_20120810.GetItem", "POST", "/"), is_read("DynamoDB_20120810.PutItem", "POST", "/")
    (True, False)
    """
    operation = target.rpartition(".")[2]
    if operation:
        return operation.startswith(_READ_PREFIXES)
    # A GET of the API runs a function, which logs.
    return method in ("GET", "HEAD") and "/_user_request_" not in path
