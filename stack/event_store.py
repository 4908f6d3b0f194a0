"""The event store: the Events table, its sparse index of streams, and the idempotency records."""

from __future__ import annotations

from aws_cdk import RemovalPolicy
from aws_cdk import aws_dynamodb as dynamodb
from constructs import Construct

from stack.function import EsFunction, accept, pin_logical_id

STREAMS_INDEX = "streams"


class EventStore(Construct):
    """The tables with data that cannot be derived."""

    def __init__(self, scope: Construct) -> None:
        super().__init__(scope, "EventStore")
        self.events = dynamodb.Table(
            self,
            "Events",
            partition_key=dynamodb.Attribute(name="streamId", type=dynamodb.AttributeType.STRING),
            sort_key=dynamodb.Attribute(name="eventId", type=dynamodb.AttributeType.NUMBER),
            billing_mode=dynamodb.BillingMode.PAY_PER_REQUEST,
            stream=dynamodb.StreamViewType.NEW_IMAGE,
            point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
                point_in_time_recovery_enabled=True
            ),
            removal_policy=RemovalPolicy.RETAIN,
            deletion_protection=True,
        )
        pin_logical_id(self.events, "Events")
        # Only events 0 have a streamShard: the index costs one write per stream (E6).
        self.events.add_global_secondary_index(
            index_name=STREAMS_INDEX,
            partition_key=dynamodb.Attribute(name="streamShard", type=dynamodb.AttributeType.STRING),
            sort_key=dynamodb.Attribute(name="streamId", type=dynamodb.AttributeType.STRING),
            projection_type=dynamodb.ProjectionType.KEYS_ONLY,
        )
        self.idempotency = dynamodb.Table(
            self,
            "Idempotency",
            partition_key=dynamodb.Attribute(name="idempotencyKey", type=dynamodb.AttributeType.STRING),
            billing_mode=dynamodb.BillingMode.PAY_PER_REQUEST,
            time_to_live_attribute="expiresAt",
            removal_policy=RemovalPolicy.DESTROY,
        )
        pin_logical_id(self.idempotency, "Idempotency")
        accept(
            self.idempotency,
            "AwsSolutions-DDB3",
            "Records of idempotency keys expire within days (TTL); restoring one would be useless.",
        )

    def allow_append(self, function: EsFunction) -> None:
        """Let a function append: read the head, and put events, if need be with an idempotency record."""
        function.allow(["dynamodb:PutItem", "dynamodb:Query"], self.events.table_arn)
        function.allow(["dynamodb:GetItem", "dynamodb:PutItem"], self.idempotency.table_arn)

    def allow_reading(self, function: EsFunction) -> None:
        """Let a function read the history of any stream."""
        function.allow(["dynamodb:Query"], self.events.table_arn)

    def allow_scanning(self, function: EsFunction) -> None:
        """Let a function read the whole history in parallel."""
        function.allow(["dynamodb:Scan"], self.events.table_arn)

    def allow_listing_streams(self, function: EsFunction) -> None:
        """Let a function list the streams."""
        function.allow(["dynamodb:Query"], f"{self.events.table_arn}/index/{STREAMS_INDEX}")
