"""Replays over the DynamoDB adapters: a worker that crashes is resumed, a failing handler fails the job."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from handlers.replay import jobs
from handlers.replay.jobs import DONE, FAILED
from tests.support.read_models import dynamodb_read_model
from tests.support.stores import dynamodb_stores
from tests.unit.replay.faults import Brittle, Crash, Fuse
from tests.unit.replay.system import STREAM, System, tally


@pytest.fixture(autouse=True)
def _two_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "SEGMENTS", 2)


@pytest.fixture
def system(shared_moto_client: Callable[[str], Any]) -> System:
    system = System()
    client = shared_moto_client("dynamodb")
    system.store = dynamodb_stores(client)()
    system.read_model = dynamodb_read_model(client, name="tally")
    system.history(8, 5, streams=6)
    return system


class TestOnMoto:
    @pytest.mark.parametrize("at", [1, 3, 5, 8, 13, 21])
    def test_a_worker_that_crashes_is_resumed(self, system: System, at: int) -> None:
        replay_id = system.replays().trigger().job.replay_id
        fuse = Fuse(at, after=True)
        worker = system.worker(store=Brittle(system.store, fuse), read_model=Brittle(system.read_model, fuse))

        with contextlib.suppress(Crash):
            while system.messages:
                system.deliver(worker, system.messages.pop(0))
        assert fuse.blown
        system.append({"k": "0001", "v": 5}, stream_id="late")
        system.project()
        system.reconcile()
        system.work()

        assert system.progress(replay_id).job.state == DONE
        assert system.is_complete()

    def test_a_failing_handler_fails_the_job_and_leaves_live_rows(self, system: System) -> None:
        before = system.rows()
        system.replay()
        failing = tally(factor=5)
        counted = failing._handlers["COUNTED"]

        def raising(row: Any, event: Any) -> Any:
            if event.event_id == 6:
                raise ValueError("not this one")
            return counted(row, event)

        failing._handlers["COUNTED"] = raising
        system.deploy(failing)

        progress = system.replay()

        assert progress.job.state == FAILED
        assert progress.job.error is not None
        assert progress.job.error["eventId"] == 6
        assert system.rows() == before
        system.append({"k": "0001", "v": 1})
        system.project(STREAM)
        assert system.rows() == system.expected()
        system.reconcile()
        system.work()
        assert (system.rows(0), system.rows(2), system.control.sweep) == ({}, {}, ())

    def test_a_rollback_and_a_sweep(self, system: System) -> None:
        system.replay()
        system.append({"k": "0001", "v": 5}, stream_id="late")
        system.project()

        replay_id = system.replays().rollback().job.replay_id
        system.work()

        assert system.progress(replay_id).job.state == DONE
        assert (system.control.active, system.is_complete()) == (0, True)
        system.replay()
        system.reconcile()
        system.work()
        assert (system.rows(1), system.control.sweep) == ({}, ())
        assert system.is_complete()
