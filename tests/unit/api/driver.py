"""Drives the API's handlers in this process, over models in memory, and holds every answer against the contract."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import count
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry

from handlers import runtime
from handlers.api import http, openapi
from handlers.api.appending import EventRoutes
from handlers.api.projections import ProjectionRoutes, RowRoutes
from handlers.api.recovery import RecoveryRoutes
from handlers.api.replays import ReplayRoutes
from handlers.api.routes import all_routes
from handlers.api.streams import StreamRoutes
from handlers.core import lossless_json
from handlers.core.events import NewEvent, StreamId
from handlers.core.messages import Hint
from handlers.domain import registry
from handlers.domain.items import TEST_STREAM, items
from handlers.projection.engine import Projector
from handlers.replay.requests import Replays
from handlers.replay.worker import ReplayWorker
from tests.support.memory_event_store import MemoryEventStore
from tests.support.memory_read_model import MemoryReadModel
from tests.support.memory_replay_jobs import MemoryReplayJobs

ROUTES = {route.key: route for route in all_routes(registry().values())}
REQUEST_ID = "3f1c9b52-7a7e-4a8a-9d53-6a5f0c1f7a11"
LONG_AGO = datetime(2026, 11, 23, 10, 15, 30, 123000, UTC)


class SteppingClock:
    """A clock that is a second further each time it is asked."""

    def __init__(self) -> None:
        self._now = LONG_AGO

    def now(self) -> datetime:
        self._now += timedelta(seconds=1)
        return self._now


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: status, headers, and the body as text and as exact values."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        return lossless_json.loads(self.text)

    @property
    def places(self) -> set[str]:
        """The places of all faults of a problem document."""
        return {
            fault["pointer"] if "pointer" in fault else f"{fault['in']}:{fault['name']}"
            for fault in self.json["errors"]
        }


@dataclass
class Api:
    """The API over an event store and read models in memory."""

    clock: SteppingClock = field(default_factory=SteppingClock)
    store: MemoryEventStore = field(init=False)
    read_models: dict[str, MemoryReadModel] = field(init=False)
    jobs: MemoryReplayJobs = field(default_factory=MemoryReplayJobs)
    triggered: list[tuple[str, StreamId, int]] = field(default_factory=list)
    messages: list[tuple[StreamId | None, str]] = field(default_factory=list)
    strict: bool = False

    def __post_init__(self) -> None:
        self._numbers = count(1)
        self.store = MemoryEventStore(self.clock)
        self.read_models = {name: MemoryReadModel() for name in registry()}
        self.functions = {
            route.function: http.serve(route.function, *self._resources(), telemetry=runtime)
            for route in ROUTES.values()
        }

    def _resources(self) -> list[http.Resource]:
        read_model = self.read_models.__getitem__
        return [
            EventRoutes(lambda: self.store, self.clock, runtime, strict=self.strict),
            StreamRoutes(lambda: self.store),
            *(RowRoutes(each, read_model) for each in registry().values()),
            ProjectionRoutes(lambda: self.store, registry, read_model),
            ReplayRoutes(registry, lambda: self.jobs, self.replays),
            RecoveryRoutes(lambda: self.store, registry, read_model, self.clock, self._trigger),
            openapi.ContractRoutes(registry),
        ]

    def call(
        self,
        route: str,
        body: object = None,
        *,
        path: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        caller: str | None = None,
        **event: object,
    ) -> Answer:
        """Call a route (``POST /addEvent``); a body that is no text is sent as JSON. The answer fits the contract."""
        method, resource = route.split(" ", 1)
        text = body if isinstance(body, str | None) else lossless_json.dumps(body)
        given = {
            "resource": resource,
            "httpMethod": method,
            "headers": headers,
            "multiValueHeaders": {name: [value] for name, value in (headers or {}).items()},
            "queryStringParameters": query,
            "multiValueQueryStringParameters": {name: [value] for name, value in (query or {}).items()},
            "pathParameters": path,
            "requestContext": {"requestId": REQUEST_ID, "identity": {"userArn": caller}},
            "body": text,
            "isBase64Encoded": False,
            **event,
        }
        answer = self.functions[ROUTES[route].function](given, None)
        assert answer["isBase64Encoded"] is False
        check_contract(method, resource, answer["statusCode"], answer["headers"], answer["body"])
        return Answer(answer["statusCode"], answer["headers"], answer["body"])

    def add(self, event: object, **kwargs: Any) -> Answer:
        return self.call("POST /addEvent", event, **kwargs)

    def stored(self, stream_id: str = TEST_STREAM) -> list[tuple[str, str]]:
        """Type and data of the events of a stream, as stored."""
        return [(event.type, event.data) for event in self.store.read(StreamId(stream_id)).events]

    def is_empty(self) -> bool:
        """Whether nothing at all was stored."""
        return not self.store.streams().stream_ids

    def given(self, *events: tuple[str, Mapping[str, Any]], stream_id: str = TEST_STREAM) -> None:
        """Store events and bring the read model up."""
        self.store.append([NewEvent(StreamId(stream_id), kind, lossless_json.dumps(data)) for kind, data in events])
        if items.follows(stream_id):
            self.project(stream_id)

    def project(self, stream_id: str = TEST_STREAM) -> None:
        """Bring the read model of a stream up to its head."""
        stream = StreamId(stream_id)
        projector = Projector(items, self.store, self.read_models[items.name], self.clock)
        projector.catch_up(stream, [Hint(stream, self.store.head(stream))])

    def replays(self, projection_name: str) -> Replays:
        return Replays(
            registry()[projection_name],
            self.store,
            self.read_models[projection_name],
            self.jobs,
            self.clock,
            send=lambda stream_id, replay_id: self.messages.append((stream_id, replay_id)),
            new_id=lambda: f"replay-{next(self._numbers)}",
        )

    def work(self) -> None:
        """Let the replay worker do what was sent to it."""
        worker = ReplayWorker(
            items, self.store, self.read_models[items.name], self.jobs, self.clock, send_next=lambda *_: None
        )
        while self.messages:
            stream_id, replay_id = self.messages.pop(0)
            assert stream_id is not None
            worker.work(stream_id, replay_id, lambda: True)

    def _trigger(self, projection_name: str, stream_id: StreamId, head: int) -> None:
        self.triggered.append((projection_name, stream_id, head))


@cache
def _contract() -> Any:
    return openapi.document(ROUTES.values())


@cache
def _registry() -> Any:
    from referencing.jsonschema import DRAFT202012

    return Registry[Any]().with_resource("urn:contract", DRAFT202012.create_resource(_contract()))


@cache
def _validator(pointer: str) -> Draft202012Validator:
    return Draft202012Validator({"$ref": f"urn:contract#{pointer}"}, registry=_registry())


def check_contract(method: str, resource: str, status: int, headers: Mapping[str, str], body: str) -> None:
    """Fail unless the contract names this status for this route and the body and headers have the form it says."""
    responses = _contract()["paths"][resource][method.lower()]["responses"]
    assert str(status) in responses, f"the contract names no {status} for {method} {resource}: {body}"
    pointer = f"/paths/{resource.replace('/', '~1')}/{method.lower()}/responses/{status}".replace("{", "%7B").replace(
        "}", "%7D"
    )
    response = responses[str(status)]
    if "$ref" in response:
        name = response["$ref"].rsplit("/", 1)[1]
        response, pointer = _contract()["components"]["responses"][name], f"/components/responses/{name}"
    media_type = headers["Content-Type"]
    assert media_type in response["content"], f"{media_type} is not what the contract says"
    schema = pointer + f"/content/{media_type.replace('/', '~1')}/schema"
    _validator(schema).validate(json.loads(body))
    assert set(headers) - {"Content-Type"} <= set(response.get("headers", {}))
