"""Replays: the job table, the task queue and the worker."""

from __future__ import annotations

from collections.abc import Sequence

from aws_cdk import RemovalPolicy
from aws_cdk import aws_dynamodb as dynamodb
from constructs import Construct

from stack.event_store import EventStore
from stack.function import VCPU_MB, EsFunction, FunctionSpec, Platform, accept, pin_logical_id
from stack.projection import ProjectionStack, described
from stack.queues import FifoQueue

RECENT_INDEX = "recent"

WORKER_TIMEOUT_S = 120
"""Two of the possible fifteen minutes: after a crash the task's message is redelivered after six times this, and another
task costs only one message."""

WORKERS = 5  # a new account has 10 concurrent executions


class Replay(Construct):
    """Rebuilds generations of read models in tasks (docs/rules.md)."""

    def __init__(
        self, scope: Construct, platform: Platform, store: EventStore, projections: Sequence[ProjectionStack]
    ) -> None:
        super().__init__(scope, "Replaying")
        self.queue = FifoQueue(self, "Replay", consumer_timeout_s=WORKER_TIMEOUT_S)
        self.jobs = self._job_table()
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
                "JOBS_TABLE": self.jobs.table_name,
                "REPLAY_QUEUE_URL": self.queue.queue.queue_url,
                "PROJECTIONS": described(projections),
            },
        )
        store.allow_reading(self.worker)
        store.allow_listing_streams(self.worker)
        for projection in projections:
            projection.allow_projecting(self.worker)
            projection.allow_sweeping(self.worker)
        self.allow_reading_jobs(self.worker)
        self.allow_writing_jobs(self.worker)
        self.queue.allow_sending(self.worker)
        # Tasks run up to their timeout; the limit leaves concurrency for API and projectors.
        self.queue.feed(self.worker, batch_size=1, max_concurrency=WORKERS)

    def allow_reading_jobs(self, function: EsFunction) -> None:
        """Let a function read a job and its streams."""
        function.allow(["dynamodb:Query"], self.jobs.table_arn)

    def allow_listing_jobs(self, function: EsFunction) -> None:
        """Let a function list the recent jobs."""
        function.allow(["dynamodb:Query"], f"{self.jobs.table_arn}/index/{RECENT_INDEX}")

    def allow_writing_jobs(self, function: EsFunction) -> None:
        """Let a function record a job and its progress."""
        function.allow(["dynamodb:PutItem"], self.jobs.table_arn)

    def _job_table(self) -> dynamodb.Table:
        jobs = dynamodb.Table(
            self,
            "Jobs",
            partition_key=dynamodb.Attribute(name="replayId", type=dynamodb.AttributeType.STRING),
            sort_key=dynamodb.Attribute(name="part", type=dynamodb.AttributeType.STRING),
            billing_mode=dynamodb.BillingMode.PAY_PER_REQUEST,
            time_to_live_attribute="expiresAt",
            removal_policy=RemovalPolicy.DESTROY,
        )
        jobs.add_global_secondary_index(
            index_name=RECENT_INDEX,
            partition_key=dynamodb.Attribute(name="kind", type=dynamodb.AttributeType.STRING),
            sort_key=dynamodb.Attribute(name="startedAt", type=dynamodb.AttributeType.STRING),
        )
        pin_logical_id(jobs, "Jobs")
        accept(jobs, "AwsSolutions-DDB3", "Progress reports that expire (TTL); decisions are in the state items.")
        return jobs
