"""Something that answers over real HTTP, as the API that esctl believes to be deployed."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from cli.config.targets import LOCAL_REGION, LocalTarget, Target
from tests.unit.cli.cli_driver import Esctl

KEY = "a-key-that-nobody-may-see"
BASE = "/restapis/abc/v1/_user_request_"


class AnswerLost(Exception):
    """Nobody hears the answer: the connection ends without one."""


@dataclass(frozen=True)
class Reply:
    status: int
    text: str
    headers: Mapping[str, str]


Answering = Callable[[str, str, str, Mapping[str, str]], Reply]
"""Method, path with query, body and headers to a reply; raises `AnswerLost`."""


@contextmanager
def serving_http(answer: Answering) -> Iterator[int]:
    """Serve, in threads; yields the port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Head and body are two writes: with Nagle's algorithm the second waits 40 ms for the client's delayed ACK.
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            self._respond()

        def do_POST(self) -> None:
            self._respond()

        def _respond(self) -> None:
            text = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            try:
                reply = answer(self.command, self.path, text, dict(self.headers))
            except AnswerLost:
                self.close_connection = True
                return
            body = reply.text.encode()
            self.send_response(reply.status)
            for name, value in {**reply.headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def deployed_at_port(esctl: Esctl, port: int, *, name: str = "esctl") -> Target:
    """Make esctl believe that a local stack is deployed, whose API answers at that port."""
    outputs = {"ApiUrl": "https://abc.execute-api.us-east-1.amazonaws.com/v1/", "ApiId": "abc", "EventsTable": "t-1"}
    target = LocalTarget(name, LOCAL_REGION, outputs=outputs)
    esctl.has_local_target(port)
    return esctl.knows(target, key=KEY)
