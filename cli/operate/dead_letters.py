"""Dead letters in SQS: parse them, and read a queue without losing a message."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from cli.client.aws import errors
from cli.operate.resources import Queue
from cli.terminal.text import visible

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

T = TypeVar("T")

TAKEN_MAX = 1000
_BATCH = 10  # the most entries of an SQS request
_HIDDEN_S = 30.0  # long enough to receive them all once
_HIDDEN_MAX_S = 43_200  # SQS: 12 hours
# Long polling queries all SQS servers; a short poll may miss messages.
_WAIT_S = 1


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One message of a dead-letter or failure queue."""

    queue: str  # its name in commands: a projection's name, replays or publisher
    message_id: str
    sent_at: datetime
    deliveries: int
    body: str
    receipt: str  # the handle to delete the message or to make it visible again

    @property
    def content(self) -> Mapping[str, Any]:
        """Return the body as a JSON object; empty if it is not one."""
        try:
            document = json.loads(self.body)
        except ValueError:
            return {}
        return document if isinstance(document, dict) else {}

    @property
    def stream_id(self) -> str | None:
        return self._field("streamId", str)

    @property
    def event_id(self) -> int | None:
        return self._field("eventId", int)

    @property
    def replay_id(self) -> str | None:
        return self._field("replayId", str)

    @property
    def swept(self) -> int | None:
        """The generation that a message of the replay queue says to delete."""
        return self._field("sweep", int)

    @property
    def is_task(self) -> bool:
        """Whether it is a message of the replay queue: work to do, not a hint."""
        return self.replay_id is not None or self.swept is not None

    def _field(self, name: str, kind: type[T]) -> T | None:
        found = self.content.get(name)
        return found if isinstance(found, kind) else None

    @property
    def about(self) -> str:
        if self.replay_id is not None:
            segment = self._field("segment", int)
            where = f", segment {segment}" if segment is not None else ""
            return f"replay {self.replay_id} of {self.content.get('projection')}{where}"
        if self.swept is not None:
            return f"deletion of generation {self.swept} of {self.content.get('projection')}"
        if self.stream_id is not None and self.event_id is not None:
            return f"event {self.event_id} of stream {self.stream_id}"
        batch = self.content.get("DDBStreamBatchInfo")
        if isinstance(batch, dict):
            condition = (self.content.get("requestContext") or {}).get("condition", "failed")
            since = batch.get("approximateArrivalOfFirstRecord", "?")
            return f"{batch.get('batchSize', '?')} events from {since} on were not published: {condition}"
        return "unreadable: not a message of this system"


