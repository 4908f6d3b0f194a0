"""A live batch parses and upcasts each event once, and no handler sees data that another call of one has changed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from handlers.core.events import Event, NewEvent, StreamId
from handlers.core.messages import Hint
from handlers.projection import Projection
from handlers.projection.engine import Code, Projector
from handlers.projection.port import OutdatedError, RowQuery
from tests.support.memory_event_store import MemoryEventStore
from tests.support.memory_read_model import MemoryReadModel
from tests.support.ports import Interrupted
from tests.support.projections import FixedClock
from tests.support.upcasts import counted_upcasts

STREAM = StreamId("s")

upcasts = counted_upcasts("COUNTED_PARSE")


@pytest.fixture(autouse=True)
def _counting() -> Iterator[None]:
    upcasts.clear()
    yield
    upcasts.clear()


def summed() -> Projection:
    """Sums up ``v``; its handler takes the data apart, which no other call may notice."""
    projection = Projection("summed", key="k")

    @projection.on("COUNTED_PARSE")
    def counted(row: Any, event: Any) -> Any:
        event.pop("k")
        return {"n": (row["n"] if row else 0) + event.pop("v")}

    return projection


class System:
    """A store, a read model and a projection of them, in memory."""

    def __init__(self) -> None:
        self.store = MemoryEventStore()
        self.storage = MemoryReadModel()
        self.read_model = Interrupted(self.storage)

    def append(self, events: int, *, keys: int) -> list[Event]:
        new = [
            NewEvent(STREAM, "COUNTED_PARSE", f'{{"k":"{number % keys:03}","v":{number}}}') for number in range(events)
        ]
        return [event for each in new for event in self.store.append([each]).events]

    def catch_up(self, *hints: Hint) -> None:
        Projector(Code(summed()), self.store, self.read_model, FixedClock()).catch_up(STREAM, hints)

    def rows(self) -> dict[str, int]:
        return {key: row["n"] for key, row in self.storage.rows(0, RowQuery(1000)).rows}


@pytest.fixture
def system() -> System:
    return System()


def hint(event: Event, *, whole: bool) -> Hint:
    return Hint(STREAM, event.event_id, event if whole else None)


def once(events: int) -> dict[int, int]:
    return dict.fromkeys(range(events), 1)


def summed_by_key(events: int, keys: int) -> dict[str, int]:
    return {f"{key:03}": sum(range(key, events, keys)) for key in range(keys)}


@pytest.mark.parametrize("known", [0, 5])
@pytest.mark.parametrize("whole", ["all", "the last", "none"])
def test_a_live_batch_is_parsed_once_wherever_its_events_come_from(system: System, whole: str, known: int) -> None:
    # given a stream of which this process knows nothing, but of which others have projected some events
    before = system.append(known, keys=3)
    system.catch_up(*(hint(event, whole=False) for event in before))
    upcasts.clear()
    events = system.append(10, keys=3)
    offered = [whole == "all" or (whole == "the last" and event is events[-1]) for event in events]

    system.catch_up(*(hint(event, whole=each) for event, each in zip(events, offered, strict=True)))

    assert upcasts == once(10)
    expected = summed_by_key(10, 3)
    assert system.rows() == {key: n + summed_by_key(known, 3)[key] for key, n in expected.items()}


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
