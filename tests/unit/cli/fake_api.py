"""The deployed API over real HTTP, with an event store and a read model of a few lines."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cli.emulator.record import FOLDER
from cli.targets import LOCAL_ACCOUNT, LOCAL_REGION, Target
from handlers.exactjson import dumps, loads
from handlers.projections.test_items import TEST_STREAM, items
from tests.unit.cli.cli_driver import Esctl

KEY = "a-key-that-nobody-may-see"
BASE = "/restapis/abc/v1/_user_request_"


@dataclass(frozen=True)
class Call:
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any


@dataclass
class FakeApi:
    """What the API stores, what it was asked, and what it is told to answer instead.

    Attributes
    ----------
    answers
        ``(status, document)`` to give to the next calls, before anything is stored.
    lag
        How many looks at the list it takes until new events are in it.
    fold
        False: the projection ignores every event.
    """

    port: int = 0
    calls: list[Call] = field(default_factory=list)
    events: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    answers: list[tuple[int, Any]] = field(default_factory=list)
    drops: int = 0
    lag: int = 0
    fold: bool = True
    page_size: int = 1000
    _projected: int = 0
    _keys: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{BASE}"

    def answer(self, call: Call) -> tuple[int, Any, dict[str, str]]:
        self.calls.append(call)
        if self.answers:
            return *self.answers.pop(0), {}
        if call.headers.get("x-api-key") != KEY:
            return 403, {"message": "Forbidden"}, {}
        if (call.method, call.path) == ("POST", "/addEvent"):
            return self._append(call)
        if (call.method, call.path) == ("GET", "/listTestItems"):
            return 200, self._list(call.query), {}
        if (call.method, call.path) == ("POST", "/triggerReplay"):
            return 202, self._replay(), {}
        if (call.method, call.path) == ("GET", "/replays/r-1"):
            return 200, self._replay(), {}
        return 404, {"title": "Not found", "detail": f"there is no {call.path} here"}, {}

    def _replay(self) -> dict[str, Any]:
        """A replay that is done as soon as it is asked for."""
        head = len(self.events.get(TEST_STREAM, [])) - 1
        counts = {"head": head, "eventsDone": head + 1, "eventsPerSecond": 100}
        return {"replayId": "r-1", "kind": "replay", "projection": "test-items", "state": "done", **counts}

    def _append(self, call: Call) -> tuple[int, Any, dict[str, str]]:
        key = call.headers["Idempotency-Key"]
        if key in self._keys:
            return 201, self._keys[key], {"Idempotent-Replayed": "true"}
        stream = self.events.setdefault(call.body["streamId"], [])
        expected = call.body.get("expectedVersion", len(stream) - 1)
        if expected != len(stream) - 1:
            return 409, {"title": "Version conflict", "detail": f"the head is {len(stream) - 1}"}, {}
        event = {"streamId": call.body["streamId"], "eventId": len(stream), "type": call.body["type"]}
        stream.append(call.body)
        self._keys[key] = event
        return 201, event, {}

    def _list(self, query: Mapping[str, str]) -> dict[str, Any]:
        stream = self.events.get(TEST_STREAM, [])
        if self.lag:
            self.lag -= 1
        else:
            self._projected = len(stream)
        rows: dict[str, Any] = {}
        for event in stream[: self._projected] if self.fold else []:
            handler = items.handlers.get(event["type"])
            if handler is not None:
                key = event["data"]["itemId"]
                rows[key] = handler(rows.get(key), event["data"])
        listed = [{"itemId": key, **row} for key, row in sorted(rows.items()) if row]
        start = int(query.get("nextToken", "0"))
        end = start + min(int(query.get("limit", self.page_size)), self.page_size)
        following = str(end) if end < len(listed) else None
        return {"items": listed[start:end], "checkpoint": self._projected - 1, "nextToken": following}


@contextmanager
def serving(api: FakeApi) -> Iterator[FakeApi]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._respond()

        def do_POST(self) -> None:
            self._respond()

        def _respond(self) -> None:
            size = int(self.headers.get("Content-Length", 0))
            text = self.rfile.read(size).decode()
            parts = urlsplit(self.path)
            if api.drops:
                api.drops -= 1
                self.close_connection = True
                return
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            call = Call(
                self.command, parts.path.removeprefix(BASE), query, dict(self.headers), loads(text) if text else None
            )
            status, document, headers = api.answer(call)
            body = document.encode() if isinstance(document, str) else dumps(document).encode()
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    api.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def deployed_at(esctl: Esctl, api: FakeApi, *, name: str = "esctl") -> Target:
    """Make esctl believe that a local stack is deployed, whose API is the fake one."""
    outputs = {"ApiUrl": "https://abc.execute-api.us-east-1.amazonaws.com/v1/", "ApiId": "abc", "EventsTable": "t-1"}
    target = Target("local", name, LOCAL_REGION, account=LOCAL_ACCOUNT, outputs=outputs)
    esctl.state.write_json({"port": api.port}, FOLDER, "port.json")
    return esctl.knows(target, key=KEY)
