"""One projection: its queues, its read model, and the functions that project and list."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Protocol

from aws_cdk import RemovalPolicy
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from constructs import Construct

from handlers.api.routes import list_rows
from handlers.core.messages import stream_hash
from stack.event_store import EventStore
from stack.function import EsFunction, FunctionSpec, Platform, accept, pin_logical_id
from stack.queues import FifoQueue

BATCH_SIZE = 10  # the maximum for a FIFO queue
PROJECTOR_TIMEOUT_S = 30  # short: a failed message is redelivered only after six times this


class ProjectionDefinition(Protocol):
    """The part of a registered projection that the stack reads."""

    @property
    def name(self) -> str: ...
    @property
    def pascal_name(self) -> str: ...
    @property
    def key(self) -> str: ...
    @property
    def streams(self) -> tuple[str, ...] | None: ...


class ProjectionStack(Construct):
    """The resources of one projection."""

    def __init__(
        self,
        scope: Construct,
        definition: ProjectionDefinition,
        platform: Platform,
        store: EventStore,
        topic: sns.ITopic,
    ) -> None:
        super().__init__(scope, f"{definition.pascal_name}Projection")
        self.definition = definition
        self.queue = FifoQueue(self, definition.pascal_name, consumer_timeout_s=PROJECTOR_TIMEOUT_S)
        self.state = self._table("State", "streamId")
        self.rows = self._table("Rows", "streamGeneration", sort_key=definition.key)
        self._subscribe(topic)
        self.projector = self._projector(platform, store)
        self.lister = self._lister(platform)

    @property
    def where(self) -> dict[str, str]:
        """Its entry in the environment variable PROJECTIONS."""
        return {
            "state": self.state.table_name,
            "rows": self.rows.table_name,
            "queue": self.queue.queue.queue_url,
        }

    def allow_reading_state(self, function: EsFunction) -> None:
        """Let a function read checkpoints, of one stream or all."""
        function.allow(["dynamodb:GetItem", "dynamodb:Scan"], self.state.table_arn)

    def allow_changing_state(self, function: EsFunction) -> None:
        """Let a function resume, skip or retire: conditional updates of the state item."""
        function.allow(["dynamodb:UpdateItem"], self.state.table_arn)

    def allow_moving_state(self, function: EsFunction) -> None:
        """Let a function read and change the state of a known stream."""
        function.allow(["dynamodb:GetItem", "dynamodb:UpdateItem"], self.state.table_arn)

    def allow_projecting(self, function: EsFunction) -> None:
        """Let a function fold events into rows: rows and checkpoint in one transaction (P2)."""
        self.allow_moving_state(function)
        function.allow(["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:DeleteItem"], self.rows.table_arn)

    def allow_sweeping(self, function: EsFunction) -> None:
        """Let a function delete the rows of an old generation."""
        function.allow(["dynamodb:Query", "dynamodb:BatchWriteItem"], self.rows.table_arn)

    def _table(self, suffix: str, partition_key: str, sort_key: str | None = None) -> dynamodb.Table:
        table = dynamodb.Table(
            self,
            suffix,
            partition_key=dynamodb.Attribute(name=partition_key, type=dynamodb.AttributeType.STRING),
            sort_key=None
            if sort_key is None
            else dynamodb.Attribute(name=sort_key, type=dynamodb.AttributeType.STRING),
            billing_mode=dynamodb.BillingMode.PAY_PER_REQUEST,
            removal_policy=RemovalPolicy.DESTROY,
        )
        pin_logical_id(table, f"{self.definition.pascal_name}{suffix}")
        accept(table, "AwsSolutions-DDB3", "Derived from the events: a replay rebuilds it.")
        return table

    def _subscribe(self, topic: sns.ITopic) -> None:
        streams = self.definition.streams
        topic.add_subscription(
            subscriptions.SqsSubscription(
                self.queue.queue,
                raw_message_delivery=True,
                filter_policy=None if streams is None else {"stream": only(streams)},
            )
        )

    def _projector(self, platform: Platform, store: EventStore) -> EsFunction:
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
            {"EVENTS_TABLE": store.events.table_name, "PROJECTION": name, "PROJECTIONS": described([self])},
        )
        store.allow_reading(function)
        self.allow_projecting(function)
        self.queue.feed(function, batch_size=BATCH_SIZE)
        return function

    def _lister(self, platform: Platform) -> EsFunction:
        name = self.definition.name
        function = EsFunction(
            self,
            FunctionSpec(
                logical_id=list_rows(self.definition).function,
                module="list_items",
                service=f"list-{name}",
                description=f"Lists the read model of {name}",
            ),
            platform,
            {"PROJECTIONS": described([self])},
        )
        function.allow(["dynamodb:GetItem"], self.state.table_arn)
        function.allow(["dynamodb:Query"], self.rows.table_arn)
        return function


def only(streams: Iterable[str]) -> sns.SubscriptionFilter:
    """Filter messages by the hash of the stream id, since ids may contain any Unicode."""
    return sns.SubscriptionFilter.string_filter(allowlist=[stream_hash(stream) for stream in streams])


def described(projections: Iterable[ProjectionStack]) -> str:
    """Render the environment variable PROJECTIONS: the tables and queue of each projection."""
    places: Mapping[str, dict[str, str]] = {each.definition.name: each.where for each in projections}
    return json.dumps(places, separators=(",", ":"))
