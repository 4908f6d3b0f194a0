"""The read model's contract, for every adapter."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.contracts.read_model import ParallelReadModelContract, ReadModelContract, ReadModelFactory
from tests.support.memory_read_model import MemoryReadModel
from tests.support.read_models import dynamodb_read_models


class TestInMemory(ParallelReadModelContract):
    @pytest.fixture
    def make_read_model(self) -> ReadModelFactory:
        return MemoryReadModel


class TestOnMoto(ReadModelContract):
    @pytest.fixture
    def make_read_model(self, shared_moto_client: Callable[[str], Any]) -> ReadModelFactory:
        return dynamodb_read_models(shared_moto_client("dynamodb"))


class TestOnTheEmulator(ParallelReadModelContract):
    @pytest.fixture
    def make_read_model(self, emulator_client: Callable[[str], Any]) -> ReadModelFactory:
        return dynamodb_read_models(emulator_client("dynamodb"))
