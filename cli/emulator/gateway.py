"""What stands between the port and the emulator: it notes what may have changed, and keeps strangers from emptying it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

# They ask for no credentials, and any web page open in a browser on this machine could send them.
_ADMIN_PATHS = ("/_ministack/reset", "/_ministack/config")
_LOOPBACK = ("127.0.0.1", "localhost")
_HOST_SUFFIXES = (".localhost", ".amazonaws.com")
_READ_PREFIXES = ("Get", "BatchGet", "TransactGet", "Query", "Scan", "Describe", "List", "Filter", "Tail")


class Activity:
    """Counts what may have changed something that has to be saved."""

    def __init__(self) -> None:
        self.changes = 0

    def note(self, headers: list[tuple[bytes, bytes]], method: str, path: str) -> None:
        if not is_read(_header(headers, b"x-amz-target"), method, path):
            self.changes += 1


class Gateway:
    """The ASGI application that is served.

    Parameters
    ----------
    app
        The emulator.
    started
        Set when the emulator has restored what was saved and can answer.
    """

    def __init__(self, app: App, started: asyncio.Event) -> None:
        self._app = app
        self._started = started
        self.activity = Activity()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, self._noting_start(send))
            return
        if scope["type"] == "http":
            path = str(scope["path"])
            if path in _ADMIN_PATHS:
                await _refuse(send, "Type: esctl local reset")
                return
            if is_stranger(scope["headers"], path):
                await _refuse(send, "Only programs on this machine may call the emulator.")
                return
            try:
                await self._app(scope, receive, send)
            finally:
                self.activity.note(scope["headers"], scope["method"], path)
            return
        await self._app(scope, receive, send)

    def _noting_start(self, send: Send) -> Send:
        async def noting(message: Any) -> None:
            await send(message)
            if message["type"] == "lifespan.startup.complete":
                self._started.set()

        return noting


def is_read(target: str, method: str, path: str) -> bool:
    """Whether a request surely changes nothing.

    Parameters
    ----------
    target
        The ``x-amz-target`` header: ``DynamoDB_20120810.GetItem``; empty for services without it.

    Examples
    --------
    >>> is_read("DynamoDB_20120810.GetItem", "POST", "/"), is_read("DynamoDB_20120810.PutItem", "POST", "/")
    (True, False)
    """
    operation = target.rpartition(".")[2]
    if operation:
        return operation.startswith(_READ_PREFIXES)
    # A GET through the API runs a function, which logs; other GETs only look.
    return method in ("GET", "HEAD") and "/_user_request_" not in path


def _header(headers: list[tuple[bytes, bytes]], name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in headers if key == name), "")


def is_stranger(headers: list[tuple[bytes, bytes]], path: str) -> bool:
    """Whether a request comes from a web page of another site, open in a browser on this machine.

    The emulator allows every origin, asks for no credentials, and runs the code that it is given: any page could run a
    program here. SDKs send no ``Origin``; a page whose name was made to resolve to this machine gives itself away by its
    ``Host``. The deployed API itself has its key, and may be called from everywhere.
    """
    host = (urlsplit(f"//{_header(headers, b'host')}").hostname or "").lower()
    if host and host not in _LOOPBACK and not host.endswith(_HOST_SUFFIXES):
        return True
    origin = _header(headers, b"origin")
    return bool(origin) and "/_user_request_" not in path and urlsplit(origin).hostname not in _LOOPBACK


async def _refuse(send: Send, message: str) -> None:
    body = json.dumps({"message": message}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": body})
