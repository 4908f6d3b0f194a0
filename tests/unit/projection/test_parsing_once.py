"""An event is parsed and upcast once per fold, and no handler sees data that another call of one may have changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from handlers.catalogue import upcaster
from handlers.core.events import Event, NewEvent, StreamId
from handlers.core.messages import Hint
from handlers.projection import Projection, transitions
from handlers.projection.engine import Projector
from handlers.projection.port import OutdatedError
from handlers.projection.state import Chunk
from handlers.replay.requests import Replays
from handlers.replay.worker import ReplayWorker
from tests.support.memory_event_store import MemoryEventStore
from tests.support.memory_read_model import MemoryReadModel
from tests.support.memory_replay_jobs import MemoryReplayJobs
from tests.support.ports import Interrupted
from tests.support.projections import FixedClock

STREAM, AT = StreamId("s"), "2026-01-01T00:00:00.000Z"

upcasts: Counter[int] = Counter()


@upcaster("COUNTED_PARSE", from_version=1)
def counted_parse(data: Any) -> Any:
    upcasts[data["v"]] += 1
    return data


@pytest.fixture(autouse=True)
def _counting() -> Iterator[None]:
    upcasts.clear()
    yield
    upcasts.clear()


def summed() -> Projection:
    """Sums up ``v``; its handler takes the data apart, which no other call of it may notice."""
    projection = Projection("summed", key="k")

    @projection.on("COUNTED_PARSE")
    def counted(row: Any, data: Any) -> Any:
        data.pop("k")
        return {"n": (row["n"] if row else 0) + data.pop("v")}

    return projection


class System:
    """A store, a read model and a projection of them, in memory."""

    def __init__(self) -> None:
        self.projection = summed()
        self.store = MemoryEventStore()
        self.storage = MemoryReadModel()
        self.read_model = Interrupted(self.storage)

    def append(self, events: int, *, keys: int) -> list[Event]:
        new = [
            NewEvent(STREAM, "COUNTED_PARSE", f'{{"k":"{number % keys:03}","v":{number}}}') for number in range(events)
        ]
        return [event for each in new for event in self.store.append([each]).events]

    def catch_up(self, *hints: Hint) -> None:
        Projector(self.projection, self.store, self.read_model, FixedClock()).catch_up(STREAM, hints)

    def rows(self) -> dict[str, int]:
        state = self.storage.load(STREAM).state
        return {key: row["n"] for key, row in self.storage.page(STREAM, state.active_generation).rows}


@pytest.fixture
def system() -> System:
    return System()


def hint(event: Event, *, whole: bool) -> Hint:
    return Hint(STREAM, event.event_id, event if whole else None)


def once(events: int) -> dict[int, int]:
    return dict.fromkeys(range(events), 1)


def summed_by_key(events: int, keys: int) -> dict[str, int]:
    return {f"{key:03}": sum(range(key, events, keys)) for key in range(keys)}


@pytest.mark.parametrize("whole", ["all", "the last", "none"])
def test_a_live_batch_is_parsed_once_wherever_its_events_come_from(system: System, whole: str) -> None:
    events = system.append(10, keys=3)
    offered = [whole == "all" or (whole == "the last" and event is events[-1]) for event in events]

    system.catch_up(*(hint(event, whole=each) for event, each in zip(events, offered, strict=True)))

    assert upcasts == once(10)
    assert system.rows() == summed_by_key(10, 3)


def test_a_page_of_several_commits_is_parsed_once(system: System) -> None:
    events = system.append(250, keys=250)

    system.catch_up(hint(events[-1], whole=False))

    assert system.read_model.calls["commit"] == 3
    assert upcasts == once(250)


def test_after_a_lost_race_a_handler_gets_data_that_it_has_not_changed(system: System) -> None:
    events = system.append(10, keys=3)

    def lose() -> None:
        raise OutdatedError("another projector was first")

    system.read_model.before("commit", lose)

    system.catch_up(*(hint(event, whole=True) for event in events))

    assert system.rows() == summed_by_key(10, 3)


@pytest.mark.parametrize("resumed", [False, True])
def test_a_chunk_of_a_replay_is_parsed_once(system: System, resumed: bool) -> None:
    events = system.append(150, keys=150)
    system.catch_up(hint(events[-1], whole=False))
    jobs, clock = MemoryReplayJobs(), FixedClock()
    arguments: Any = (system.projection, system.store, system.storage, jobs, clock)
    replays = Replays(*arguments, send=lambda *_: None, new_id=lambda: "r")
    replays.trigger(STREAM)
    if resumed:  # a worker before wrote the first 99 rows
        state = system.storage.load(STREAM).state
        rows = {f"{number:03}": {"n": number} for number in range(99)}
        system.storage.commit(transitions.advance_chunk(state, Chunk(149, 99), AT), rows, 1)
    upcasts.clear()

    ReplayWorker(*arguments, send_next=lambda *_: None, read_ahead=False).work(STREAM, "r", lambda: True)

    assert upcasts == once(150)
    assert system.storage.load(STREAM).state.active_generation == 1
    assert system.rows() == summed_by_key(150, 150)
