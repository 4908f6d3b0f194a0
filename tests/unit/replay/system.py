"""A projection in which every lost, doubled or misplaced event shows, its streams, and the functions that replay it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from handlers.core.events import Event, EventId, NewEvent, StreamId
from handlers.core.lossless_json import dumps
from handlers.core.messages import Hint
from handlers.projection import Projection
from handlers.projection.definition import Prefix, stream_id
from handlers.projection.engine import Code, Projector
from handlers.projection.port import ReadModel, read_control
from handlers.projection.state import Control, StreamState
from handlers.replay.jobs import Progress
from handlers.replay.requests import Replays
from handlers.replay.worker import ReplayWorker
from handlers.store import EventStore
from tests.support.memory_event_store import MemoryEventStore
from tests.support.memory_read_model import MemoryReadModel
from tests.support.read_models import all_rows
from tests.support.stores import whole_stream

STREAM = StreamId("counted")
MODULUS = 1_000_003


class Factored(Projection):
    """A projection whose fingerprint is the factor of its fold."""

    factor = 3

    def fingerprint(self) -> str:
        return f"factor-{self.factor}"


def tally(*, factor: int = 3, streams: Prefix | Sequence[str] | None = None) -> Projection:
    """A fold that is not idempotent, into rows that several streams write; it raises for an event with ``poison``."""
    projection = Factored("tally", key="k", streams=streams)
    projection.factor = factor

    @projection.on("COUNTED")
    def counted(row: Any, event: Any) -> Any:
        if "poison" in event:
            raise ValueError("poison")
        n = (row or {}).get(event.stream_id, 0)
        return {**(row or {}), event.stream_id: (n * factor + event["v"]) % MODULUS}

    return projection


def latest(*, idempotent: bool = True) -> Projection:
    """A fold that may be applied again from the middle, into rows of one stream each."""
    projection = Factored("latest", key={"streamId": stream_id, "k": "k"}, idempotent=idempotent)

    @projection.on("COUNTED")
    def counted(row: Any, event: Any) -> Any:
        if "poison" in event:
            raise ValueError("poison")
        return {"n": event["v"]}

    return projection


@dataclass
class HandClock:
    """Time passes when a test says so; a millisecond at each look, so that no two are the same."""

    time: datetime = datetime(2026, 11, 23, tzinfo=UTC)

    def now(self) -> datetime:
        self.time += timedelta(milliseconds=1)
        return self.time


@dataclass
class System:
    """An event store, a read model and messages; functions come and go."""

    projection: Projection = field(default_factory=tally)
    page_events: int = 1000
    states_per_page: int = 1000
    older: dict[str, Projection] = field(default_factory=dict)
    clock: HandClock = field(default_factory=HandClock)
    messages: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store: EventStore = MemoryEventStore(self.clock, page_events=self.page_events)
        self.read_model: ReadModel = MemoryReadModel(states_per_page=self.states_per_page)
        self._ids = count(1)

    # -- given -------------------------------------------------------------------------------------------------------

    def append(self, *data: dict[str, Any], stream_id: str = STREAM) -> None:
        for start in range(0, len(data), 100):
            batch = data[start : start + 100]
            self.store.append([NewEvent(StreamId(stream_id), "COUNTED", dumps(each)) for each in batch])

    def history(self, events: int, keys: int, *, streams: int = 1, project: bool = True) -> None:
        """Append events on so many keys to so many streams, and project them."""
        for number in range(streams):
            name = STREAM if number == 0 else f"stream-{number:03}"
            self.append(*({"k": f"{n * 7 % keys:04}", "v": n + number} for n in range(events)), stream_id=name)
        if project:
            self.project()

    def deploy(self, projection: Projection) -> None:
        """Deploy other code, beside that of the generations there are."""
        self.older[self.projection.fingerprint()] = self.projection
        self.projection = projection

    # -- functions ---------------------------------------------------------------------------------------------------

    def projector(self, *, store: EventStore | None = None, read_model: ReadModel | None = None) -> Projector:
        code = Code(self.projection, lambda: self.older)
        return Projector(code, store or self.store, read_model or self.read_model, self.clock)

    def project(self, *streams: str) -> None:
        """Catch up streams, or all."""
        projector = self.projector()
        for name in map(StreamId, streams or self.streams()):
            if self.projection.follows(name):
                projector.catch_up(name, [Hint(name, EventId(self.store.head(name)))])

    def replays(self, *, store: EventStore | None = None, read_model: ReadModel | None = None) -> Replays:
        return Replays(
            self.projection,
            store or self.store,
            read_model or self.read_model,
            self.clock,
            send=lambda replay_id: self.messages.append((replay_id, None)),
            new_id=lambda: f"replay-{next(self._ids)}",
        )

    def worker(self, *, store: EventStore | None = None, read_model: ReadModel | None = None) -> ReplayWorker:
        """A worker in a new process: nothing is warm."""
        return ReplayWorker(
            self.projector(store=store, read_model=read_model),
            store or self.store,
            read_model or self.read_model,
            self.clock,
            send=lambda *message: self.messages.append(message),
        )

    def work(self, *, one_step: bool = False, limit: int = 10_000) -> None:
        """Deliver every message; with ``one_step`` a worker's time is up after each step."""
        for _ in range(limit):
            if not self.messages:
                return
            self.deliver(self.worker(), self.messages.pop(0), lambda: not one_step)
        raise AssertionError("the messages never end")

    def deliver(self, worker: ReplayWorker, message: Any, has_time: Callable[[], bool] = lambda: True) -> None:
        """Deliver one message: a task of a job, or a generation to sweep."""
        if isinstance(message, int):
            if not worker.sweep(message, has_time):
                self.messages.append(message)
        else:
            replay_id, segment = message
            worker.work(replay_id, segment, has_time)

    def reconcile(self) -> None:
        """Send the messages that the reconciler sends for a stalled job, and for generations to sweep."""
        if self.control.building is not None:
            self.messages.append((self.control.building.replay_id, None))
        self.messages += self.control.sweep

    def replay(self) -> Progress:
        """Replay the projection from beginning to end."""
        replay_id = self.replays().trigger().job.replay_id
        self.work()
        return self.progress(replay_id)

    def progress(self, replay_id: str) -> Progress:
        return self.replays().progress(replay_id)

    # -- then --------------------------------------------------------------------------------------------------------

    @property
    def control(self) -> Control:
        return read_control(self.read_model)

    def streams(self) -> Sequence[StreamId]:
        return self.store.streams(limit=10_000).stream_ids

    def state(self, name: str = STREAM, generation: int | None = None) -> StreamState:
        chosen = self.control.active if generation is None else generation
        return self.read_model.load(chosen, [StreamId(name)]).states[StreamId(name)]

    def rows(self, generation: int | None = None) -> dict[str, Any]:
        return all_rows(self.read_model, self.control.active if generation is None else generation)

    def expected(self, *, factor: int = 3) -> dict[str, Any]:
        """The rows that the whole history leads to in `tally`, worked out without the code under test."""
        rows: dict[str, Any] = {}
        for name in self.streams():
            if not self.projection.follows(name):
                continue
            for event in self.events(name):
                data = event.payload()
                row = rows.setdefault(data["k"], {})
                row[name] = (row.get(name, 0) * factor + data["v"]) % MODULUS
        return rows

    def events(self, name: str = STREAM) -> list[Event]:
        return whole_stream(self.store, name)

    def is_complete(self, *, factor: int = 3) -> bool:
        """Tell whether the rows are those of the whole history, and no replay runs."""
        heads = all(self.state(each).checkpoint == self.store.head(each) for each in self.streams())
        return heads and self.control.building is None and self.rows() == self.expected(factor=factor)
