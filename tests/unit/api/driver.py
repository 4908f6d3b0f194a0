"""Drives the API's handlers in this process, over models in memory, and holds every answer against the contract."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
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
from handlers.api.projections import ProjectionRoutes
from handlers.api.recovery import RecoveryRoutes
from handlers.api.replays import ReplayRoutes
from handlers.api.route import Route
from handlers.api.routes import all_routes
from handlers.api.rows import RowRoutes
from handlers.api.streams import StreamRoutes
from handlers.core import lossless_json
from handlers.core.errors import HandlerFailedError
from handlers.core.events import NewEvent, StreamId
from handlers.core.messages import Hint
from handlers.domain import registry
from handlers.domain.items import TEST_STREAM, items
from handlers.projection import Projection
from handlers.projection.engine import Code, Projector
from handlers.projection.keys import index_entries
from handlers.projection.port import Change, Commit, Row, RowChange, read_control
from handlers.projection.state import Control, ControlItem, Document, JobItem, StreamState
from handlers.replay.requests import Replays
from handlers.replay.worker import ReplayWorker
from tests.support.memory_event_store import MemoryEventStore
from tests.support.memory_read_model import MemoryReadModel

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


class MemoryJobs:
    """`ReplayJobs` of read models in memory."""

    def __init__(self, read_models: Mapping[str, MemoryReadModel]) -> None:
        self._read_models = read_models

    def find(self, replay_id: str) -> Document | None:
        found = (model.read(JobItem(replay_id)) for model in self._read_models.values())
        return next((document for document in found if "startedAt" in document), None)

    def recent(self, limit: int) -> Sequence[Document]:
        stored = [each for model in self._read_models.values() for each in model.documents.items()]
        jobs = [document for item, document in stored if isinstance(item, JobItem)]
        return sorted(jobs, key=lambda job: str(job["startedAt"]), reverse=True)[:limit]


@dataclass
class Api:
    """The API over an event store and read models in memory.

    Attributes
    ----------
    projections
        Those of the sample domain unless given.
    older
        Code of generations that were built before, by projection and fingerprint.
    polls
        The attempts to wait for an event: each is done when it is waited for.
    """

    clock: SteppingClock = field(default_factory=SteppingClock)
    store: MemoryEventStore = field(init=False)
    projections: Mapping[str, Projection] = field(default_factory=registry)
    older: Mapping[str, Mapping[str, Projection]] = field(default_factory=dict)
    read_models: dict[str, MemoryReadModel] = field(init=False)
    triggered: list[tuple[str, StreamId, int]] = field(default_factory=list)
    messages: list[tuple[str, str, int | None]] = field(default_factory=list)
    polls: Iterable[object] = range(3)
    strict: bool = False

    def __post_init__(self) -> None:
        self._numbers = count(1)
        self.store = MemoryEventStore(self.clock)
        self.read_models = {name: MemoryReadModel() for name in self.projections}
        self.jobs = MemoryJobs(self.read_models)
        self.routes = all_routes_of(tuple(self.projections.values()))
        self.start()

    def start(self) -> None:
        """Restart the functions: nothing is warm."""
        self.functions = {
            route.function: http.serve(route.function, *self._resources(), telemetry=runtime)
            for route in self.routes.values()
        }

    def _resources(self) -> list[http.Resource]:
        def read_model(name: str) -> MemoryReadModel:
            return self.read_models[name]

        def projections() -> Mapping[str, Projection]:
            return self.projections

        return [
            EventRoutes(lambda: self.store, self.clock, runtime, strict=self.strict),
            StreamRoutes(lambda: self.store),
            RowRoutes(projections, self.code, read_model, lambda: self.polls),
            ProjectionRoutes(lambda: self.store, projections, read_model),
            ReplayRoutes(projections, lambda: self.jobs, self.replays),
            RecoveryRoutes(lambda: self.store, projections, read_model, self.clock, self._trigger),
            openapi.ContractRoutes(projections),
        ]

    def code(self, projection_name: str) -> Code:
        return Code(self.projections[projection_name], lambda: self.older.get(projection_name, {}))

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
        answer = self.functions[self.routes[route].function](given, None)
        assert answer["isBase64Encoded"] is False
        contract = Contract.of(tuple(self.projections.values()))
        contract.check(method, resource, answer["statusCode"], answer["headers"], answer["body"])
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
        """Store events and bring the read models up."""
        self.store.append([NewEvent(StreamId(stream_id), kind, lossless_json.dumps(data)) for kind, data in events])
        self.project(stream_id)

    def project(self, stream_id: str = TEST_STREAM) -> None:
        """Bring the read models of a stream up to its head, or to the event at which it is halted."""
        stream = StreamId(stream_id)
        for projection in self.projections.values():
            if projection.follows(stream_id):
                with suppress(HandlerFailedError):
                    self._projector(projection.name).catch_up(stream, [Hint(stream, self.store.head(stream))])

    def state(self, stream_id: str = TEST_STREAM, name: str = items.name) -> StreamState:
        """The state of a stream in the active generation."""
        model = self.read_models[name]
        active = read_control(model).active
        return model.load(active, [StreamId(stream_id)]).states[StreamId(stream_id)]

    def commit(self, *changes: Change[Any], name: str = items.name) -> None:
        self.read_models[name].commit(Commit(changes))

    def replay(self, name: str = items.name) -> Any:
        """Replay a projection, to the end."""
        started = self.call("POST /triggerReplay", {"projection": name})
        assert started.status == 202
        self.work()
        return started.json

    def replays(self, projection_name: str) -> Replays:
        return Replays(
            self.projections[projection_name],
            self.store,
            self.read_models[projection_name],
            self.clock,
            send=lambda replay_id: self.messages.append((projection_name, replay_id, None)),
            new_id=lambda: f"replay-{next(self._numbers)}",
        )

    def work(self) -> None:
        """Let the replay worker do what was sent to it."""
        while self.messages:
            name, replay_id, segment = self.messages.pop(0)

            def send(replay_id: str, segment: int, name: str = name) -> None:
                self.messages.append((name, replay_id, segment))

            worker = ReplayWorker(self._projector(name), self.store, self.read_models[name], self.clock, send=send)
            worker.work(replay_id, segment, lambda: True)

    def sweep(self) -> None:
        """Delete what was abandoned."""
        for name in self.projections:
            worker = ReplayWorker(
                self._projector(name), self.store, self.read_models[name], self.clock, send=lambda *_: None
            )
            for generation in self._projector(name).control().sweep:
                assert worker.sweep(generation, lambda: True)

    def _projector(self, name: str) -> Projector:
        return Projector(self.code(name), self.store, self.read_models[name], self.clock)

    def _trigger(self, projection_name: str, stream_id: StreamId, head: int) -> None:
        self.triggered.append((projection_name, stream_id, head))


def stored_rows(projection: Projection, rows: Mapping[str, Row], generation: int = 0) -> RowRoutes:
    """The routes of a projection with these rows, by encoded key, in its active generation."""
    model = MemoryReadModel()
    for key, row in rows.items():
        entries = index_entries(projection.indexes, key, row)
        change = RowChange(key, None, write=True, row=row, version="v", entries=entries)
        model.commit(Commit(rows=(change,), generation=generation))
    model.documents[ControlItem()] = Control(exists=True, active=generation).to_document()
    return RowRoutes(lambda: {projection.name: projection}, lambda _: Code(projection), lambda _: model)


@cache
def all_routes_of(projections: tuple[Projection, ...]) -> Mapping[str, Route]:
    """Every route by its key."""
    return {route.key: route for route in all_routes(projections)}


ROUTES = all_routes_of(tuple(registry().values()))


class Contract:
    """The OpenAPI document, against which answers are checked."""

    def __init__(self, projections: tuple[Projection, ...]) -> None:
        from referencing.jsonschema import DRAFT202012

        self._document: Any = openapi.document(all_routes_of(projections).values())
        self._registry = Registry[Any]().with_resource("urn:contract", DRAFT202012.create_resource(self._document))
        self._validators: dict[str, Draft202012Validator] = {}

    @staticmethod
    @cache
    def of(projections: tuple[Projection, ...]) -> Contract:
        return Contract(projections)

    def check(self, method: str, resource: str, status: int, headers: Mapping[str, str], body: str) -> None:
        """Fail unless the contract names this status for this route and the body and headers have the form it says."""
        responses = self._document["paths"][resource][method.lower()]["responses"]
        assert str(status) in responses, f"the contract names no {status} for {method} {resource}: {body}"
        path = f"/paths/{resource.replace('/', '~1')}/{method.lower()}/responses/{status}"
        pointer = path.replace("{", "%7B").replace("}", "%7D")
        response = responses[str(status)]
        if "$ref" in response:
            name = response["$ref"].rsplit("/", 1)[1]
            response, pointer = self._document["components"]["responses"][name], f"/components/responses/{name}"
        media_type = headers["Content-Type"]
        assert media_type in response["content"], f"{media_type} is not what the contract says"
        self._validator(pointer + f"/content/{media_type.replace('/', '~1')}/schema").validate(json.loads(body))
        assert set(headers) - {"Content-Type"} <= set(response.get("headers", {}))

    def _validator(self, pointer: str) -> Draft202012Validator:
        if pointer not in self._validators:
            self._validators[pointer] = Draft202012Validator(
                {"$ref": f"urn:contract#{pointer}"}, registry=self._registry
            )
        return self._validators[pointer]
