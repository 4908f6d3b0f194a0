"""The function ``Reconciler``: once per minute and projection, triggers what no message will (P6)."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from handlers import runtime
from handlers.core import messages
from handlers.core.clock import SystemClock
from handlers.domain import registry
from handlers.projection.reconcile import Lag, Reconciler
from handlers.projection.state import Document

# SQS accepts ten messages per batch.
MAX_BATCH_ENTRIES = 10
# Of all projections; the record of a replay is found without this list.
MAX_JOBS = 20
# It stops when this is left of the function's time: a batch of streams takes a second or two.
RESERVE_MS = 15_000


def send_batches(entries: Sequence[Mapping[str, str]], sqs: Any, queue_url: str) -> int:
    """Send queue entries in batches; returns how many were refused."""
    refused = 0
    for start in range(0, len(entries), MAX_BATCH_ENTRIES):
        batch = [{"Id": str(index), **entry} for index, entry in enumerate(entries[start : start + MAX_BATCH_ENTRIES])]
        refused += len(sqs.send_message_batch(QueueUrl=queue_url, Entries=batch).get("Failed", []))
    return refused


@dataclass(frozen=True, slots=True)
class QueueActions:
    """`Actions` as messages to the queues of a projection and of replays."""

    projection: str

    def running(self) -> Sequence[Document]:
        recent = runtime.replay_jobs().recent(MAX_JOBS)
        return [each for each in recent if each["projection"] == self.projection and "finishedAt" not in each]

    def trigger(self, lags: Sequence[Lag]) -> int:
        salt = uuid.uuid4().hex
        entries = [messages.trigger_entry(lag.stream_id, lag.head, salt) for lag in lags]
        return send_batches(entries, runtime.client("sqs"), runtime.queue_url(self.projection))

    def resend(self, replay_id: str) -> None:
        runtime.send_replay(self.projection, replay_id)

    def sweep(self, generation: int) -> None:
        runtime.send_sweep(self.projection, generation)

    def backfill(self) -> None:
        runtime.replays(self.projection).trigger()


@runtime.function
def handler(event: Mapping[str, Any], context: Any) -> Mapping[str, Any]:
    """Lambda entry point of the schedules, each with ``{"projection": name}``; without a name it does all of them."""
    reports = {}
    for name in [event["projection"]] if "projection" in event else registry():
        reconciler = Reconciler(
            runtime.code(name), runtime.event_store(), runtime.read_model(name), SystemClock(), QueueActions(name)
        )
        report = reconciler.run(lambda: context.get_remaining_time_in_millis() > RESERVE_MS)
        reports[name] = asdict(report)
        runtime.logger().info("reconciled", extra={"projection": name, **reports[name]})
        runtime.gauge(name, ProjectionLag=report.lag, StreamsHalted=report.halted)
    return reports
