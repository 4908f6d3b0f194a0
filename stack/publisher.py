"""The publisher from the table's stream to the FIFO topic, and its failure queue (P8)."""

from __future__ import annotations

from typing import cast

from aws_cdk import Aws, Duration
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_lambda_event_sources as sources
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from stack.event_store import EventStore
from stack.function import EsFunction, FunctionSpec, Platform, accept, pin_logical_id
from stack.queues import DEAD_LETTER_DAYS, only_over_tls

BATCH_SIZE = 100  # ten PublishBatch calls of ten; larger batches only make retries more expensive
RETRIES = 5  # retries block the shard; the reconciler recovers failed batches within minutes (P6)
MAX_RECORD_AGE_MIN = 10


class Publisher(Construct):
    """Publishes every stored event."""

    def __init__(self, scope: Construct, platform: Platform, store: EventStore) -> None:
        super().__init__(scope, "Publishing")
        self.topic = self._topic()
        self.failures = self._failure_queue()
        self.function = EsFunction(
            self,
            FunctionSpec(
                logical_id="Publisher",
                module="publisher",
                service="publisher",
                description="Publishes stored events to the topic",
                timeout_s=30,
            ),
            platform,
            {"TOPIC_ARN": self.topic.topic_arn},
        )
        self.function.allow(["sns:Publish"], self.topic.topic_arn)
        self._follow(store)

    def _topic(self) -> sns.Topic:
        topic = sns.Topic(
            self,
            "Topic",
            # CloudFormation generates no topic name that ends in .fifo.
            topic_name=f"{Aws.STACK_NAME}-events.fifo",
            fifo=True,
            # Per message group, so that the topic as a whole is not limited to 3,000 messages per second.
            fifo_throughput_scope=sns.FifoThroughputScope.MESSAGE_GROUP,
        )
        topic.add_to_resource_policy(only_over_tls("sns:Publish", topic.topic_arn))
        pin_logical_id(topic, "Topic")
        # Encrypted at rest with the AWS-managed key of SNS, which needs no permissions.
        cast(sns.CfnTopic, topic.node.default_child).kms_master_key_id = "alias/aws/sns"
        return topic

    def _failure_queue(self) -> sqs.Queue:
        """Declare the on-failure destination; event source mappings accept only a standard queue."""
        queue = sqs.Queue(
            self,
            "Failures",
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            retention_period=Duration.days(DEAD_LETTER_DAYS),
            # Only Lambda sends to it; it is no queue's dead-letter queue.
            redrive_allow_policy=sqs.RedriveAllowPolicy(redrive_permission=sqs.RedrivePermission.DENY_ALL),
        )
        queue.add_to_resource_policy(only_over_tls("sqs:*", queue.queue_arn))
        pin_logical_id(queue, "FailureQueue")
        accept(queue, "AwsSolutions-SQS3", "It is a failure queue itself; an alarm watches it.")
        return queue

    def _follow(self, store: EventStore) -> None:
        stream_arn = store.events.table_stream_arn or ""
        self.function.allow(
            ["dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator", "dynamodb:ListStreams"],
            stream_arn,
        )
        self.function.allow(["sqs:SendMessage"], self.failures.queue_arn)
        self.function.resource.add_event_source_mapping(
            "Stream",
            event_source_arn=stream_arn,
            starting_position=lambda_.StartingPosition.TRIM_HORIZON,
            batch_size=BATCH_SIZE,
            bisect_batch_on_error=True,
            retry_attempts=RETRIES,
            max_record_age=Duration.minutes(MAX_RECORD_AGE_MIN),
            # Events are immutable; other records come from TTL or an operator's repair.
            filters=[lambda_.FilterCriteria.filter({"eventName": lambda_.FilterRule.is_equal("INSERT")})],
            on_failure=sources.SqsDlq(self.failures),
        )
