"""The contract of replay jobs, for every adapter."""

from collections.abc import Callable
from typing import Any

import pytest

from handlers.replay.jobs_dynamodb import DynamoDbReplayJobs
from tests.contracts.jobs import JobsFactory, ReplayJobsContract
from tests.support.memory_replay_jobs import MemoryReplayJobs
from tests.support.tables import make_jobs_table


class TestInMemory(ReplayJobsContract):
    @pytest.fixture
    def make_jobs(self) -> JobsFactory:
        return MemoryReplayJobs


class TestOnMoto(ReplayJobsContract):
    @pytest.fixture
    def make_jobs(self, shared_moto_client: Callable[[str], Any]) -> JobsFactory:
        dynamodb = shared_moto_client("dynamodb")
        return lambda: DynamoDbReplayJobs(dynamodb, make_jobs_table(dynamodb))


class TestOnTheEmulator(ReplayJobsContract):
    @pytest.fixture
    def make_jobs(self, emulator_client: Callable[[str], Any]) -> JobsFactory:
        dynamodb = emulator_client("dynamodb")
        return lambda: DynamoDbReplayJobs(dynamodb, make_jobs_table(dynamodb))
