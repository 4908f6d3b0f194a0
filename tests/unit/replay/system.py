"""A projection whose every lost, doubled or misplaced event shows, its history, and what does replays of it: in memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from handlers.core.events import NewEvent, StreamId
from handlers.core.lossless_json import dumps
from handlers.core.messages import Hint
from handlers.projection import Projection
from handlers.projection.engine import Projector
from handlers.projection.port import ReadModel
from handlers.projection.reconcile import unfinished_replay
from handlers.projection.state import StreamState
from handlers.replay.jobs import ReplayJobs
from handlers.replay.requests import Replays
from handlers.replay.worker import ReplayWorker
from handlers.store import EventStore
from tests.support.memory_event_store import MemoryEventStore
from tests.support.memory_read_model import MemoryReadModel
from tests.support.memory_replay_jobs import MemoryReplayJobs

STREAM = StreamId("counted")


def tally(*, idempotent: bool = False, streams: list[str] | None = None) -> Projection:
    """A fold that is not idempotent; it raises for an event with ``poison``."""
    projection = Projection("tally", key="k", streams=streams, idempotent=idempotent)

    @projection.on("COUNTED")
    def counted(row: Any, data: Any) -> Any:
        if "poison" in data:
            raise ValueError("poison")
        return {"n": ((row["n"] if row else 0) * 3 + data["v"]) % 1_000_003}

    return projection


@dataclass
class HandClock:
    """Time passes when a test says so; a millisecond at each look, so that no two are the same."""

    time: datetime = datetime(2026, 11, 23, tzinfo=UTC)

    def now(self) -> datetime:
        self.time += timedelta(milliseconds=1)
        return self.time

    def later(self, **delta: float) -> None:
        self.time += timedelta(**delta)


@dataclass
class System:
    """An event store, a read model, jobs and messages; functions come and go."""

    projection: Projection = field(default_factory=tally)
    page_events: int = 1000
    clock: HandClock = field(default_factory=HandClock)
    read_model: MemoryReadModel = field(default_factory=MemoryReadModel)
    jobs: MemoryReplayJobs = field(default_factory=MemoryReplayJobs)
    messages: list[tuple[StreamId | None, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store = MemoryEventStore(self.clock, page_events=self.page_events)
        self._ids = count(1)

    # -- given -------------------------------------------------------------------------------------------------------

    def append(self, *data: dict[str, Any], stream_id: str = STREAM) -> None:
        for start in range(0, len(data), 100):
            batch = data[start : start + 100]
            self.store.append([NewEvent(StreamId(stream_id), "COUNTED", dumps(each)) for each in batch])

    def history(self, events: int, keys: int) -> None:
        """Append events on so many keys and project them."""
        self.append(*({"k": f"{number * 7 % keys:04}", "v": number} for number in range(events)))
        self.project()

    def project(self) -> None:
        projector = Projector(self.projection, self.store, self.read_model, self.clock)
        projector.catch_up(STREAM, [Hint(STREAM, self.store.head(STREAM))])

    # -- functions ---------------------------------------------------------------------------------------------------

    def replays(
        self, *, store: EventStore | None = None, read_model: ReadModel | None = None, jobs: ReplayJobs | None = None
    ) -> Replays:
        return Replays(
            self.projection,
            store or self.store,
            read_model or self.read_model,
            jobs or self.jobs,
            self.clock,
            send=lambda stream_id, replay_id: self.messages.append((stream_id, replay_id)),
            new_id=lambda: f"replay-{next(self._ids)}",
        )

    def worker(
        self,
        *,
        store: EventStore | None = None,
        read_model: ReadModel | None = None,
        jobs: ReplayJobs | None = None,
        read_ahead: bool = False,
    ) -> ReplayWorker:
        """A fresh container: nothing is warm."""
        return ReplayWorker(
            self.projection,
            store or self.store,
            read_model or self.read_model,
            jobs or self.jobs,
            self.clock,
            send_next=lambda stream_id, replay_id: self.messages.append((stream_id, replay_id)),
            read_ahead=read_ahead,
        )

    def work(self, *, one_step: bool = False) -> None:
        """Deliver every message; with ``one_step`` a worker's time is up after each step."""
        while self.messages:
            stream_id, replay_id = self.messages.pop(0)
            if stream_id is None:
                after: str | None = None
                while (after := self.replays().enumerate(replay_id, after)) is not None:
                    pass
            else:
                self.worker().work(stream_id, replay_id, lambda: not one_step)

    def trigger(self) -> None:
        """What the reconciler does, two minutes later."""
        self.clock.later(minutes=2)
        replay_id = unfinished_replay(self.state, self.clock.now())
        if replay_id:
            self.messages.append((STREAM, replay_id))

    # -- then --------------------------------------------------------------------------------------------------------

    @property
    def state(self) -> StreamState:
        return self.read_model.load(STREAM).state

    def rows(self, generation: int | None = None) -> dict[str, Any]:
        chosen = self.state.active_generation if generation is None else generation
        return dict(self.read_model.rows.get((STREAM, chosen), {}))

    def expected(self) -> dict[str, Any]:
        """The fold of the whole history, by code of the test's own."""
        rows: dict[str, Any] = {}
        position = 0
        while events := self.store.read(STREAM, position).events:
            for event in events:
                data = event.payload()
                rows[data["k"]] = {"n": (rows.get(data["k"], {"n": 0})["n"] * 3 + data["v"]) % 1_000_003}
            position = events[-1].event_id + 1
        return rows