class DeadLetterQueue:
    """The dead-letter or failure queue of one queue."""

    def __init__(self, client: SQSClient, queue: Queue) -> None:
        self.queue = queue
        self._client = client
        self._url = queue.dead_letter_url
        self._deleted: set[str] = set()

    def count(self) -> int:
        """Return the approximate number of messages, including hidden ones."""
        return self._count("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")

    @contextmanager
    def taken(self, limit: int = TAKEN_MAX, hidden_s: float = _HIDDEN_S) -> Iterator[list[DeadLetter]]:
        """Receive messages; those that the block does not delete become visible again, even if it is interrupted.

        SQS returns at most ten messages of a FIFO group (a stream), and no more until these are deleted. The block may take
        up to ``hidden_s``; if the process is killed, its messages stay hidden that long.
        """
        taken: list[DeadLetter] = []
        hidden = min(int(hidden_s), _HIDDEN_MAX_S)
        try:
            while len(taken) < limit and (batch := self._receive(min(_BATCH, limit - len(taken)), hidden)):
                taken += batch
            yield taken
        finally:
            self._release([each for each in taken if each.message_id not in self._deleted])

    def peek(self, limit: int) -> list[DeadLetter]:
        """Return some messages and leave all in the queue."""
        with self.taken(limit) as dead_letters:
            return dead_letters

    def delete(self, dead_letters: Sequence[DeadLetter]) -> list[DeadLetter]:
        """Delete received messages; returns those that SQS did not delete."""
        for batch in _batches(dead_letters):
            entries: Any = [{"Id": str(index), "ReceiptHandle": each.receipt} for index, each in enumerate(batch)]
            with errors():
                answer = self._client.delete_message_batch(QueueUrl=self._url, Entries=entries)
            self._deleted |= {batch[int(each["Id"])].message_id for each in answer.get("Successful", [])}
        return [each for each in dead_letters if each.message_id not in self._deleted]

    def purge(self) -> int:
        deleted = 0
        while True:
            with self.taken() as dead_letters:
                number = len(dead_letters) - len(self.delete(dead_letters))
            if not number:
                return deleted
            deleted += number

    def send_again(self, dead_letter: DeadLetter) -> None:
        """Send a message to its original queue, as a new one: FIFO deduplication might drop the old one."""
        unique = uuid.uuid4().hex
        with errors():
            self._client.send_message(
                QueueUrl=str(self.queue.url),
                MessageBody=dead_letter.body,
                MessageGroupId=unique,
                MessageDeduplicationId=unique,
            )

    def _count(self, *names: Any) -> int:
        with errors():
            answer = self._client.get_queue_attributes(QueueUrl=self._url, AttributeNames=names)
        return sum(int(value) for value in answer["Attributes"].values())

    def _receive(self, number: int, hidden_s: int) -> list[DeadLetter]:
        if self._count("ApproximateNumberOfMessages") == 0:  # avoids waiting for a long poll
            return []
        with errors():
            answer = self._client.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=number,
                VisibilityTimeout=hidden_s,
                WaitTimeSeconds=_WAIT_S,
                MessageSystemAttributeNames=["SentTimestamp", "ApproximateReceiveCount"],
            )
        return [_dead_letter(self.queue.name, message) for message in answer.get("Messages", [])]

    def _release(self, dead_letters: Sequence[DeadLetter]) -> None:
        """Make messages visible again; one that fails becomes visible when its visibility timeout ends."""
        for batch in _batches(dead_letters):
            entries: Any = [
                {"Id": str(index), "ReceiptHandle": each.receipt, "VisibilityTimeout": 0}
                for index, each in enumerate(batch)
            ]
            with errors():
                self._client.change_message_visibility_batch(QueueUrl=self._url, Entries=entries)


def plan(queue: Queue, dead_letters: Sequence[DeadLetter]) -> list[str]:
    """Return the steps of redriving a queue, one line each."""
    if not dead_letters:
        return []
    if queue.kind == "replays":
        return [f"send again: {dead_letter.about}" for dead_letter in dead_letters if dead_letter.is_task]
    if queue.kind == "publisher":
        return [
            f"compare every projection with the store, then delete {len(dead_letters)} dead letters of {queue.name}"
        ]
    streams = dict.fromkeys(dead_letter.stream_id for dead_letter in dead_letters if dead_letter.stream_id is not None)
    lines = [f"catch up stream {visible(stream_id)} of {queue.name} from the store" for stream_id in streams]
    return [*lines, f"then delete the dead letters of {queue.name} whose streams have caught up"]


def _dead_letter(queue: str, message: Mapping[str, Any]) -> DeadLetter:
    attributes = message.get("Attributes", {})
    return DeadLetter(
        queue=queue,
        message_id=message["MessageId"],
        sent_at=datetime.fromtimestamp(int(attributes.get("SentTimestamp", 0)) / 1000, UTC),
        deliveries=int(attributes.get("ApproximateReceiveCount", 0)),
        body=message["Body"],
        receipt=message["ReceiptHandle"],
    )


def _batches(dead_letters: Sequence[DeadLetter]) -> Iterator[Sequence[DeadLetter]]:
    for start in range(0, len(dead_letters), _BATCH):
        yield dead_letters[start : start + _BATCH]
