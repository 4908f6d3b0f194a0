"""The real API over models in memory, served over HTTP: what the commands are tested against where answers matter."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from cli.emulator.record import FOLDER
from cli.targets import LOCAL_ACCOUNT, LOCAL_REGION, Target
from handlers import runtime
from tests.unit.api.driver import Answer, Api
from tests.unit.cli.cli_driver import Esctl

BASE = "/restapis/abc/v1/_user_request_"
_KEY = "a-key-that-nobody-may-see"


class AnswerLost(Exception):
    """The call was made, and nobody hears the answer."""


@dataclass
class ServedApi:
    """What is deployed, and how often each route was called.

    Attributes
    ----------
    model
        The API; its ``work()`` lets the replay worker go.
    before
        Called with each route before it is answered.
    after
        Called with each route when it is done; what it raises loses the answer on its way.
    """

    model: Api = field(default_factory=Api)
    calls: list[tuple[str, Any]] = field(default_factory=list)
    before: Callable[[str], None] = lambda route: None
    after: Callable[[str], None] = lambda route: None
    port: int = 0

    def answer(self, method: str, target: str, body: str | None, headers: Mapping[str, str]) -> Answer:
        parts = urlsplit(target)
        resource, path = _resource(parts.path.removeprefix(BASE))
        route = f"{method} {resource}"
        self.before(route)
        self.calls.append((route, body))
        query = dict(parse_qsl(parts.query))
        answer = self.model.call(route, body or None, path=path or None, query=query or None, headers=headers)
        self.after(route)
        return answer

    def called(self, route: str) -> int:
        return sum(1 for each, _ in self.calls if each == route)


def _resource(path: str) -> tuple[str, dict[str, str]]:
    """The resource and its path parameters, as API Gateway finds them."""
    match path.strip("/").split("/"):
        case ["streams", stream_id, "events"]:
            return "/streams/{streamId}/events", {"streamId": unquote(stream_id)}
        case ["replays", replay_id]:
            return "/replays/{replayId}", {"replayId": unquote(replay_id)}
        case ["projections", name, what]:
            return f"/projections/{{name}}/{what}", {"name": unquote(name)}
    return path, {}


@contextmanager
def served(esctl: Esctl) -> Iterator[ServedApi]:
    """Serve an empty API, and make esctl believe that it is the deployed local stack's."""
    api = ServedApi()
    runtime.logger()  # made here, it does not write to what the commands take for their standard output

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._respond()

        def do_POST(self) -> None:
            self._respond()

        def _respond(self) -> None:
            size = int(self.headers.get("Content-Length", 0))
            try:
                answer = api.answer(self.command, self.path, self.rfile.read(size).decode(), dict(self.headers))
            except AnswerLost:
                self.close_connection = True
                return
            self.send_response(answer.status)
            for name, value in {**answer.headers, "Content-Length": str(len(answer.text.encode()))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.text.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    api.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    outputs = {"ApiUrl": "https://abc.execute-api.us-east-1.amazonaws.com/v1/", "ApiId": "abc", "EventsTable": "t-1"}
    esctl.state.write_json({"port": api.port}, FOLDER, "port.json")
    esctl.knows(Target("local", "esctl", LOCAL_REGION, account=LOCAL_ACCOUNT, outputs=outputs), key=_KEY)
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
