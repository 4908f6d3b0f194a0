"""The function ``ReplayWorker``: does one task of a replay, or of a sweep, per message (docs/rules.md)."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from handlers import runtime
from handlers.core import lossless_json
from handlers.replay.worker import ReplayWorker

# A step (a page of history and its rows) takes seconds at most; the rest is for sending the next task's message.
RESERVE_MS = 30_000


@cache
def _worker(name: str) -> ReplayWorker:
    return runtime.replay_worker(name)


def work(
    worker: ReplayWorker,
    message: Mapping[str, Any],
    has_time: Callable[[], bool],
    sweep_again: Callable[[str, int], None],
) -> bool:
    """Do the task that a message names; True if nothing is left to do, otherwise the message for the rest was sent."""
    if "sweep" not in message:
        return worker.work(message["replayId"], message.get("segment"), has_time)
    done = worker.sweep(message["sweep"], has_time)
    if not done:
        sweep_again(message["projection"], message["sweep"])
    return done


@runtime.function
def handler(event: Mapping[str, Any], context: Any) -> Mapping[str, Any]:
    """Lambda entry point of the replay queue's event source mapping."""
    failed = []
    for record in event["Records"]:
        message: Mapping[str, Any] = {}
        started = time.perf_counter()
        try:
            message = lossless_json.loads(record["body"])
            worker = _worker(message["projection"])
            before = worker.events_done
            done = work(
                worker,
                message,
                lambda: context.get_remaining_time_in_millis() > RESERVE_MS,
                lambda name, generation: runtime.send_sweep(name, generation, salt=uuid.uuid4().hex),
            )
        except Exception:  # noqa: BLE001 - the outermost shell: SQS redelivers the message
            runtime.logger().exception("replay task failed; its message will be redelivered", extra=dict(message))
            failed.append(record["messageId"])
            continue
        seconds, events = time.perf_counter() - started, worker.events_done - before
        measured = {"ended": done, "seconds": round(seconds, 3), "events": events}
        runtime.logger().info("replay task", extra={**message, **measured})
        if events:
            runtime.rate("ReplayRate", events / seconds)
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}
