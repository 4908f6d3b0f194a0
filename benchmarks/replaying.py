"""Replaying 10,000 events over 200 items: AWS calls, rate and memory."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from typing import Any

from benchmarks.counting import Calls
from benchmarks.proxy import counted
from benchmarks.report import Measure
from benchmarks.target import Target, events_on, wait_until
from handlers.core.clock import SystemClock
from handlers.core.events import NewEvent, StreamId
from handlers.core.lossless_json import dumps
from handlers.core.messages import Hint
from handlers.domain.items import TEST_STREAM, items
from handlers.projection.dynamodb import DynamoDbReadModel
from handlers.projection.engine import Projector
from handlers.replay.jobs_dynamodb import DynamoDbReplayJobs
from handlers.replay.requests import Replays
from handlers.replay.worker import ReplayWorker
from handlers.store.dynamodb import DynamoDbEventStore
from tests.support.memory_event_store import MemoryEventStore
from tests.support.memory_read_model import MemoryReadModel
from tests.support.memory_replay_jobs import MemoryReplayJobs

EVENTS, ITEMS = 10_000, 200
STREAM = StreamId(TEST_STREAM)
SEED_CALLS_PER_EVENT = 3.11


def measures_on(target: Target) -> Iterator[Measure]:
    """What a replay costs on the emulator: in this process with the real adapters, and as deployed."""
    target.append_all(events_on(ITEMS, EVENTS))
    target.wait_for_checkpoint(EVENTS - 1)
    yield from _in_this_process(target)
    yield from _deployed(target)


def measures_in_memory() -> Iterator[Measure]:
    """The worker's own time, and the memory of long histories."""
    yield Measure("replay, over models in memory", _rate_in_memory(), "events/s", 20_000, "more")
    few, many = (_peak(number) for number in (EVENTS, 10 * EVENTS))
    yield Measure("replay of 10,000 events, peak memory", few, "MB")
    yield Measure(
        "replay of 100,000 events, peak memory", many, "MB", round(few * 1.05, 1), note="not more than for 10,000"
    )


def _in_this_process(target: Target) -> Iterator[Measure]:
    client = target.client("dynamodb")
    calls = Calls(client)
    store = DynamoDbEventStore(client, events_table=target.outputs["EventsTable"])
    read_model = DynamoDbReadModel(
        client,
        state_table=target.outputs["TestItemsStateTable"],
        rows_table=target.outputs["TestItemsRowsTable"],
        key=items.key,
    )
    jobs = DynamoDbReplayJobs(client, target.outputs["JobsTable"])
    clock = SystemClock()
    worker = ReplayWorker(items, store, read_model, jobs, clock, send_next=lambda *_: None)
    replays = Replays(items, store, read_model, jobs, clock, send=lambda *_: None, new_id=lambda: str(uuid.uuid4()))
    rates = []
    for _ in range(3):
        job = replays.trigger(STREAM)
        calls.reset()
        began = time.perf_counter()
        worker.work(STREAM, job.replay_id, lambda: True)
        rates.append(EVENTS / (time.perf_counter() - began))
        if replays.progress(job.replay_id).state != "done":
            raise RuntimeError("the replay has not ended well")
    note = ", ".join(f"{count} {name}" for name, count in sorted(calls.by_operation.items()))
    yield Measure("replay, worker's AWS calls per event", calls.total / EVENTS, "calls", 0.03, note=note)
    yield Measure("replay, worker on the emulator", max(rates), "events/s", 5_000, "more", "best of three")


def _deployed(target: Target) -> Iterator[Measure]:
    def replayed() -> dict[str, Any]:
        found: dict[str, Any] = target.api("POST", "/triggerReplay", {})

        def ended() -> bool:
            found.update(target.api("GET", f"/replays/{found['replayId']}"))
            return found["state"] in ("done", "failed")

        wait_until(ended)
        if found["state"] != "done":
            raise RuntimeError(f"the replay failed: {found}")
        return found

    rates = [float(replayed()["eventsPerSecond"]) for _ in range(4)]
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
        replayed()
        counts()
        replayed()
        calls = counts()
    note = ", ".join(f"{count} {name}" for name, count in sorted(calls.items()))
    yield Measure(
        "replay, deployed worker's AWS calls per event", sum(calls.values()) / EVENTS, "calls", 0.03, note=note
    )


def filled(events: int) -> MemoryEventStore:
    """The same history in memory."""
    store = MemoryEventStore(page_events=5_000)
    documents = events_on(ITEMS, events)
    for start in range(0, events, 100):
        batch = documents[start : start + 100]
        store.append([NewEvent(STREAM, each["type"], dumps(each["data"])) for each in batch])
    return store


def _rate_in_memory() -> float:
    store, read_model, jobs, clock = filled(EVENTS), MemoryReadModel(), MemoryReplayJobs(), SystemClock()
    Projector(items, store, read_model, clock).catch_up(STREAM, [Hint(STREAM, store.head(STREAM))])
    replays = Replays(items, store, read_model, jobs, clock, send=lambda *_: None, new_id=lambda: str(uuid.uuid4()))
    worker = ReplayWorker(items, store, read_model, jobs, clock, send_next=lambda *_: None)
    best = 0.0
    for _ in range(5):
        job = replays.trigger(STREAM)
        began = time.process_time()
        worker.work(STREAM, job.replay_id, lambda: True)
        best = max(best, EVENTS / (time.process_time() - began))
        if replays.progress(job.replay_id).state != "done":
            raise RuntimeError("the replay has not ended well")
    return best


def _peak(events: int) -> float:
    """Peak memory in MB of a process that replays a history of so many events."""
    command = [sys.executable, "-m", "benchmarks.memory", str(events)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout)["peakMb"])
