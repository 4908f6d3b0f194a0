"""The event store's contract, for every adapter."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.contracts.event_store import EventStoreContract
from tests.support.memory_event_store import MemoryEventStore
from tests.support.stores import StoreFactory, dynamodb_stores


class TestInMemory(EventStoreContract):
    @pytest.fixture
    def make_store(self) -> StoreFactory:
        store = MemoryEventStore()
        return lambda: store


class TestOnMoto(EventStoreContract):
    writers = 1  # moto checks a condition and writes without a lock in between

    @pytest.fixture
    def make_store(self, shared_moto_client: Callable[[str], Any]) -> StoreFactory:
        return dynamodb_stores(shared_moto_client("dynamodb"))


class TestOnTheEmulator(EventStoreContract):
    @pytest.fixture
    def make_store(self, emulator_client: Callable[[str], Any]) -> StoreFactory:
        return dynamodb_stores(emulator_client("dynamodb"))
