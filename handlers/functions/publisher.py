"""The function ``Publisher``: publishes a hint for every new event of the table's stream (P7, P8)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from handlers import runtime
from handlers.core import messages
from handlers.core.errors import PublishError
from handlers.core.events import Event
from handlers.core.messages import Hint
from handlers.store.items import event_from_item

# SNS PublishBatch: at most 10 entries, 256 KB together ("Amazon SNS endpoints and quotas"), including the attributes: names,
# types and values have at most 287 bytes per entry.
MAX_BATCH_ENTRIES = 10
MAX_BATCH_BYTES = 256 * 1024 - MAX_BATCH_ENTRIES * 512


@dataclass(frozen=True, slots=True)
class Entry:
    """One message to publish."""

    stream_hash: str
    stream_start: str
    deduplication_id: str
    body: str

    def request(self, entry_id: int) -> dict[str, Any]:
        """Return the entry of a PublishBatch request."""
        return {
            "Id": str(entry_id),
            "Message": self.body,
            "MessageGroupId": self.stream_hash,
            "MessageDeduplicationId": self.deduplication_id,
            "MessageAttributes": {
                messages.STREAM_ATTRIBUTE: {"DataType": "String", "StringValue": self.stream_hash},
                messages.START_ATTRIBUTE: {"DataType": "String", "StringValue": self.stream_start},
            },
        }


def entry(hint: Hint) -> Entry:
    """Return the message for a hint; group, deduplication and filter use hashes, since ids may hold any Unicode (P7)."""
    return Entry(
        messages.stream_hash(hint.stream_id),
        messages.stream_start(hint.stream_id),
        messages.deduplication_id(hint.stream_id, hint.event_id),
        messages.encode(hint),
    )


def batches(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    """Split entries into batches within SNS's limits, in order."""
    batch: list[Entry] = []
    size = 0
    for each in entries:
        if batch and (len(batch) == MAX_BATCH_ENTRIES or size + len(each.body) > MAX_BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(each)
        size += len(each.body)
    if batch:
        yield batch


def inserted(records: Iterable[Mapping[str, Any]]) -> list[Event]:
    """Return the events that a stream batch reports as inserted."""
    return [event_from_item(record["dynamodb"]["NewImage"]) for record in records if record["eventName"] == "INSERT"]


def publish(events: Iterable[Event], sns: Any, topic_arn: str) -> int:
    """Publish a hint for every event of a stream batch; returns their number.

    Raises
    ------
    PublishError
        An entry was refused. Lambda retries the stream's batch; duplicates are removed, and harmless if not (P1).
    """
    entries = [entry(Hint(event.stream_id, event.event_id, event)) for event in events]
    for batch in batches(entries):
        answer = sns.publish_batch(
            TopicArn=topic_arn, PublishBatchRequestEntries=[each.request(index) for index, each in enumerate(batch)]
        )
        failed = answer.get("Failed", [])
        if failed:
            codes = sorted({str(failure.get("Code")) for failure in failed})
            raise PublishError(f"{len(failed)} of {len(batch)} messages were refused: {', '.join(codes)}")
    return len(entries)


@runtime.function
def handler(event: Mapping[str, Any], context: object) -> None:
    """Lambda entry point of the DynamoDB stream's event source mapping."""
    events = inserted(event["Records"])
    publish(events, runtime.client("sns"), runtime.setting("TOPIC_ARN"))
    for line in log_lines(events):
        runtime.logger().info("published", extra=line)
    if not events:
        runtime.logger().info("nothing to publish", extra={"records": len(event["Records"])})


def log_lines(events: Iterable[Event]) -> list[dict[str, Any]]:
    """Return the fields of one log line per stream; like the projector's, so that an event can be traced through both."""
    lines: dict[str, dict[str, Any]] = {}
    for event in events:
        line = lines.setdefault(event.stream_id, {"streamId": event.stream_id, "eventIds": [], "correlationIds": []})
        line["eventIds"].append(event.event_id)
        correlation_id = event.correlation_id()
        if correlation_id:
            line["correlationIds"].append(correlation_id)
    return list(lines.values())
