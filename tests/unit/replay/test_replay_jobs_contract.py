"""The contract of replay jobs, for every adapter."""

from collections.abc import Callable
from typing import Any

import pytest

from handlers.projection.items import JOB_TTL_S
from tests.contracts.jobs import JobsFactory, ReplayJobsContract, new_job, record
from tests.support.memory_read_model import MemoryReadModel
from tests.support.memory_replay_jobs import MemoryReplayJobs
from tests.support.read_models import dynamodb_jobs, dynamodb_read_model
from tests.support.tables import make_read_model_tables


class TestInMemory(ReplayJobsContract):
    @pytest.fixture
    def make_jobs(self) -> JobsFactory:
        def make() -> tuple[MemoryReadModel, MemoryReplayJobs]:
            read_model = MemoryReadModel()
            return read_model, MemoryReplayJobs(read_model)

        return make


class TestOnMoto(ReplayJobsContract):
    @pytest.fixture
    def make_jobs(self, shared_moto_client: Callable[[str], Any]) -> JobsFactory:
        return lambda: dynamodb_jobs(shared_moto_client("dynamodb"))


class TestOnTheEmulator(ReplayJobsContract):
    @pytest.fixture
    def make_jobs(self, emulator_client: Callable[[str], Any]) -> JobsFactory:
        return lambda: dynamodb_jobs(emulator_client("dynamodb"))


def test_a_job_expires_after_ninety_days(shared_moto_client: Callable[[str], Any]) -> None:
    dynamodb = shared_moto_client("dynamodb")
    tables = make_read_model_tables(dynamodb)
    job = new_job("1970-01-02T00:00:00.000Z")

    record(dynamodb_read_model(dynamodb, tables=tables), job)

    item = dynamodb.get_item(TableName=tables.jobs, Key={"replayId": {"S": job["replayId"]}})["Item"]
    assert item["expiresAt"] == {"N": str(86_400 + JOB_TTL_S)}
    assert item["kind"] == {"S": "job"}
