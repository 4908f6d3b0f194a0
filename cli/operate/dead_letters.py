"""Dead letters in SQS: what they are about, and reading a queue without losing one."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cli.client.aws import errors
from cli.operate.resources import Queue
from cli.terminal.text import visible

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

TAKEN_MAX = 1000
_BATCH = 10  # the most entries of an SQS request
_HIDDEN_S = 30.0  # time enough to receive them all once
_HIDDEN_MAX_S = 43_200  # SQS: 12 hours
# Long polling asks all of SQS's servers; a short poll may find nothing although there are messages.
_WAIT_S = 1


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One message of a dead-letter or failure queue.

    Attributes
    ----------
    queue
        What commands call the queue: a projection's name, ``replays`` or ``publisher``.
    body
        The message as it was sent.
    receipt
        What SQS needs to delete the message or to make it visible again.
    """

    queue: str
    message_id: str
    sent_at: datetime
    deliveries: int
    body: str
    receipt: str

    @property
    def content(self) -> Mapping[str, Any]:
        """The body as a JSON object; empty if it is none."""
        try:
            document = json.loads(self.body)
        except ValueError:
            return {}
        return document if isinstance(document, dict) else {}

    @property
    def stream_id(self) -> str | None:
        found = self.content.get("streamId")
        return found if isinstance(found, str) else None

    @property
    def event_id(self) -> int | None:
        found = self.content.get("eventId")
        return found if isinstance(found, int) else None

    @property
    def replay_id(self) -> str | None:
        found = self.content.get("replayId")
        return found if isinstance(found, str) else None

    @property
    def about(self) -> str:
        """The message in a few words."""
        if self.replay_id is not None:
            where = f", stream {self.stream_id}" if self.stream_id is not None else ""
            return f"replay {self.replay_id} of {self.content.get('projection')}{where}"
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
        """Return how many messages there are, hidden ones included, approximately."""
        return self._count("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")

    @contextmanager
    def taken(self, limit: int = TAKEN_MAX, hidden_s: float = _HIDDEN_S) -> Iterator[list[DeadLetter]]:
        """Receive messages; those that the block does not delete become visible again, also when it is interrupted.

        Of a FIFO group (a stream) SQS gives at most ten, and no more until these are deleted.

        Parameters
        ----------
        hidden_s
            How long the block takes at most. A killed process leaves its messages hidden for so long.
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
        """Return some messages and leave them all in the queue."""
        with self.taken(limit) as letters:
            return letters

    def delete(self, letters: Sequence[DeadLetter]) -> list[DeadLetter]:
        """Delete messages that were taken; returns those that SQS did not delete."""
        for batch in _batches(letters):
            entries: Any = [{"Id": str(index), "ReceiptHandle": each.receipt} for index, each in enumerate(batch)]
            with errors():
                answer = self._client.delete_message_batch(QueueUrl=self._url, Entries=entries)
            self._deleted |= {batch[int(each["Id"])].message_id for each in answer.get("Successful", [])}
        return [each for each in letters if each.message_id not in self._deleted]

    def purge(self) -> int:
        """Delete all messages; returns how many there were."""
        deleted = 0
        while True:
            with self.taken() as letters:
                number = len(letters) - len(self.delete(letters))
            if not number:
                return deleted
            deleted += number

    def send_again(self, letter: DeadLetter) -> None:
        """Send a message to the queue that it comes from; as a new one, or FIFO deduplication might drop it."""
        unique = uuid.uuid4().hex
        with errors():
            self._client.send_message(
                QueueUrl=str(self.queue.url),
                MessageBody=letter.body,
                MessageGroupId=unique,
                MessageDeduplicationId=unique,
            )

    def _count(self, *names: Any) -> int:
        with errors():
            answer = self._client.get_queue_attributes(QueueUrl=self._url, AttributeNames=names)
        return sum(int(value) for value in answer["Attributes"].values())

    def _receive(self, number: int, hidden_s: int) -> list[DeadLetter]:
        if self._count("ApproximateNumberOfMessages") == 0:  # saves the wait of a long poll
            return []
        with errors():
            answer = self._client.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=number,
                VisibilityTimeout=hidden_s,
                WaitTimeSeconds=_WAIT_S,
                MessageSystemAttributeNames=["SentTimestamp", "ApproximateReceiveCount"],
            )
        return [_letter(self.queue.name, message) for message in answer.get("Messages", [])]

    def _release(self, letters: Sequence[DeadLetter]) -> None:
        """Make messages visible again; one that fails becomes visible when its time is over."""
        for batch in _batches(letters):
            entries: Any = [
                {"Id": str(index), "ReceiptHandle": each.receipt, "VisibilityTimeout": 0}
                for index, each in enumerate(batch)
            ]
            with errors():
                self._client.change_message_visibility_batch(QueueUrl=self._url, Entries=entries)


def plan(queue: Queue, letters: Sequence[DeadLetter]) -> list[str]:
    """Say what redriving a queue would do, one line per step."""
    if not letters:
        return []
    if queue.kind == "replays":
        return [f"send again: {letter.about}" for letter in letters if letter.replay_id is not None]
    if queue.kind == "publisher":
        return [f"compare every projection with the store, then delete {len(letters)} dead letters of {queue.name}"]
    streams = dict.fromkeys(letter.stream_id for letter in letters if letter.stream_id is not None)
    lines = [f"catch up stream {visible(stream_id)} of {queue.name} from the store" for stream_id in streams]
    return [*lines, f"then delete the dead letters of {queue.name} whose streams have caught up"]


def _letter(queue: str, message: Mapping[str, Any]) -> DeadLetter:
    attributes = message.get("Attributes", {})
    return DeadLetter(
        queue=queue,
        message_id=message["MessageId"],
        sent_at=datetime.fromtimestamp(int(attributes.get("SentTimestamp", 0)) / 1000, UTC),
        deliveries=int(attributes.get("ApproximateReceiveCount", 0)),
        body=message["Body"],
        receipt=message["ReceiptHandle"],
    )


def _batches(letters: Sequence[DeadLetter]) -> Iterator[Sequence[DeadLetter]]:
    for start in range(0, len(letters), _BATCH):
        yield letters[start : start + _BATCH]
