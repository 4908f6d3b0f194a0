"""Replays: the queue of their tasks, and the worker."""

from __future__ import annotations

from constructs import Construct

from stack.event_store import EventStore
from stack.function import VCPU_MB, EsFunction, FunctionSpec, Platform
from stack.queues import FifoQueue
from stack.read_models import ReadModels

WORKER_TIMEOUT_S = 120
"""Two of the possible fifteen minutes: after a crash the task's message is redelivered after six times this, and another
task costs only one message."""

WORKERS = 5  # a new account has 10 concurrent executions


class Replay(Construct):
    """Builds generations of read models in tasks (docs/rules.md)."""

    def __init__(self, scope: Construct, platform: Platform, store: EventStore, read_models: ReadModels) -> None:
        super().__init__(scope, "Replaying")
        self.queue = FifoQueue(self, "Replay", consumer_timeout_s=WORKER_TIMEOUT_S)
        self.worker = EsFunction(
            self,
            FunctionSpec(
                logical_id="ReplayWorker",
                module="replay_worker",
                service="replay-worker",
                description="Folds history into a new generation of a read model, then switches to it",
                timeout_s=WORKER_TIMEOUT_S,
                memory_mb=VCPU_MB,  # folding is CPU-bound
            ),
            platform,
            {
                "EVENTS_TABLE": store.events.table_name,
                **read_models.environment,
                "REPLAY_QUEUE_URL": self.queue.queue.queue_url,
            },
        )
        store.allow_reading(self.worker)
        store.allow_scanning(self.worker)
        read_models.allow_projecting(self.worker)
        read_models.allow_listing_states(self.worker)
        read_models.allow_sweeping(self.worker)
        read_models.allow_running_jobs(self.worker)
        self.queue.allow_sending(self.worker)
        # Tasks run up to their timeout; the limit leaves concurrency for API and projectors.
        self.queue.feed(self.worker, batch_size=1, max_concurrency=WORKERS)
