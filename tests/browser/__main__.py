"""Attack the local target from a web page in a real browser: ``python -m tests.browser [--record]`` (``make browser-test``).

Starts a local target of its own, serves `hostile_page.html` from other origins, opens it in headless Chromium, and reports
every request that the browser sent to the target, with its answer. Fails where one was let through or had an effect.
``--record`` also writes the requests to ``recorded.json``, which ``tests/e2e/test_request_guard.py`` sends again.
"""

from __future__ import annotations

import http.client
import http.server
import json
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from tests.e2e.support import Machine, wait_until
from tests.support.aws import client

RECORDED = Path(__file__).with_name("recorded.json")
_PAGE = Path(__file__).with_name("hostile_page.html")
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--host-resolver-rules=MAP attacker.example 127.0.0.1",
)
# To the browser the first is another origin of the same site, the others are other sites.
_PAGE_HOSTS = ("127.0.0.1", "localhost", "attacker.example")
_TIMEOUT_S = 120
_HOP_BY_HOP = ("connection", "transfer-encoding", "keep-alive", "upgrade")
_SHOWN = ("sec-fetch", "origin", "access-control")


@dataclass
class Recorder:
    """Passes requests on to the emulator and keeps them with their answers.

    Attributes
    ----------
    origin
        Of the page that attacks.
    sent
        Requests with placeholders for the addresses of this run, and the ``status`` of each answer.
    """

    emulator_port: int
    port: int = 0
    origin: str = ""
    sent: list[dict[str, Any]] = field(default_factory=list)

    def handle(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        upstream = http.client.HTTPConnection("127.0.0.1", self.emulator_port, timeout=_TIMEOUT_S)
        headers = dict(handler.headers.items())
        passed_on = {name: value for name, value in headers.items() if name.lower() not in _HOP_BY_HOP}
        upstream.request(handler.command, handler.path, body or None, passed_on | {"Connection": "close"})
        answer = upstream.getresponse()
        content = answer.read()
        self.sent.append(
            {
                "method": handler.command,
                "target": handler.path,
                "headers": {name: self._without_addresses(value) for name, value in headers.items()},
                "body": body.decode(),
                "status": answer.status,
            }
        )
        handler.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in (*_HOP_BY_HOP, "content-length"):
                handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(content)

    def _without_addresses(self, value: str) -> str:
        return value.replace(self.origin, "{page}").replace(f"127.0.0.1:{self.port}", "{emulator}")


@dataclass
class Page:
    """Serves the hostile page and hears what came of its attacks."""

    outcomes: dict[str, str] = field(default_factory=dict)
    done: threading.Event = field(default_factory=threading.Event)

    def handle(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        content = b""
        if handler.command == "POST":
            self.outcomes = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
            self.done.set()
        elif urlsplit(handler.path).path == "/":
            content = _PAGE.read_bytes()
        handler.send_response(200)
        handler.send_header("Content-Type", "text/html")
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)


@contextmanager
def serving(served: Recorder | Page) -> Iterator[int]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def __getattr__(self, name: str) -> Any:
            if name.startswith("do_"):
                return lambda: served.handle(self)
            raise AttributeError(name)

        def log_message(self, *_: object) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """Ignore connections that the browser ends."""

    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


def browse(url: str, page: Page, last_request: Any) -> None:
    """Open the page; return when its attacks are over."""
    browser = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if browser is None:
        sys.exit("no Chromium on this machine: install it first (Debian: apt-get install chromium)")
    with tempfile.TemporaryDirectory(prefix="esctl-browser-", ignore_cleanup_errors=True) as profile:
        command = [browser, *_FLAGS, f"--user-data-dir={profile}", "--remote-debugging-port=0", url]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                if not page.done.wait(_TIMEOUT_S):
                    sys.exit("the page did not finish")
                wait_until(last_request, "the navigation of the page itself")
            finally:
                process.terminate()


@dataclass
class Victim:
    """The local target, looked at with its own credentials.

    Attributes
    ----------
    temporary
        The folder of temporary files that its functions see.
    secret
        The value of an API key that it holds.
    """

    variables: dict[str, str]
    temporary: Path
    secret: str = "a-secret-that-no-page-may-read"

    def __post_init__(self) -> None:
        self._client("apigateway").create_api_key(name="secret", value=self.secret, enabled=True)

    def made(self) -> list[str]:
        """Return the resources that the attacks created."""
        queues = self._client("sqs").list_queues().get("QueueUrls", [])
        stacks = self._client("cloudformation").list_stacks()["StackSummaries"]
        return [f"queue {url.rpartition('/')[2]}" for url in queues] + [f"stack {each['StackName']}" for each in stacks]

    def _client(self, service: str) -> Any:
        return client(service, self.variables["AWS_ENDPOINT_URL"], self.variables["AWS_ACCESS_KEY_ID"])


def attack(victim: Victim, host: str) -> tuple[list[dict[str, Any]], list[str]]:
    """Open the page, served under a host name; returns what the browser sent, and what was let through or came of it."""
    recorder, page = Recorder(urlsplit(victim.variables["AWS_ENDPOINT_URL"]).port or 0), Page()
    tag = f"from-{host.replace('.', '-')}"
    marker = victim.temporary / tag
    with serving(recorder) as recorder.port, serving(page) as port:
        recorder.origin = f"http://{host}:{port}"
        query = urlencode({"emulator": f"http://127.0.0.1:{recorder.port}", "tag": tag})
        last = f"{tag}-navigation"
        browse(f"{recorder.origin}/?{query}", page, lambda: any(last in each["target"] for each in recorder.sent))
    made = [each for each in victim.made() if tag in each]
    if f"stack {tag}-stack" in made:
        with suppress(AssertionError):  # where it does not, that is told below
            wait_until(marker.exists, "the code of the stack runs")
    effects = [
        f"{each['status']} {each['method']} {each['target'][:80]}" for each in recorder.sent if each["status"] != 403
    ]
    effects += made
    effects += [f"read the secret by {name}" for name, outcome in page.outcomes.items() if victim.secret in outcome]
    effects += [f"ran code: {marker.read_text().strip()}"] if marker.exists() else []
    if len(recorder.sent) <= len(page.outcomes):  # each attack is a request at least, and the page's navigation is one
        sys.exit(f"the browser held back attacks: {len(recorder.sent)} requests for {len(page.outcomes)} attacks")
    return recorder.sent, effects


def main(arguments: list[str]) -> int:
    recorded, failed = [], False
    with tempfile.TemporaryDirectory(prefix="esctl-browser-test-") as folder:
        machine = Machine(Path(folder))
        try:
            machine.esctl("local", "start").ok()
            variables = machine.esctl("local", "env", "-o", "json").ok().json
            victim = Victim(variables, machine.folder / "state" / "esctl" / "emulator" / "tmp")
            for host in _PAGE_HOSTS:
                sent, effects = attack(victim, host)
                for each in sent:
                    fetched = {
                        name: value for name, value in each["headers"].items() if name.lower().startswith(_SHOWN)
                    }
                    print(each["status"], each["method"], each["target"][:60], fetched)
                print(f"page on {host}: {len(sent)} requests, {len(effects)} let through or with an effect")
                for effect in effects:
                    print(f"  {effect}")
                recorded += [{"page": host, **each} for each in sent]
                failed = failed or bool(effects)
        finally:
            machine.esctl("local", "stop")
    if "--record" in arguments:
        lines = ",\n".join(json.dumps({name: each[name] for name in each if name != "status"}) for each in recorded)
        RECORDED.write_text(f"[\n{lines}\n]\n")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
