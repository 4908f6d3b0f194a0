"""The engine's contract, on every pair of adapters."""

from collections.abc import Callable
from typing import Any

import pytest

from handlers.projection.engine import Code, Projector
from handlers.projection.port import ReadModel
from handlers.store import EventStore
from tests.contracts.engine import EngineContract
from tests.support.bench import STREAM, carrying, catch_up
from tests.support.clients import CountingClient
from tests.support.memory_event_store import MemoryEventStore
from tests.support.memory_read_model import MemoryReadModel
from tests.support.projections import FixedClock, added, ledger
from tests.support.read_models import dynamodb_read_model, dynamodb_read_models
from tests.support.stores import dynamodb_stores


@pytest.fixture(scope="class")
def moto_read_models(shared_moto_client: Callable[[str], Any]) -> Callable[[], ReadModel]:
    return dynamodb_read_models(shared_moto_client("dynamodb"))


@pytest.fixture(scope="module")
def emulator_read_models(emulator_client: Callable[[str], Any]) -> Callable[[], ReadModel]:
    return dynamodb_read_models(emulator_client("dynamodb"))


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
    def read_model(self, moto_read_models: Callable[[], ReadModel]) -> ReadModel:
        return moto_read_models()


class TestOnTheEmulator(EngineContract):
    @pytest.fixture
    def store(self, emulator_client: Callable[[str], Any]) -> EventStore:
        return dynamodb_stores(emulator_client("dynamodb"))()

    @pytest.fixture
    def read_model(self, emulator_read_models: Callable[[], ReadModel]) -> ReadModel:
        return emulator_read_models()


def test_on_dynamodb_an_event_is_one_transaction(emulator_client: Callable[[str], Any]) -> None:
    store = dynamodb_stores(emulator_client("dynamodb"))()
    counting = CountingClient(emulator_client("dynamodb"))
    projector = Projector(
        Code(ledger()), store, dynamodb_read_model(emulator_client("dynamodb"), through=counting), FixedClock()
    )

    for expected in ({"get_item": 1, "transact_write_items": 1}, {"transact_write_items": 1}):
        events = [store.append([added(key, stream_id=STREAM)]).events[0] for key in "aba"]
        counting.reset()

        catch_up(projector, carrying(*events))

        assert counting.calls == expected
