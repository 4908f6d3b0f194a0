"""Replays: AWS calls, rate and memory, over one stream and over many."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from benchmarks.counting import Calls
from benchmarks.proxy import counted
from benchmarks.report import Measure
from benchmarks.target import Target, events_on, wait_until
from handlers.core.clock import SystemClock
from handlers.core.events import NewEvent, StreamId
from handlers.core.lossless_json import dumps
from handlers.domain.items import TEST_STREAM, items
from handlers.projection.definition import Projection
from handlers.projection.dynamodb import DynamoDbReadModel
from handlers.projection.engine import Code, Projector
from handlers.projection.port import ReadModel
from handlers.replay.jobs import DONE
from handlers.replay.requests import Replays
from handlers.replay.worker import ReplayWorker
from handlers.store import EventStore
from handlers.store.dynamodb import DynamoDbEventStore
from tests.support.domain.orders import orders
from tests.support.domain.revenue import revenue
from tests.support.memory_event_store import MemoryEventStore
from tests.support.memory_read_model import MemoryReadModel

EVENTS, ITEMS = 10_000, 200
STREAM = StreamId(TEST_STREAM)
# Of the issue on read models over many streams; a page of a scan of the emulator takes longer the larger the table is, so
# the local target gets fewer.
MANY_IN_MEMORY, MANY_ON_TARGET, EVENTS_PER_STREAM = 100_000, 10_000, 10
CALLS_PER_EVENT = 0.03


class Replaying:
    """A projection's replays, in this process.

    Attributes
    ----------
    seconds
        CPU time of the last replay if the adapters are in memory, otherwise elapsed time.
    """

    def __init__(self, projection: Projection, store: EventStore, read_model: ReadModel, *, cpu: bool) -> None:
        clock = SystemClock()
        self._messages: list[tuple[str, int | None]] = []
        self._timer = time.process_time if cpu else time.perf_counter
        self._replays = Replays(
            projection,
            store,
            read_model,
            clock,
            send=lambda replay_id: self._messages.append((replay_id, None)),
            new_id=lambda: str(uuid.uuid4()),
        )
        self._worker = ReplayWorker(
            Projector(Code(projection), store, read_model, clock),
            store,
            read_model,
            clock,
            send=lambda replay_id, segment: self._messages.append((replay_id, segment)),
        )
        self.seconds = 0.0

    def run(self) -> int:
        """Replay; returns the number of events."""
        replay_id = self._replays.trigger().job.replay_id
        began = self._timer()
        while self._messages:
            self._worker.work(*self._messages.pop(0), lambda: True)
        self.seconds = self._timer() - began
        progress = self._replays.progress(replay_id)
        if progress.job.state != DONE:
            raise RuntimeError(f"the replay has not ended well: {progress}")
        return progress.events_done


class CountedReadModel(MemoryReadModel):
    """A read model in memory that counts the calls DynamoDB would have had."""

    calls = 0

    def __getattribute__(self, name: str) -> Any:
        if name in {"read", "load", "commit", "rows", "states", "halted", "sweep"}:
            self.calls += 1
        return super().__getattribute__(name)


class CountedStore(MemoryEventStore):
    """An event store in memory that counts the calls DynamoDB would have had."""

    calls = 0

    def __getattribute__(self, name: str) -> Any:
        if name in {"read", "head", "scan"}:
            self.calls += 1
        return super().__getattribute__(name)


# -- one stream ----------------------------------------------------------------------------------------------------------


def measures_on(target: Target) -> Iterator[Measure]:
    """What a replay costs on the emulator: in this process with the real adapters, and as deployed."""
    target.append_all(events_on(ITEMS, EVENTS))
    target.wait_for_checkpoint(EVENTS - 1)
    yield from _in_this_process(target)
    yield from _deployed(target)


def measures_in_memory() -> Iterator[Measure]:
    """The worker's own time, and the memory of long histories."""
    replaying = Replaying(items, filled(EVENTS), MemoryReadModel(), cpu=True)
    rates = [replaying.run() / replaying.seconds for _ in range(6)]
    yield Measure("replay of one stream, in memory", max(rates), "events/s", 150_000, "more")
    few, many = (_peak(number, 1) for number in (EVENTS, 10 * EVENTS))
    yield Measure("replay of 10,000 events, peak memory", few, "MB")
    yield Measure("replay of 100,000 events, peak memory", many, "MB", round(few * 1.05, 1), note="as for 10,000")
    # From where the cache of states and rows is full.
    few, many = (_peak(number * EVENTS_PER_STREAM, number) for number in (30_000, MANY_IN_MEMORY))
    yield Measure("replay of 30,000 streams, peak memory", few, "MB")
    yield Measure("replay of 100,000 streams, peak memory", many, "MB", round(few * 1.05, 1), note="as for 30,000")
    yield from _many_in_memory()


