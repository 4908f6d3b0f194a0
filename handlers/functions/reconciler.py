"""The function ``Reconciler``: compares heads with checkpoints every minute and triggers stale streams (P6)."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from handlers import runtime
from handlers.core import messages
from handlers.core.clock import Clock, SystemClock
from handlers.projection.reconcile import Lag, lags, retire, unfinished_replay, worst

# SQS accepts ten messages per batch.
MAX_BATCH_ENTRIES = 10
# It stops when this is left of the function's time; the next run, a minute later, starts at another stream.
RESERVE_MS = 10_000


def send_batches(entries: Sequence[Mapping[str, str]], sqs: Any, queue_url: str) -> int:
    """Send queue entries in batches; returns how many were refused (the next run resends them)."""
    refused = 0
    for start in range(0, len(entries), MAX_BATCH_ENTRIES):
        batch = [{"Id": str(index), **entry} for index, entry in enumerate(entries[start : start + MAX_BATCH_ENTRIES])]
        refused += len(sqs.send_message_batch(QueueUrl=queue_url, Entries=batch).get("Failed", []))
    return refused


def reconcile(name: str, clock: Clock, has_time: Callable[[], bool]) -> dict[str, int]:
    """Trigger stale streams and retire old generations of one projection; returns counts for the log."""
    read_model = runtime.read_model(name)
    found: list[Lag] = []
    replays = retired = 0
    start = random.random()  # noqa: S311 - not for security
    examined = lags(runtime.projection(name), runtime.event_store(), read_model, start=start)
    for lag in _while_time(examined, has_time):
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
            runtime.logger().warning("out of time; the next run examines the remaining streams")
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
