"""What the actors share: streams, read models and messages; and what must be true at any moment."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar

from handlers.core.errors import ContendedError
from handlers.core.events import Event, NewEvent, StreamId
from handlers.core.lossless_json import dumps
from handlers.core.messages import Hint
from handlers.projection import transitions
from handlers.projection.engine import Code
from handlers.projection.port import (
    Commit,
    OutdatedError,
    ReadModel,
    Row,
    RowPage,
    RowQuery,
    Snapshot,
    StatePage,
    StoredRow,
    read_control,
)
from handlers.projection.state import FAILED, ROLLBACK, Control, Document, Item, JobItem, StateItem, StreamState
from handlers.store import Appended, EventPage, EventStore
from handlers.store.port import ScanPage, StreamPage
from tests.simulation.projections import MAKE, Expected, raises, version_of
from tests.simulation.scheduler import Actor, Scheduler
from tests.support.memory_event_store import MemoryEventStore
from tests.support.memory_read_model import MemoryReadModel

T = TypeVar("T")

# Chosen so that all of them are in the first four shards, some in the same one: only these are joined.
STREAMS = tuple(map(StreamId, ("s5", "s7", "s25", "s27", "s39")))
KEYS = "abc"

LOST_RESPONSE_PROBABILITY = 0.02


class LostResponseError(ContendedError):
    """The commit took effect, but its caller is not told."""


class SimulatedClock:
    """A clock that goes on by a second whenever somebody looks at it."""

    def __init__(self) -> None:
        self._now = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        self._now += timedelta(seconds=1)
        return self._now


class Model:
    """One projection in the world: its read model, and the messages to its functions.

    Attributes
    ----------
    storage
        The read model as all actors see it: a mutant changes it.
    deployed
        The version of the code that new invocations run.
    named
        True if it names its streams: a replay reads these one by one, and otherwise scans the store.
    """

    def __init__(self, world: World, name: str) -> None:
        self.name = name
        self.world = world
        self.read_model = MemoryReadModel(states_per_page=2)
        self.storage: ReadModel = self.read_model
        self.deployed = 1
        self.named = world.rng.random() < 0.5
        self.codes = {version: self._code(version) for version in (1, 2)}
        self.hints: list[Hint] = []
        self.messages: list[tuple[str, int | None] | int] = []
        self.jobs = 0
        self.settled_reads = 0
        self.ends: dict[str, int] = {}
        self.highest: dict[StreamId, int] = {}
        self.highest_parts: dict[tuple[str, str], int] = {}
        self.read_model.commit(Commit((transitions.adopt(Control(), "v1"),)))

    def _code(self, version: int) -> Code:
        make, other, named = MAKE[self.name], 3 - version, self.world.streams if self.named else None
        return Code(make(version, named), lambda: {f"v{other}": make(other, named)})

    @property
    def control(self) -> Control:
        return read_control(self.read_model)

    def state(self, stream_id: StreamId, generation: int | None = None) -> StreamState:
        chosen = self.control.active if generation is None else generation
        return self.read_model.load(chosen, [stream_id]).states[stream_id]

    def rows(self, generation: int) -> dict[str, Any]:
        return dict(self.read_model.rows(generation, RowQuery(limit=1000)).rows)

    def job_documents(self) -> list[Document]:
        found = [doc for item, doc in self.read_model.documents.items() if isinstance(item, JobItem)]
        return sorted(found, key=lambda each: str(each["startedAt"]), reverse=True)

    # -- what must be true ---------------------------------------------------------------------------------------------

    def check_commit(self, commit: Commit, before: Control) -> None:
        """Only a handler that raises, given the rows of history, halts a stream or fails a job."""
        for change in commit.changes:
            if isinstance(change.item, StateItem) and "halted" in change.put:
                version = version_of(before.fingerprint_of(change.item.generation))
                event = self.world.events(change.item.stream_id)[change.put["halted"]["eventId"]]
                assert raises(event, version), f"{self.name}: halted at {event.type} by version {version}: {change.put}"
            if isinstance(change.item, JobItem) and "finishedAt" in change.put:
                state = change.put["state"]
                self.ends[state] = self.ends.get(state, 0) + 1
                error = change.put.get("error", {})
                if state == FAILED and "eventId" in error:
                    event = self.world.events(error["streamId"])[error["eventId"]]
                    assert event.type == "BROKEN", f"{self.name}: a job failed at {event.type}: {error}"

    def check_applied(self, stream_id: StreamId, target: int) -> None:
        """An acknowledged message has taken effect in the rows that are read, unless they were rewound since.

        After a rollback has begun, it may be in that generation only: a projector that has missed the switch before takes
        it for the active one, for seconds, and if the rollback is cancelled, the reconciler finds the event (P6).
        """
        if self.name == "tally":
            rolled_back = any(each["action"] == ROLLBACK for each in self.job_documents())
            states = [item for item in self.read_model.documents if isinstance(item, StateItem)]
            generations = {item.generation for item in states} if rolled_back else {self.control.active}
            found = max(self.state(stream_id, generation).checkpoint for generation in generations)
            assert found >= target, (
                f"{self.name}: event {target} of {stream_id} is acknowledged, but only {found} applied"
            )

    def check_read(
        self, version: int, stream_id: StreamId, state: StreamState, rows: dict[str, Any], floor: int
    ) -> None:
        """A settled read is exactly a prefix of the stream's history, and no older than an earlier read."""
        from tests.simulation.projections import parts_in

        self.settled_reads += 1
        expected = self.world.expected.parts(self.name, version, stream_id, state.checkpoint)
        found = parts_in(self.name, rows, stream_id)
        where = f"{self.name}: stream {stream_id} at {state.checkpoint} in generation {state.generation}"
        assert found == expected, f"a read is no prefix of history: {where}: {found}, not {expected}"
        assert state.checkpoint >= floor, f"a read went back in time: {where} after {floor}"
        self.highest[stream_id] = max(self.highest.get(stream_id, -1), state.checkpoint)

    def check_rows(self, version: int, rows: dict[str, Any]) -> None:
        """Each row of a list is whole, and no older than one seen before (projections without rewinds)."""
        if self.name != "tally":
            return
        for key, row in rows.items():
            for stream, part in row.items():
                expected = self.world.expected.parts(self.name, version, StreamId(stream), part["at"])
                assert part == expected.get(key), f"{self.name}: a part that no prefix of {stream} has: {part}"
                seen = self.highest_parts.get((key, stream), -1)
                assert part["at"] >= seen, f"{self.name}: row {key} went back from {seen} to {part['at']} of {stream}"
                self.highest_parts[key, stream] = part["at"]

    def check_end(self) -> None:
        """Everything is applied, every job has ended, nothing is left over."""
        control = self.control
        heads = self.world.heads()
        assert control.building is None, f"{self.name}: a replay never ended"
        assert not control.sweep, f"{self.name}: generations {control.sweep} were never swept"
        for stream_id, head in heads.items():
            state = self.state(stream_id)
            assert state.checkpoint == head, (
                f"{self.name}: {stream_id} is at {state.checkpoint}, the head is {head}: {state}"
            )
            assert state.is_settled, f"{self.name}: {stream_id} is not settled"
        rows = self.rows(control.active)
        expected = self.world.expected.rows(self.name, version_of(control.fingerprint), heads)
        assert rows == expected, f"{self.name}: the read model is wrong at the end: {rows}, not {expected}"
        kept = {control.active, *([control.previous.generation] if control.previous else [])}
        states = {item.generation for item in self.read_model.documents if isinstance(item, StateItem)}
        left = states | {each for each in range(control.next_generation) if self.rows(each)}
        assert left <= kept, f"{self.name}: rows or states of generations {left - kept} are left"
        running = [each["replayId"] for each in self.job_documents() if "finishedAt" not in each]
        assert not running, f"{self.name}: jobs {running} have not ended"


