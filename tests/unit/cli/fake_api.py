"""The deployed API over real HTTP, with an event store and a read model of a few lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cli.config.targets import Target
from handlers.core.lossless_json import dumps, loads
from handlers.domain.items import TEST_STREAM, items
from tests.unit.cli.cli_driver import Esctl
from tests.unit.cli.http_server import BASE, KEY, AnswerLostError, Reply, deployed_at_port, serving_http

__all__ = ["KEY", "Call", "FakeApi", "deployed_at", "serving"]


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
        How many looks at the read model it takes until new events are in it.
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
        if (call.method, call.path) == ("GET", "/projections"):
            return 200, {"projections": [self._status(call.query)]}, {}
        if (call.method, call.path) == ("POST", "/triggerReplay"):
            return 202, self._replay(), {}
        if (call.method, call.path) == ("GET", "/replays/r-1"):
            return 200, self._replay(), {}
        return 404, {"title": "Not found", "detail": f"there is no {call.path} here"}, {}

    def _replay(self) -> dict[str, Any]:
        """A replay that is done as soon as it is asked for."""
        head = len(self.events.get(TEST_STREAM, [])) - 1
        counts = {
            "eventsDone": head + 1,
            "events": head + 1,
            "eventsPerSecond": 100,
            "segments": {"done": 2, "total": 2},
        }
        return {"replayId": "r-1", "kind": "replay", "projection": "test-items", "state": "done", **counts}

    def _status(self, query: Mapping[str, str]) -> dict[str, Any]:
        """The projection, with the status of its stream."""
        self._project()
        head, checkpoint = len(self.events.get(TEST_STREAM, [])) - 1, self._projected - 1
        state = "live" if checkpoint == head else "behind"
        stream = {"streamId": TEST_STREAM, "state": state, "head": head, "checkpoint": checkpoint, "generation": 0}
        streams = [{**stream, "lag": head - checkpoint}] if query.get("streamId", TEST_STREAM) == TEST_STREAM else []
        halted = {"count": 0, "more": False}
        return {"name": "test-items", "follows": [TEST_STREAM], "streams": streams, "more": False, "halted": halted}

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

    def _project(self) -> None:
        if self.lag:
            self.lag -= 1
        else:
            self._projected = len(self.events.get(TEST_STREAM, []))

    def _list(self, query: Mapping[str, str]) -> dict[str, Any]:
        self._project()
        stream = self.events.get(TEST_STREAM, [])
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
    def answer(method: str, target: str, text: str, headers: Mapping[str, str]) -> Reply:
        if api.drops:
            api.drops -= 1
            raise AnswerLostError
        parts = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        call = Call(method, parts.path.removeprefix(BASE), query, headers, loads(text) if text else None)
        status, document, more = api.answer(call)
        return Reply(status, document if isinstance(document, str) else dumps(document), more)

    with serving_http(answer) as port:
        api.port = port
        yield api


def deployed_at(esctl: Esctl, api: FakeApi, *, name: str = "esctl") -> Target:
    """Make esctl believe that a local stack is deployed, whose API is the fake one."""
    return deployed_at_port(esctl, api.port, name=name)
