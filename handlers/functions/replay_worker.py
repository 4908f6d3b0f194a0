"""The function ``ReplayWorker``: does one task of one stream's replay per message (docs/rules.md)."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from handlers import runtime
from handlers.core.clock import SystemClock
from handlers.core.events import StreamId
from handlers.replay.jobs import REWIND
from handlers.replay.requests import Replays
from handlers.replay.worker import ReplayWorker, finish_rewind

# A step (a page of history and its rows) takes seconds at most; the rest is for sending the next task's message.
RESERVE_MS = 30_000


@cache
def _worker(name: str) -> ReplayWorker:
    return ReplayWorker(
        runtime.projection(name),
        runtime.event_store(),
        runtime.read_model(name),
        runtime.replay_jobs(),
        SystemClock(),
        send_next=lambda stream_id, replay_id: runtime.send_replay(name, replay_id, stream_id),
    )


@cache
def _replays(name: str) -> Replays:
    return runtime.replays(name)


def _events_done() -> int:
    """Return the number of events that the workers of this container have folded."""
    return sum(_worker(name).events_done for name in runtime.resources()) if _worker.cache_info().currsize else 0


def work(message: Mapping[str, Any], has_time: Callable[[], bool]) -> bool:
    """Do one task of the replay that a message names; True if nothing is left to do."""
    name, replay_id = message["projection"], message["replayId"]
    stream_id = message.get("streamId")
    if stream_id is None:
        after = _replays(name).enumerate(replay_id, message.get("after"))
        if after is not None:
            runtime.send_replay(name, replay_id, after=after)
        return after is None
    job = runtime.replay_jobs().find(replay_id)
    if job is not None and job.kind == REWIND:
        done = finish_rewind(
            job, StreamId(stream_id), runtime.projector(name), runtime.replay_jobs(), SystemClock(), has_time
        )
        if not done:
            runtime.send_replay(name, replay_id, stream_id)
        return done
    return _worker(name).work(StreamId(stream_id), replay_id, has_time)


@runtime.function
def handler(event: Mapping[str, Any], context: Any) -> Mapping[str, Any]:
    """Lambda entry point of the replay queue's event source mapping."""
    failed = []
    for record in event["Records"]:
        message = json.loads(record["body"])
        started, before = time.perf_counter(), _events_done()
        try:
            done = work(message, lambda: context.get_remaining_time_in_millis() > RESERVE_MS)
        except Exception:  # noqa: BLE001 - the outermost shell: SQS redelivers the message
            runtime.logger().exception("replay task failed; its message will be redelivered", extra=dict(message))
            failed.append(record["messageId"])
            continue
        seconds, events = time.perf_counter() - started, _events_done() - before
        measured = {"ended": done, "seconds": round(seconds, 3), "events": events}
        runtime.logger().info("replay task", extra={**message, **measured})
        if events:
            runtime.rate("ReplayRate", events / seconds)
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}
