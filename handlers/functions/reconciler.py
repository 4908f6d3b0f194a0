"""Every minute: heads against checkpoints, and a nudge for what lags or stands still (P6)."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from handlers import runtime
from handlers.core import messages
from handlers.core.clock import Clock, SystemClock
from handlers.projection.reconcile import Lag, lags, retire, unfinished_replay, worst

# SQS takes ten messages a batch.
MAX_BATCH_ENTRIES = 10
# What is left of the function's time when it stops looking; the next run, a minute later, begins at another stream.
RESERVE_MS = 10_000


def send_batches(entries: Sequence[Mapping[str, str]], sqs: Any, queue_url: str) -> int:
    """Send queue entries, ten at a time; returns how many were refused (the next run sends those again)."""
    refused = 0
    for start in range(0, len(entries), MAX_BATCH_ENTRIES):
        batch = [{"Id": str(index), **entry} for index, entry in enumerate(entries[start : start + MAX_BATCH_ENTRIES])]
        refused += len(sqs.send_message_batch(QueueUrl=queue_url, Entries=batch).get("Failed", []))
    return refused


def reconcile(name: str, clock: Clock, has_time: Callable[[], bool]) -> dict[str, int]:
    """Compare, nudge and retire for one projection; returns what was found."""
    read_model = runtime.read_model(name)
    found: list[Lag] = []
    replays = retired = 0
    start = random.random()  # noqa: S311 - any place will do
    looked_at = lags(runtime.projection(name), runtime.event_store(), read_model, start=start)
    for lag in _while_time(looked_at, has_time):
        found.append(lag)
        retired += retire(lag.state, read_model, clock)
        replay_id = unfinished_replay(lag.state, clock.now())
        if replay_id:
            replays += 1
            runtime.send_replay(name, replay_id, lag.stream_id)
    salt = clock.now().isoformat()
    entries = [messages.trigger_entry(lag.stream_id, lag.head, salt) for lag in found if lag.needs_trigger]
    refused = send_batches(entries, runtime.client("sqs"), runtime.resources()[name].queue)
    return {
        "streams": len(found),
        "nudged": len(entries) - refused,
        "refused": refused,
        "replays": replays,
        "retired": retired,
        "halted": sum(lag.state.is_halted for lag in found),
        "lag": worst(found),
    }


def _while_time(found: Iterator[Lag], has_time: Callable[[], bool]) -> Iterator[Lag]:
    for lag in found:
        yield lag
        if not has_time():
            runtime.logger().warning("time is up; the streams not looked at wait for the next run")
            return


@runtime.function
def handler(event: Mapping[str, Any], context: Any) -> Mapping[str, Any]:
    """Lambda entry point of the schedule."""
    report = {}
    for name in runtime.resources():
        found = reconcile(name, SystemClock(), lambda: context.get_remaining_time_in_millis() > RESERVE_MS)
        report[name] = found
        runtime.logger().info("reconciled", extra={"projection": name, **found})
        runtime.gauge(name, ProjectionLag=found["lag"], StreamsHalted=found["halted"])
    return report
