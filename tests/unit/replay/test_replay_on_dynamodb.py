"""Replays over the DynamoDB adapters, on the emulator: a worker that dies is resumed, a failing handler fails the job."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from handlers.projection.dynamodb import DynamoDbReadModel
from handlers.projection.port import ReadModel
from handlers.replay.jobs import DONE, FAILED
from handlers.store import EventStore
from handlers.store.dynamodb import DynamoDbEventStore
from tests.support.tables import make_event_tables, make_projection_tables
from tests.unit.replay.faults import Brittle, Crash, Fuse
from tests.unit.replay.system import STREAM, System

EVENTS, KEYS = 260, 130


class OnDynamoDb(System):
    """The same system, its store and its read model in tables."""

    def __init__(self, client: Any) -> None:
        super().__init__()
        events = make_event_tables(client)
        tables = make_projection_tables(client, self.projection.key)
        store: EventStore = DynamoDbEventStore(client, events_table=events.events)
        model: ReadModel = DynamoDbReadModel(
            client, state_table=tables.state, rows_table=tables.rows, key=self.projection.key
        )
        self.store = store  # type: ignore[assignment]
        self.read_model = model  # type: ignore[assignment]

    def rows(self, generation: int | None = None) -> dict[str, Any]:
        chosen = self.state.active_generation if generation is None else generation
        return {key: dict(row) for key, row in self.read_model.page(STREAM, chosen).rows}


@pytest.fixture
def system(emulator_client: Callable[[str], Any]) -> OnDynamoDb:
    system = OnDynamoDb(emulator_client("dynamodb"))
    system.history(EVENTS, KEYS)
    return system


@pytest.mark.parametrize("at", [0, 2, 3, 4, 6])
def test_a_worker_that_dies_is_resumed(system: OnDynamoDb, at: int) -> None:
    replay_id = system.replays().trigger(STREAM).replay_id
    fuse = Fuse(at, after=True)

    with contextlib.suppress(Crash):
        system.worker(
            store=Brittle(system.store, fuse), read_model=Brittle(system.read_model, fuse), read_ahead=True
        ).work(STREAM, replay_id, lambda: True)
    system.work()

    assert fuse.blown
    assert system.rows() == system.expected()
    assert (system.state.active_generation, system.state.replay) == (1, None)
    assert system.replays().progress(replay_id).state == DONE


def test_a_failing_handler_fails_the_job_and_the_old_generation_goes_on(system: OnDynamoDb) -> None:
    before = system.rows()
    healthy = system.projection.handlers["COUNTED"]

    def raising(row: Any, data: Any) -> Any:
        if data["v"] == 200:
            raise ValueError("no 200")
        return healthy(row, data)

    system.projection._handlers["COUNTED"] = raising
    replay_id = system.replays().trigger(STREAM).replay_id
    system.work()

    progress = system.replays().progress(replay_id)
    assert (progress.state, progress.error_event_id, progress.error) == (FAILED, 200, "ValueError: no 200")
    assert system.rows() == before
    assert system.rows(1) == {}, "what was built is swept"
    system.append({"k": "new", "v": 1})
    system.project()
    assert system.rows() == before | {"new": {"n": 1}}
