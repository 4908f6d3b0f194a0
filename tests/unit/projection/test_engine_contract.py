"""The engine's contract, on every pair of adapters."""

from collections.abc import Callable
from typing import Any

import pytest

from handlers.core.events import StreamId
from handlers.core.messages import Hint
from handlers.projection.engine import Projector
from handlers.projection.port import ReadModel
from handlers.store import EventStore
from tests.contracts.engine import EngineContract
from tests.support.bench import STREAM
from tests.support.clients import CountingClient
from tests.support.memory_event_store import MemoryEventStore
from tests.support.memory_read_model import MemoryReadModel
from tests.support.projections import KEY, FixedClock, added, ledger
from tests.support.read_models import dynamodb_read_model
from tests.support.stores import dynamodb_stores


class TestInMemory(EngineContract):
    @pytest.fixture
    def store(self) -> EventStore:
        return MemoryEventStore()

    @pytest.fixture
    def read_model(self) -> ReadModel:
        return MemoryReadModel()


class TestOnMoto(EngineContract):
    @pytest.fixture
    def store(self, shared_moto_client: Callable[[str], Any]) -> EventStore:
        return dynamodb_stores(shared_moto_client("dynamodb"))()

    @pytest.fixture
    def read_model(self, shared_moto_client: Callable[[str], Any]) -> ReadModel:
        return dynamodb_read_model(shared_moto_client("dynamodb"), KEY)


class TestOnTheEmulator(EngineContract):
    @pytest.fixture
    def store(self, emulator_client: Callable[[str], Any]) -> EventStore:
        return dynamodb_stores(emulator_client("dynamodb"))()

    @pytest.fixture
    def read_model(self, emulator_client: Callable[[str], Any]) -> ReadModel:
        return dynamodb_read_model(emulator_client("dynamodb"), KEY)


def test_on_dynamodb_a_batch_is_one_read_and_one_transaction_and_warm_the_transaction_only(
    emulator_client: Callable[[str], Any],
) -> None:
    store = dynamodb_stores(emulator_client("dynamodb"))()
    counting = CountingClient(emulator_client("dynamodb"))
    read_model = dynamodb_read_model(emulator_client("dynamodb"), KEY, counting)
    projector = Projector(ledger(), store, read_model, FixedClock())

    for expected in ({"transact_get_items": 1, "transact_write_items": 1}, {"transact_write_items": 1}):
        events = [store.append([added(key, stream_id=STREAM)]).events[0] for key in "aba"]
        counting.reset()

        projector.catch_up(StreamId(STREAM), [Hint(event.stream_id, event.event_id, event) for event in events])

        assert counting.calls == expected
        assert counting.write_units == 2 * 3  # a transaction bills twice: two rows and the state
