"""The real API over models in memory, served over HTTP: what the commands are tested against where answers matter."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from handlers import runtime
from tests.unit.api.driver import Answer, Api
from tests.unit.cli.cli_driver import Esctl
from tests.unit.cli.http_server import BASE, AnswerLostError, Reply, deployed_at_port, serving_http

__all__ = ["AnswerLostError", "ServedApi", "served"]


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
    caller
        The identity that signs the requests, as API Gateway tells it; None without AUTH=iam.
    """

    model: Api = field(default_factory=Api)
    calls: list[tuple[str, Any]] = field(default_factory=list)
    before: Callable[[str], None] = lambda route: None
    after: Callable[[str], None] = lambda route: None
    port: int = 0
    caller: str | None = None

    def answer(self, method: str, target: str, body: str | None, headers: Mapping[str, str]) -> Answer:
        parts = urlsplit(target)
        resource, path = _resource(self.model, parts.path.removeprefix(BASE))
        route = f"{method} {resource}"
        self.before(route)
        self.calls.append((route, body))
        query = dict(parse_qsl(parts.query))
        answer = self.model.call(
            route, body or None, path=path or None, query=query or None, headers=headers, caller=self.caller
        )
        self.after(route)
        return answer

    def called(self, route: str) -> int:
        return sum(1 for each, _ in self.calls if each == route)


def _resource(model: Api, path: str) -> tuple[str, dict[str, str]]:
    """The resource and its path parameters, as API Gateway finds them."""
    for route in model.routes.values():
        pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(route.path))
        if found := re.fullmatch(pattern, path):
            return route.path, {name: unquote(value) for name, value in found.groupdict().items()}
    raise LookupError(f"API Gateway has no resource {path}")


@contextmanager
def served(esctl: Esctl) -> Iterator[ServedApi]:
    """Serve an empty API with the installed projections; esctl believes that it is the deployed local stack's."""
    api = ServedApi()
    runtime.logger()  # made here, it does not write to what the commands take for their standard output

    def answer(method: str, target: str, text: str, headers: Mapping[str, str]) -> Reply:
        answered = api.answer(method, target, text, headers)
        return Reply(answered.status, answered.text, answered.headers)

    with serving_http(answer) as port:
        api.port = port
        deployed_at_port(esctl, port)
        yield api
