"""FIFO queues with a dead-letter queue each, all declared alike."""

from __future__ import annotations

from aws_cdk import Duration
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from stack.function import EsFunction, pin_logical_id
from stack.tls import only_over_tls

VISIBILITY_FACTOR = 6
"""Lambda's advice for queues as event sources: six times the function's timeout, so that throttled batches wait
rather than come back while they are still worked on ("Using Lambda with Amazon SQS")."""

MAX_RECEIVE_COUNT = 3
"""Deliveries before a message is a dead letter. What it hinted at is in the store, so more would only wait longer."""

DEAD_LETTER_DAYS = 14  # the longest that SQS keeps a message


class FifoQueue(Construct):
    """A FIFO queue in high-throughput mode and its dead-letter queue, with pinned logical ids.

    Parameters
    ----------
    name
        ``<name>Queue`` and ``<name>DeadLetterQueue`` are the logical ids.
    consumer_timeout_s
        Timeout of the function that consumes it.
    """

    def __init__(self, scope: Construct, name: str, *, consumer_timeout_s: int) -> None:
        super().__init__(scope, "Fifo")
        self.dead_letters = self._queue("DeadLetterQueue", name, retention=Duration.days(DEAD_LETTER_DAYS))
        self.queue = self._queue(
            "Queue",
            name,
            visibility=Duration.seconds(VISIBILITY_FACTOR * consumer_timeout_s),
            dead_letters=sqs.DeadLetterQueue(queue=self.dead_letters, max_receive_count=MAX_RECEIVE_COUNT),
        )

    def _queue(
        self,
        suffix: str,
        name: str,
        *,
        retention: Duration | None = None,
        visibility: Duration | None = None,
        dead_letters: sqs.DeadLetterQueue | None = None,
    ) -> sqs.Queue:
        queue = sqs.Queue(
            self,
            suffix,
            fifo=True,
            # Both are needed for high throughput: one group per stream, and groups don't wait for each other (P7).
            deduplication_scope=sqs.DeduplicationScope.MESSAGE_GROUP,
            fifo_throughput_limit=sqs.FifoThroughputLimit.PER_MESSAGE_GROUP_ID,
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            retention_period=retention,
            visibility_timeout=visibility,
            dead_letter_queue=dead_letters,
        )
        queue.add_to_resource_policy(only_over_tls("sqs:*", queue.queue_arn))
        pin_logical_id(queue, f"{name}{suffix}")
        return queue

    def feed(self, function: EsFunction, *, batch_size: int, max_concurrency: int | None = None) -> None:
        """Make a function consume the queue and report which messages of a batch failed."""
        # The first three are what Lambda itself needs; with the last the function lets a message that failed come back
        # within seconds, not only after six times its timeout.
        function.allow(
            [
                "sqs:ReceiveMessage",
                "sqs:DeleteMessage",
                "sqs:GetQueueAttributes",
                "sqs:ChangeMessageVisibility",
            ],
            self.queue.queue_arn,
        )
        function.resource.add_event_source_mapping(
            "Messages",
            event_source_arn=self.queue.queue_arn,
            batch_size=batch_size,
            max_concurrency=max_concurrency,
            report_batch_item_failures=True,
        )

    def allow_sending(self, function: EsFunction) -> None:
        """Let a function send messages to the queue."""
        function.allow(["sqs:SendMessage"], self.queue.queue_arn)
