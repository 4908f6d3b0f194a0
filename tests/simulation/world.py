"""What the actors share: streams, read model and messages; and what must be true of every answer."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar

from handlers.core.events import Event, NewEvent, StreamId
from handlers.core.messages import Hint
from handlers.projection import Projection
from handlers.projection.definition import Row
from handlers.projection.port import ReadModel, RowPage, Snapshot
from handlers.projection.reading import ListPage
from handlers.projection.state import StreamState
from handlers.projection.transitions import StateChange
from handlers.store import Appended, EventPage, EventStore, StreamPage
from tests.simulation.scheduler import Actor, Scheduler
from tests.support.memory_event_store import MemoryEventStore
from tests.support.memory_read_model import MemoryReadModel
from tests.support.memory_replay_jobs import MemoryReplayJobs

T = TypeVar("T")

STREAM = StreamId("s")
KEYS = "abcd"
MODULUS = 1_000_003  # keeps numbers small; 3 is no divisor, so nothing that is applied twice or left out stays unseen

Rows = dict[str, dict[str, int]]


def tally() -> Projection:
    """A fold that shows every event which is lost, doubled or out of order."""
    projection = Projection("tally", key="k")

    @projection.on("COUNTED")
    def counted(row: Any, data: Any) -> Any:
        return {"n": ((row["n"] if row else 0) * 3 + data["v"]) % MODULUS}

    @projection.on("CLEARED")
    def cleared(row: Any, data: Any) -> None:
        return None

    return projection


def latest() -> Projection:
    """A fold that may be applied again from the middle (R3)."""
    projection = Projection("latest", key="k", idempotent=True)

    @projection.on("COUNTED")
    def counted(row: Any, data: Any) -> Any:
        return {"n": data["v"]}

    @projection.on("CLEARED")
    def cleared(row: Any, data: Any) -> None:
        return None

    return projection


def folded(idempotent: bool, before: Rows, event: Event) -> Rows:
    """The same folds once more, with nothing of the code under test."""
    data = event.payload()
    after = dict(before)
    if event.type == "COUNTED":
        old = 0 if idempotent or data["k"] not in before else before[data["k"]]["n"] * 3
        after[data["k"]] = {"n": (old + data["v"]) % MODULUS}
    elif event.type == "CLEARED":
        after.pop(data["k"], None)
    return after


class SimulatedClock:
    """A clock that goes on by a second whenever somebody looks at it."""

    def __init__(self) -> None:
        self._now = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        self._now += timedelta(seconds=1)
        return self._now

    def pass_minutes(self, minutes: int) -> None:
        self._now += timedelta(minutes=minutes)


class World:
    """One run's streams, read model and messages."""

    def __init__(self, seed: int, *, idempotent: bool = False, chaos_steps: int = 400) -> None:
        self.rng = random.Random(seed)
        self.scheduler = Scheduler(self.rng, chaos_steps, max_steps=chaos_steps + 20_000)
        self.idempotent = idempotent
        self.projection = latest() if idempotent else tally()
        self.clock = SimulatedClock()
        # Pages of three events, so that there is much to interleave.
        self.store = MemoryEventStore(self.clock, page_events=3)
        self.read_model = MemoryReadModel()
        self.jobs = MemoryReplayJobs()
        self.hints: list[Hint] = []
        self.replay_messages: list[tuple[StreamId | None, str]] = []
        self.writing = 0
        self.replays_asked_for = 0
        self.settled_reads = 0
        self._last_checkpoint = -1
        self._prefixes: list[Rows] = [{}]

    def new_event(self) -> NewEvent:
        kind = self.rng.choices(["COUNTED", "CLEARED", "NOTED"], [8, 1, 1])[0]
        key, value = self.rng.choice(KEYS), self.rng.randint(1, 9)
        return NewEvent(STREAM, kind, f'{{"k":"{key}","v":{value}}}')

    def events(self) -> Sequence[Event]:
        return self.store._streams.get(STREAM, [])

    def state_at(self, checkpoint: int) -> Rows:
        """The rows that the events up to a checkpoint make."""
        for event in self.events()[len(self._prefixes) - 1 :]:
            self._prefixes.append(folded(self.idempotent, self._prefixes[-1], event))
        return self._prefixes[checkpoint + 1]

    # -- what must be true -------------------------------------------------------------------------------------------

    def check_read(self, page: ListPage, after: str | None, limit: int) -> None:
        """A settled read is the state at its checkpoint, exactly."""
        if not page.settled:
            return
        self.settled_reads += 1
        expected = self.state_at(page.checkpoint)
        keys = sorted(key for key in expected if after is None or key > after)[:limit]
        got = {row["k"]: {"n": row["n"]} for row in page.rows}
        assert got == {key: expected[key] for key in keys}, f"a read at {page.checkpoint} is no prefix of history"

    def check_no_way_back(self, page: ListPage) -> None:
        """A reader never sees an older state than the one seen before."""
        if page.settled:
            assert page.checkpoint >= self._last_checkpoint, f"from {self._last_checkpoint} back to {page.checkpoint}"
            self._last_checkpoint = page.checkpoint

    def check_end(self) -> None:
        """Everything is applied, every replay has ended, nothing is left over."""
        state = self.read_model.load(STREAM).state
        head = len(self.events()) - 1
        assert state.replay is None, "a replay never ended"
        assert state.checkpoint == head, f"stands at {state.checkpoint}, the head is {head}"
        assert self.rows(state.active_generation) == self.state_at(head), "the read model is wrong at the end"
        assert state.is_settled
        kept = {state.active_generation, *([state.previous.generation] if state.previous else [])}
        left = {generation for (_, generation), rows in self.read_model.rows.items() if rows}
        assert left <= kept, f"rows of generations {left - kept} were never swept"

    def rows(self, generation: int) -> Rows:
        return {key: dict(row) for key, row in self.read_model.rows.get((STREAM, generation), {}).items()}