def _in_this_process(target: Target) -> Iterator[Measure]:
    client = target.client("dynamodb")
    calls = Calls(client)
    replaying = Replaying(items, event_store(target, client), read_model(target, client, items), cpu=False)
    rates = []
    for _ in range(3):
        calls.reset()
        rates.append(replaying.run() / replaying.seconds)
    yield Measure("replay, worker's AWS calls per event", calls.total / EVENTS, "calls", 0.03, note=calls.listed())
    yield Measure("replay, worker on the emulator", max(rates), "events/s", 5_000, "more", "best of three")


def _deployed(target: Target) -> Iterator[Measure]:
    rates = [float(_replayed(target, {})["eventsPerSecond"]) for _ in range(4)]
    yield Measure(
        "replay, from trigger to done, as deployed",
        max(rates),
        "events/s",
        5_000,
        "more",
        "best of four, the first cold",
    )
    functions = {name: target.functions[name] for name in ("ReplayWorker",)}
    with counted(target.endpoint_url, functions, target.client("lambda")) as counts:
        _replayed(target, {})
        counts()
        _replayed(target, {})
        calls = counts()
    note = ", ".join(f"{count} {name}" for name, count in sorted(calls.items()))
    yield Measure(
        "replay, deployed worker's AWS calls per event", sum(calls.values()) / EVENTS, "calls", 0.03, note=note
    )


def _replayed(target: Target, body: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = target.api("POST", "/triggerReplay", body)

    def ended() -> bool:
        found.update(target.api("GET", f"/replays/{found['replayId']}"))
        return found["state"] in ("done", "failed")

    wait_until(ended)
    if found["state"] != "done":
        raise RuntimeError(f"the replay failed: {found}")
    return found


def filled(events: int) -> MemoryEventStore:
    """The same history in memory."""
    store = MemoryEventStore(page_events=5_000)
    documents = events_on(ITEMS, events)
    for start in range(0, events, 100):
        batch = documents[start : start + 100]
        store.append([NewEvent(STREAM, each["type"], dumps(each["data"])) for each in batch])
    return store


# -- many streams --------------------------------------------------------------------------------------------------------


def orders_of(streams: int, *, first: int = 0) -> Iterator[Sequence[NewEvent]]:
    """Histories of orders: each has its own stream; 365 customers have all of them."""
    for number in range(first, first + streams):
        stream = StreamId(f"order-{number:07}")
        data = dumps({"customerId": f"customer-{number % 365}", "total": number % 97})
        kinds = ["ORDER_PLACED", *["ORDER_PAID"] * (EVENTS_PER_STREAM - 1)]
        yield [NewEvent(stream, kind, data) for kind in kinds]


def measures_of_many(target: Target) -> Iterator[Measure]:
    """Builds of 100,000 events in 10,000 streams on the emulator, with the real adapters."""
    client = target.client("dynamodb")
    store = event_store(target, client)
    histories = orders_of(MANY_ON_TARGET)
    while batch := [event for events in islice(histories, 100 // EVENTS_PER_STREAM) for event in events]:
        store.append(batch)
    calls = Calls(client)
    for projection in (orders, revenue):
        replaying = Replaying(projection, store, read_model(target, client, projection), cpu=False)
        calls.reset()
        events_done = replaying.run()
        yield from _build(
            f"build of {projection.name}, on the emulator", replaying, events_done, calls.total, calls.listed()
        )


def _many_in_memory() -> Iterator[Measure]:
    store = CountedStore(page_events=5_000)
    for events in orders_of(MANY_IN_MEMORY):
        store.append(events)
    for projection in (orders, revenue):
        model = CountedReadModel()
        replaying = Replaying(projection, store, model, cpu=True)
        before = store.calls
        events_done = replaying.run()
        yield from _build(
            f"build of {projection.name}, in memory", replaying, events_done, model.calls + store.calls - before
        )


def _build(what: str, replaying: Replaying, events: int, calls: int, note: str = "") -> Iterator[Measure]:
    streams = f"{events:,} events, {events // EVENTS_PER_STREAM:,} streams"
    yield Measure(f"{what}, AWS calls per event", calls / events, "calls", CALLS_PER_EVENT, note=note or streams)
    yield Measure(f"{what}, rate", events / replaying.seconds, "events/s", note=streams)


# -- adapters ------------------------------------------------------------------------------------------------------------


def event_store(target: Target, client: Any) -> DynamoDbEventStore:
    """Return the target's event store."""
    return DynamoDbEventStore(client, events_table=target.outputs["EventsTable"])


def read_model(target: Target, client: Any, projection: Projection) -> DynamoDbReadModel:
    """Return a read model in the target's tables, whether the projection is deployed or not."""
    return DynamoDbReadModel(
        client,
        name=projection.name,
        states_table=target.outputs["StatesTable"],
        rows_table=target.outputs["RowsTable"],
        jobs_table=target.outputs["JobsTable"],
    )


def _peak(events: int, streams: int) -> float:
    """Return the peak memory in MB of a process that replays a history of so many events."""
    command = [sys.executable, "-m", "benchmarks.memory", str(events), str(streams)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout)["peakMb"])