class World:
    """One run's streams and projections.

    Attributes
    ----------
    pace
        The largest number of steps between two events of a writer.
    """

    def __init__(
        self,
        seed: int,
        *,
        names: Sequence[str] = ("tally", "latest"),
        streams: int = 5,
        pace: int = 120,
        chaos_steps: int = 1200,
    ) -> None:
        self.rng = random.Random(seed)
        self.scheduler = Scheduler(self.rng, chaos_steps, max_steps=chaos_steps + 6_000)
        self.clock = SimulatedClock()
        self.streams = STREAMS[:streams]
        self.pace = pace
        # Pages of three events, so that there is much to interleave.
        self.store = MemoryEventStore(self.clock, page_events=3)
        self.expected = Expected(self.events)
        self.models = [Model(self, name) for name in names]

    def events(self, stream_id: StreamId) -> Sequence[Event]:
        return self.store._streams.get(stream_id, [])

    def heads(self) -> dict[StreamId, int]:
        return {stream: len(self.events(stream)) - 1 for stream in self.streams if self.events(stream)}

    def new_event(self, stream_id: StreamId) -> NewEvent:
        kinds = ["COUNTED", "CHECKED", "CLEARED", "KEPT", "NOTED", "BROKEN"]
        kind = self.rng.choices(kinds, [10, 5, 3, 1, 1, 0.4])[0]
        keys = self.rng.sample(KEYS, self.rng.choice([1, 1, 2]))
        if kind == "CHECKED":  # its handler raises without a part to change, but by then there is one
            known = self.expected.parts("tally", 1, stream_id, len(self.events(stream_id)) - 1)
            if not all(key in known for key in keys):
                kind = "COUNTED"
        return NewEvent(stream_id, kind, dumps({"keys": keys, "v": self.rng.randint(1, 9)}))


