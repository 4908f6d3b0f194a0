"""The schedule that compares heads with checkpoints and nudges what lags (P6)."""

from __future__ import annotations

from collections.abc import Sequence

from aws_cdk import Duration
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from constructs import Construct

from stack.event_store import EventStore
from stack.function import EsFunction, FunctionSpec, Platform
from stack.projection import ProjectionStack, described
from stack.replay import Replay

EVERY_MIN = 1  # the shortest that EventBridge offers


class Reconciler(Construct):
    """Makes sure that even an event whose every message was lost is projected."""

    def __init__(
        self,
        scope: Construct,
        platform: Platform,
        store: EventStore,
        projections: Sequence[ProjectionStack],
        replay: Replay,
    ) -> None:
        super().__init__(scope, "Reconciling")
        self.function = EsFunction(
            self,
            FunctionSpec(
                logical_id="Reconciler",
                module="reconciler",
                service="reconciler",
                description="Compares heads with checkpoints and nudges what lags",
                timeout_s=60 * EVERY_MIN,
            ),
            platform,
            {
                "EVENTS_TABLE": store.events.table_name,
                "REPLAY_QUEUE_URL": replay.queue.queue.queue_url,
                "PROJECTIONS": described(projections),
            },
        )
        store.allow_reading(self.function)
        store.allow_listing_streams(self.function)
        replay.queue.allow_sending(self.function)
        for projection in projections:
            projection.allow_reading_state(self.function)
            projection.allow_changing_state(self.function)
            projection.queue.allow_sending(self.function)
        # No retries: the next run does what this one didn't.
        target = targets.LambdaFunction(self.function.resource, retry_attempts=0)
        events.Rule(self, "Schedule", schedule=events.Schedule.rate(Duration.minutes(EVERY_MIN)), targets=[target])
