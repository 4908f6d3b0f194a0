"""From the table's stream to the topic: the publisher, its failure queue and the FIFO topic (P8)."""

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

BATCH_SIZE = 100  # ten PublishBatch calls of ten; larger ones make a retry dearer and save nothing
RETRIES = 5  # while a batch is retried its shard waits; what is given up, the reconciler heals within minutes (P6)
MAX_RECORD_AGE_MIN = 10


class Publisher(Construct):
    """Announces every event that the table has stored."""

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
                description="Announces stored events on the topic",
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
            # CloudFormation generates no name that ends in .fifo for a topic, so this one follows the stack's.
            topic_name=f"{Aws.STACK_NAME}-events.fifo",
            fifo=True,
            # Deduplication and throughput per stream: the topic as a whole has no limit of 300 messages a second.
            fifo_throughput_scope=sns.FifoThroughputScope.MESSAGE_GROUP,
        )
        topic.add_to_resource_policy(only_over_tls("sns:Publish", topic.topic_arn))
        pin_logical_id(topic, "Topic")
        # At rest under the key that SNS manages in the account: nobody needs a permission for it, and it costs cents.
        cast(sns.CfnTopic, topic.node.default_child).kms_master_key_id = "alias/aws/sns"
        return topic

    def _failure_queue(self) -> sqs.Queue:
        """Make the on-failure destination, a standard queue: event source mappings take no FIFO queue for it."""
        queue = sqs.Queue(
            self,
            "Failures",
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            retention_period=Duration.days(DEAD_LETTER_DAYS),
            # Lambda sends to it; no queue has it as its dead-letter queue.
            redrive_allow_policy=sqs.RedriveAllowPolicy(redrive_permission=sqs.RedrivePermission.DENY_ALL),
        )
        queue.add_to_resource_policy(only_over_tls("sqs:*", queue.queue_arn))
        pin_logical_id(queue, "FailureQueue")
        accept(queue, "AwsSolutions-SQS3", "It is itself where what failed ends up; an alarm watches it.")
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
            # Events are never changed; what isn't an insert is TTL or an operator's repair, and no news.
            filters=[lambda_.FilterCriteria.filter({"eventName": lambda_.FilterRule.is_equal("INSERT")})],
            on_failure=sources.SqsDlq(self.failures),
        )