class _Stepping:
    """A port of one actor: each call is a step, and the process may crash before it or after."""

    def __init__(self, world: World, actor: Actor) -> None:
        self._scheduler, self._actor, self._rng = world.scheduler, actor, world.rng

    def _step(self, call: Callable[[], T]) -> T:
        self._scheduler.step(self._actor)
        self._scheduler.may_crash(self._actor)
        answer = call()
        self._scheduler.may_crash(self._actor)
        return answer


class SteppingStore(_Stepping):
    """An `EventStore` of one actor."""

    def __init__(self, world: World, actor: Actor) -> None:
        self._inner: EventStore = world.store
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

    def scan(self, segment: int, segments: int, *, after: str | None = None, limit: int | None = None) -> ScanPage:
        return self._step(lambda: self._inner.scan(segment, segments, after=after, limit=limit))


class SteppingReadModel(_Stepping):
    """A `ReadModel` of one actor. Only a commit is one instant: a call that reads several items takes several steps."""

    def __init__(self, world: World, actor: Actor, model: Model) -> None:
        self._model = model
        self._inner: ReadModel = model.storage
        super().__init__(world, actor)

    def read(self, item: Item) -> Document:
        return self._step(lambda: self._inner.read(item))

    def load(self, generation: int, stream_ids: Sequence[StreamId], keys: Sequence[str] = ()) -> Snapshot:
        states: dict[StreamId, StreamState] = {}
        rows: dict[str, StoredRow | None] = {}
        wanted: list[tuple[list[StreamId], list[str]]] = [([each], []) for each in stream_ids]
        wanted += [([], [each]) for each in keys]
        self._rng.shuffle(wanted)
        for some_streams, some_keys in wanted:
            part = self._step(partial(self._inner.load, generation, some_streams, some_keys))
            states.update(part.states)
            rows.update(part.rows)
        return Snapshot({each: states[each] for each in stream_ids}, {each: rows[each] for each in keys})

    def commit(self, commit: Commit) -> None:
        self._step(lambda: self._commit(commit))
        if not self._scheduler.closing and self._actor.crash_probability:
            if self._rng.random() < LOST_RESPONSE_PROBABILITY:
                raise LostResponseError("the connection was closed")
            if self._rng.random() < LOST_RESPONSE_PROBABILITY:
                raise OutdatedError("the call was repeated, and its conditions do not hold any more")

    def _commit(self, commit: Commit) -> None:
        before = self._model.control
        self._inner.commit(commit)
        self._model.check_commit(commit, before)
        if commit.fences is not None and self._rng.random() < 0.5:
            self._model.messages += self._model.control.sweep  # the reconciler may run at this very moment

    def rows(self, generation: int, query: RowQuery) -> RowPage:
        rows: list[tuple[str, Row]] = []
        while True:
            page = self._step(partial(self._inner.rows, generation, replace(query, limit=1)))
            rows += page.rows
            query = replace(query, after=page.position)
            if page.position is None or len(rows) >= query.limit:
                return RowPage(tuple(rows), page.position)

    def states(self, generation: int, shard: int, *, after: StreamId | None = None) -> StatePage:
        return self._step(lambda: self._inner.states(generation, shard, after=after))

    def halted(self, generation: int, *, limit: int = 100, after: StreamId | None = None) -> Sequence[StreamId]:
        return self._step(lambda: self._inner.halted(generation, limit=limit, after=after))

    def sweep(self, generation: int) -> bool:
        return self._step(lambda: self._inner.sweep(generation))
