"""Messages of the replay queue: which work each names, and what is sent for the rest."""

from __future__ import annotations

from typing import Any

import pytest

from handlers.functions.reconciler import send_batches
from handlers.functions.replay_worker import work


class Worker:
    """Takes note of its work, and is never done unless told so."""

    def __init__(self, *, done: bool = False) -> None:
        self.done = done
        self.calls: list[tuple[Any, ...]] = []

    def work(self, replay_id: str, segment: int | None, has_time: Any) -> bool:
        self.calls.append((replay_id, segment))
        return self.done

    def sweep(self, generation: int, has_time: Any) -> bool:
        self.calls.append((generation,))
        return self.done


def worked(message: dict[str, Any], *, done: bool = False) -> tuple[list[tuple[Any, ...]], list[tuple[str, int]], bool]:
    worker: Any = Worker(done=done)
    again: list[tuple[str, int]] = []
    ended = work(worker, message, lambda: True, lambda *task: again.append(task))
    return worker.calls, again, ended


@pytest.mark.parametrize(("message", "task"), [({}, ("r-1", None)), ({"segment": 0}, ("r-1", 0))])
def test_a_replays_message_names_a_segment_or_the_whole_job(message: dict[str, Any], task: tuple[Any, ...]) -> None:
    calls, again, ended = worked({"projection": "orders", "replayId": "r-1", **message})

    assert calls == [task]
    assert again == []  # the worker sends what is left of a job itself
    assert not ended


@pytest.mark.parametrize(("done", "rest"), [(False, [("orders", 3)]), (True, [])])
def test_a_sweep_that_runs_out_of_time_continues_with_another_message(done: bool, rest: list[Any]) -> None:
    calls, again, ended = worked({"projection": "orders", "sweep": 3}, done=done)

    assert calls == [(3,)]
    assert again == rest
    assert ended is done


def test_triggers_are_sent_by_the_ten_and_refused_ones_counted() -> None:
    class Sqs:
        sizes: list[int] = []  # noqa: RUF012

        def send_message_batch(self, *, QueueUrl: str, Entries: list[Any]) -> dict[str, Any]:  # noqa: N803
            self.sizes.append(len(Entries))
            return {"Failed": [{"Id": "0"}]} if len(self.sizes) == 2 else {}

    assert send_batches([{"MessageBody": "m"}] * 23, Sqs(), "https://queue") == 1
    assert Sqs.sizes == [10, 10, 3]