class _Stepping:
    """A port of one actor: each call is a step, and the actor may die before it or after."""

    def __init__(self, world: World, actor: Actor) -> None:
        self._scheduler, self._actor = world.scheduler, actor

    def _step(self, call: Callable[[], T]) -> T:
        self._scheduler.step(self._actor)
        self._scheduler.may_crash(self._actor)
        answer = call()
        self._scheduler.may_crash(self._actor)
        return answer


class SteppingStore(_Stepping):
    """An `EventStore` of one actor."""

    def __init__(self, world: World, actor: Actor, inner: EventStore | None = None) -> None:
        self._inner = inner or world.store
        super().__init__(world, actor)

    def append(self, events: Sequence[NewEvent], idempotency: Any = None) -> Appended:
        return self._step(lambda: self._inner.append(events, idempotency))

    def read(
        self, stream_id: StreamId, first: int = 0, *, limit: int | None = None, backwards: bool = False
    ) -> EventPage:
        return self._step(lambda: self._inner.read(stream_id, first, limit=limit, backwards=backwards))

    def head(self, stream_id: StreamId) -> Any:
        return self._step(lambda: self._inner.head(stream_id))

    def streams(self, *, limit: int = 100, after: str | None = None) -> StreamPage:
        return self._step(lambda: self._inner.streams(limit=limit, after=after))


class SteppingReadModel(_Stepping):
    """A `ReadModel` of one actor. A page is not isolated from transactions: each of its rows is a step."""

    def __init__(self, world: World, actor: Actor, inner: ReadModel | None = None) -> None:
        self._inner = inner or world.read_model
        super().__init__(world, actor)

    def load(self, stream_id: StreamId, keys: Sequence[str] = (), generation: int = 0) -> Snapshot:
        return self._step(lambda: self._inner.load(stream_id, keys, generation))

    def commit(self, change: StateChange, rows: Mapping[str, Row | None] | None = None, generation: int = 0) -> None:
        self._step(lambda: self._inner.commit(change, rows, generation))

    def page(
        self, stream_id: StreamId, generation: int, *, after: str | None = None, limit: int | None = None
    ) -> RowPage:
        rows: list[tuple[str, Row]] = []
        while True:
            position = rows[-1][0] if rows else after
            page = self._step(partial(self._inner.page, stream_id, generation, after=position, limit=1))
            rows += page.rows
            if page.next_after is None or len(rows) == limit:
                return RowPage(tuple(rows), page.next_after)

    def sweep(self, stream_id: StreamId, generation: int) -> bool:
        return self._step(lambda: self._inner.sweep(stream_id, generation))

    def states(self) -> Iterator[StreamState]:
        return self._step(self._inner.states)
