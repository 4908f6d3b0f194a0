"""FIFO queues, each with a dead-letter queue, and the TLS policy of queues and topics."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from aws_cdk import Aws, Duration, Fn, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from stack.function import EsFunction, pin_logical_id

VISIBILITY_FACTOR = 6
"""Visibility timeout as a multiple of the function's timeout, so that throttled batches are not delivered twice ("Using
Lambda with Amazon SQS")."""

MAX_RECEIVE_COUNT = 3
"""Deliveries before a message becomes a dead letter. A message is only a hint, so more would only delay the alarm."""

DEAD_LETTER_DAYS = 14  # the maximum of SQS

# The one concession to the local target: the same template is deployed there, where the endpoint speaks plain HTTP on the
# loopback address. No AWS account has this number.
_LOCAL_ACCOUNT = "000000000000"


class FifoQueue(Construct):
    """A FIFO queue in high-throughput mode and its dead-letter queue, with pinned logical ids.

    Parameters
    ----------
    name
        Prefix of the logical ids ``<name>Queue`` and ``<name>DeadLetterQueue``.
    consumer_timeout_s
        Timeout of the consuming function.
    """

    def __init__(self, scope: Construct, name: str, *, consumer_timeout_s: int) -> None:
        super().__init__(scope, "Fifo")
        self._name = name
        queue_name = _name_in_stack(f"{name}Queue")
        self.dead_letters = self._queue(
            "DeadLetterQueue", _name_in_stack(f"{name}DeadLetterQueue"), retention=Duration.days(DEAD_LETTER_DAYS)
        )
        cast(sqs.CfnQueue, self.dead_letters.node.default_child).redrive_allow_policy = {
            "redrivePermission": "byQueue",
            "sourceQueueArns": [Stack.of(self).format_arn(service="sqs", resource=queue_name)],
        }
        self.queue = self._queue(
            "Queue",
            queue_name,
            visibility=Duration.seconds(VISIBILITY_FACTOR * consumer_timeout_s),
            dead_letters=sqs.DeadLetterQueue(queue=self.dead_letters, max_receive_count=MAX_RECEIVE_COUNT),
        )
        self.queue.add_to_resource_policy(only_over_tls("sqs:*", self.queue.queue_arn))

    @property
    def url_pattern(self) -> str:
        """The URL of every FIFO queue of the stack, with ``*`` in place of its name.

        The URLs of 30 queues do not fit into a function's environment (4 KB); they differ in their names only.
        """
        return Fn.join("/*Queue-", Fn.split(f"/{self._name}Queue-", self.queue.queue_url))

    def _queue(
        self,
        suffix: str,
        queue_name: str,
        *,
        retention: Duration | None = None,
        visibility: Duration | None = None,
        dead_letters: sqs.DeadLetterQueue | None = None,
    ) -> sqs.Queue:
        queue = sqs.Queue(
            self,
            suffix,
            queue_name=queue_name,
            fifo=True,
            # Both are required for high throughput, with one message group per stream (P7).
            deduplication_scope=sqs.DeduplicationScope.MESSAGE_GROUP,
            fifo_throughput_limit=sqs.FifoThroughputLimit.PER_MESSAGE_GROUP_ID,
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            retention_period=retention,
            visibility_timeout=visibility,
            dead_letter_queue=dead_letters,
        )
        pin_logical_id(queue, f"{self._name}{suffix}")
        return queue

    def feed(self, function: EsFunction, *, batch_size: int, max_concurrency: int | None = None) -> None:
        """Make a function consume the queue and report which messages of a batch failed."""
        # Lambda itself needs the first three; with the last the function makes failed messages visible again within
        # seconds instead of six times its timeout.
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


def protect_dead_letters(scope: Construct, queues: Iterable[FifoQueue]) -> None:
    """Declare one policy for the dead-letter queues of all queues: one per queue would be 30 resources more.

    A queue has at most one policy. CloudFormation deletes policies that are no longer in a template after it has created
    new ones: moving the policy of an existing queue to another resource removes it.
    """
    sqs.CfnQueuePolicy(
        scope,
        "DeadLetterQueuesPolicy",
        queues=[each.dead_letters.queue_url for each in queues],
        policy_document=iam.PolicyDocument(statements=[only_over_tls("sqs:*", "*")]),
    ).override_logical_id("DeadLetterQueuesPolicy")


def _name_in_stack(name: str) -> str:
    """Return a queue name that is known in the template.

    A dead-letter queue names its source, and is created before it: a generated name would be a circular dependency. And
    functions make the URLs of all queues from their names (`FifoQueue.url_pattern`). The end of the stack's UUID makes the
    name unique in the account, even if the stack is recreated within the 60 seconds for which SQS blocks the name of a
    deleted queue.
    """
    stack_uuid = Fn.select(2, Fn.split("/", Aws.STACK_ID))
    return f"{name}-{Fn.select(4, Fn.split('-', stack_uuid))}.fifo"


def only_over_tls(actions: str, resource_arn: str) -> iam.PolicyStatement:
    """Deny requests without TLS, except on the local target."""
    return iam.PolicyStatement(
        effect=iam.Effect.DENY,
        principals=[iam.AnyPrincipal()],
        actions=[actions],
        resources=[resource_arn],
        conditions={
            "Bool": {"aws:SecureTransport": "false"},
            "StringNotEquals": {"aws:ResourceAccount": _LOCAL_ACCOUNT},
        },
    )
