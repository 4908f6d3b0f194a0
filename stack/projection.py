"""One projection: its queue and dead-letter queue, its subscription to the topic, and its projector."""

from __future__ import annotations

from typing import Protocol

from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from constructs import Construct

from handlers.core.events import StreamId
from handlers.core.messages import START_ATTRIBUTE, STREAM_ATTRIBUTE, stream_hash, stream_start
from stack.event_store import EventStore
from stack.function import EsFunction, FunctionSpec, Platform
from stack.queues import FifoQueue
from stack.read_models import ReadModels

BATCH_SIZE = 10  # the maximum for a FIFO queue
PROJECTOR_TIMEOUT_S = 30  # short: a failed message is redelivered only after six times this

MAX_FILTERED_STREAMS = 100
"""Streams in a subscription's filter, which holds 150 values ("Amazon SNS subscription filter policy constraints"). A
projection that names more gets all messages, and ignores those of other streams."""


class ProjectionDefinition(Protocol):
    """The part of a registered projection that the stack reads."""

    @property
    def name(self) -> str: ...
    @property
    def pascal_name(self) -> str: ...
    @property
    def key_attributes(self) -> tuple[str, ...]: ...
    @property
    def only_stream(self) -> StreamId | None: ...
    @property
    def streams(self) -> tuple[str, ...] | None: ...
    @property
    def prefix(self) -> str | None: ...


class ProjectionStack(Construct):
    """The resources of one projection; its states and rows are in the shared tables (`stack.read_models`)."""

    def __init__(
        self,
        scope: Construct,
        definition: ProjectionDefinition,
        platform: Platform,
        store: EventStore,
        read_models: ReadModels,
        topic: sns.ITopic,
    ) -> None:
        super().__init__(scope, f"{definition.pascal_name}Projection")
        self.definition = definition
        self.queue = FifoQueue(self, definition.pascal_name, consumer_timeout_s=PROJECTOR_TIMEOUT_S)
        topic.add_subscription(
            subscriptions.SqsSubscription(
                self.queue.queue, raw_message_delivery=True, filter_policy=subscription_filter(definition)
            )
        )
        self.projector = self._projector(platform, store, read_models)

    def _projector(self, platform: Platform, store: EventStore, read_models: ReadModels) -> EsFunction:
        name = self.definition.name
        function = EsFunction(
            self,
            FunctionSpec(
                logical_id=f"Projector{self.definition.pascal_name}",
                module="projector",
                service=f"projector-{name}",
                description=f"Folds events into the read model of {name}",
                timeout_s=PROJECTOR_TIMEOUT_S,
            ),
            platform,
            {
                "EVENTS_TABLE": store.events.table_name,
                **read_models.environment,
                "PROJECTION": name,
                "PROJECTION_QUEUES": self.queue.url_pattern,
            },
        )
        store.allow_reading(function)
        read_models.allow_projecting(function, name)
        read_models.allow_failing_jobs(function)
        self.queue.feed(function, batch_size=BATCH_SIZE)
        return function


def subscription_filter(definition: ProjectionDefinition) -> dict[str, sns.SubscriptionFilter] | None:
    """Return the filter of a projection's messages; None if it gets all.

    Attributes hold hashes and hexadecimal digits of stream ids, since ids may contain any Unicode.
    """
    if definition.prefix is not None:
        start = stream_start(definition.prefix)
        return {START_ATTRIBUTE: sns.SubscriptionFilter.string_filter(match_prefixes=[start])}
    if definition.streams is None or len(definition.streams) > MAX_FILTERED_STREAMS:
        return None
    hashes = [stream_hash(stream) for stream in definition.streams]
    return {STREAM_ATTRIBUTE: sns.SubscriptionFilter.string_filter(allowlist=hashes)}
