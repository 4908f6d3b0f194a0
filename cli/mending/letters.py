"""Dead letters: what lies in a dead-letter or failure queue, read without taking it away, and deleted when it is done."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from cli.observe.resources import Queue

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

_BATCH = 10  # the most that SQS gives at once
# While letters are looked at they are hidden, else the same ones would come again; they are shown again right after.
_HIDDEN_S = 30
# Long polling asks all of SQS's servers; a short poll may find nothing though something is there.
_WAIT_S = 1


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter.

    Attributes
    ----------
    queue
        Name of the queue that it comes from: a projection's, ``replays`` or ``publisher``.
    body
        The message as it was sent.
    receipt
        What SQS wants in order to delete it or to show it again.
    """

    queue: str
    message_id: str
    sent_at: datetime
    deliveries: int
    body: str
    receipt: str

    @property
    def content(self) -> Mapping[str, Any]:
        """The body as JSON; empty where it is none."""
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
        """What it is about, in a few words."""
        if self.replay_id is not None:
            where = f", stream {self.stream_id}" if self.stream_id is not None else ""
            return f"replay {self.replay_id} of {self.content.get('projection')}{where}"
        if self.stream_id is not None and self.event_id is not None:
            return f"event {self.event_id} of stream {self.stream_id}"
        batch = self.content.get("DDBStreamBatchInfo")
        if isinstance(batch, dict):
            condition = (self.content.get("requestContext") or {}).get("condition", "failed")
            since = batch.get("approximateArrivalOfFirstRecord", "?")
            return f"{batch.get('batchSize', '?')} events from {since} on were not announced: {condition}"
        return "unreadable: no message of this system"


class LetterBox(Protocol):
    """One dead-letter queue."""

    def count(self) -> int:
        """Return how many letters there are, about."""
        ...

    def peek(self, limit: int) -> list[Letter]:
        """Return some letters, and leave them all where they are."""
        ...

    def delete_where(self, done: Callable[[Letter], bool]) -> tuple[int, list[Letter]]:
        """Delete the letters that are done; returns how many that were, and those that stay."""
        ...


class SqsLetterBox:
    """A dead-letter queue in SQS."""

    def __init__(self, client: SQSClient, queue: Queue) -> None:
        self._client = client
        self._name = queue.name
        self._url = queue.dead_letter_url

    def count(self) -> int:
        """Return how many letters there are, about."""
        names: Any = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        answer = self._client.get_queue_attributes(QueueUrl=self._url, AttributeNames=names)
        return sum(int(value) for value in answer["Attributes"].values())

    def peek(self, limit: int) -> list[Letter]:
        """Return some letters, and leave them all where they are.

        Of a FIFO queue's group, SQS gives no more while some are looked at: ten at most.
        """
        found: list[Letter] = []
        try:
            while len(found) < limit and (lot := self._receive(min(_BATCH, limit - len(found)))):
                found += lot
        finally:
            self._release(found)
        return found

    def delete_where(self, done: Callable[[Letter], bool]) -> tuple[int, list[Letter]]:
        """Delete the letters that are done; returns how many that were, and those that stay."""
        deleted = 0
        kept: list[Letter] = []
        try:
            while lot := self._receive(_BATCH):
                finished: list[Letter] = []
                for letter in lot:
                    (finished if done(letter) else kept).append(letter)
                deleted += self._delete(finished)
        finally:
            self._release(kept)
        return deleted, kept

    def _receive(self, number: int) -> list[Letter]:
        if self.count() == 0:  # spares the wait of a long poll
            return []
        answer = self._client.receive_message(
            QueueUrl=self._url,
            MaxNumberOfMessages=number,
            VisibilityTimeout=_HIDDEN_S,
            WaitTimeSeconds=_WAIT_S,
            MessageSystemAttributeNames=["SentTimestamp", "ApproximateReceiveCount"],
        )
        return [letter(self._name, message) for message in answer.get("Messages", [])]

    def _delete(self, letters: list[Letter]) -> int:
        if not letters:
            return 0
        entries: Any = [{"Id": str(index), "ReceiptHandle": each.receipt} for index, each in enumerate(letters)]
        answer = self._client.delete_message_batch(QueueUrl=self._url, Entries=entries)
        return len(letters) - len(answer.get("Failed", []))

    def _release(self, letters: list[Letter]) -> None:
        """Show letters again; one that fails shows up by itself when its time is over."""
        for lot in _lots(letters):
            entries: Any = [
                {"Id": str(index), "ReceiptHandle": each.receipt, "VisibilityTimeout": 0}
                for index, each in enumerate(lot)
            ]
            self._client.change_message_visibility_batch(QueueUrl=self._url, Entries=entries)


def letter(queue: str, message: Mapping[str, Any]) -> Letter:
    """Read a message of SQS."""
    attributes = message.get("Attributes", {})
    return Letter(
        queue=queue,
        message_id=message["MessageId"],
        sent_at=datetime.fromtimestamp(int(attributes.get("SentTimestamp", 0)) / 1000, UTC),
        deliveries=int(attributes.get("ApproximateReceiveCount", 0)),
        body=message["Body"],
        receipt=message["ReceiptHandle"],
    )


def _lots(letters: Iterable[Letter]) -> Iterator[list[Letter]]:
    every = list(letters)
    for start in range(0, len(every), _BATCH):
        yield every[start : start + _BATCH]
