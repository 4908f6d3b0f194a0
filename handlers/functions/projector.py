"""A projection's queue to its read model: a batch of hints becomes one fold a stream (P1 to P5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from handlers import runtime
from handlers.core import messages
from handlers.core.errors import HandlerFailedError
from handlers.core.events import StreamId
from handlers.core.messages import Hint
from handlers.projection.engine import CatchUp, Projector

# What is left of the function's time when a long catch-up stops; the reconciler goes on with it (P6).
RESERVE_MS = 5_000
MAX_RETRY_DELAY_S = 60


@dataclass(frozen=True, slots=True)
class Delivery:
    """One SQS message: its id and receipt, how often it was received, and what it says."""

    message_id: str
    receipt: str
    receive_count: int
    hint: Hint


@dataclass(slots=True)
class Tally:
    """What a batch came to, for the log and the metrics."""

    applied: int = 0
    skipped: int = 0
    halted: int = 0


def read_batch(records: Sequence[Mapping[str, Any]]) -> tuple[dict[StreamId, list[Delivery]], list[str]]:
    """Group a batch by stream; the second part are the ids of messages that are none of ours."""
    by_stream: dict[StreamId, list[Delivery]] = {}
    unreadable = []
    for record in records:
        try:
            hint = messages.decode(record["body"])
        except (ValueError, KeyError, TypeError):
            unreadable.append(record["messageId"])
            continue
        count = int(record["attributes"]["ApproximateReceiveCount"])
        by_stream.setdefault(hint.stream_id, []).append(
            Delivery(record["messageId"], record.get("receiptHandle", ""), count, hint)
        )
    return by_stream, unreadable


def project(
    records: Sequence[Mapping[str, Any]],
    projector: Projector,
    log: Any,
    has_time: Callable[[], bool] = lambda: True,
) -> tuple[list[str], Tally]:
    """Bring every stream of a batch up; returns the ids of the messages to be tried again.

    A stream that fails takes no other with it. Of a stream whose handler raised one message fails, so that one dead
    letter is left; the rest is acknowledged, for the store has the events (P5).
    """
    by_stream, failed = read_batch(records)
    tally = Tally()
    if failed:
        log.error("unreadable messages", extra={"messageIds": failed})
    for stream_id, deliveries in by_stream.items():
        try:
            outcome = _catch_up(projector, stream_id, deliveries, has_time)
        except HandlerFailedError as failure:
            tally.halted += 1
            failed.append(_message_of(failure, deliveries))
            log.error(
                "stream halted",
                extra={
                    "streamId": stream_id,
                    "eventId": failure.event_id,
                    "eventType": failure.event_type,
                    "error": failure.error,
                },
            )
        except Exception:
            failed += [delivery.message_id for delivery in deliveries]
            log.exception("stream not projected, its messages come again", extra={"streamId": stream_id})
        else:
            tally.applied += outcome.applied
            tally.skipped += max(0, len(deliveries) - outcome.applied)
            _log_outcome(log, stream_id, deliveries, outcome)
    return failed, tally


def _catch_up(
    projector: Projector, stream_id: StreamId, deliveries: Sequence[Delivery], has_time: Callable[[], bool]
) -> CatchUp:
    # A message received before is a retry: of a halted stream only that one tries again, so that its dead letter comes
    # about after the retries, while what arrives behind it is acknowledged unread.
    retry = any(delivery.receive_count > 1 for delivery in deliveries)
    return projector.catch_up(
        stream_id, [delivery.hint for delivery in deliveries], retry_halted=retry, has_time=has_time
    )


def _message_of(failure: HandlerFailedError, deliveries: Sequence[Delivery]) -> str:
    """Return the message that stands for the failed event: its own, else the first behind it, else the last."""
    ordered = sorted(deliveries, key=lambda delivery: delivery.hint.event_id)
    behind = [delivery for delivery in ordered if delivery.hint.event_id >= failure.event_id]
    return (behind or ordered[-1:])[0].message_id


def _log_outcome(log: Any, stream_id: StreamId, deliveries: Sequence[Delivery], outcome: CatchUp) -> None:
    correlation_ids = [
        delivery.hint.event.correlation_id() for delivery in deliveries if delivery.hint.event is not None
    ]
    log.info(
        "projected",
        extra={
            "streamId": stream_id,
            "eventIds": [delivery.hint.event_id for delivery in deliveries],
            "correlationIds": [each for each in correlation_ids if each],
            "applied": outcome.applied,
            "checkpoint": outcome.checkpoint,
            "halted": outcome.halted,
        },
    )


def hasten(records: Sequence[Mapping[str, Any]], sqs: Any, queue_url: str, log: Any) -> None:
    """Let failed messages come again soon: 2, 4, 8 … seconds, instead of after the whole visibility timeout.

    That one is six times the function's timeout, as AWS advises, which is far too long to wait for a retry. Where SQS
    refuses, the message does wait: the others of the batch are not to come again for it (P5).
    """
    from botocore.exceptions import BotoCoreError, ClientError

    for record in records:
        count = int(record["attributes"]["ApproximateReceiveCount"])
        delay_s = min(2**count, MAX_RETRY_DELAY_S)
        try:
            sqs.change_message_visibility(
                QueueUrl=queue_url, ReceiptHandle=record["receiptHandle"], VisibilityTimeout=delay_s
            )
        except (BotoCoreError, ClientError):
            log.exception("a message comes again late", extra={"messageIds": [record["messageId"]]})


def time_left(context: Any) -> Callable[[], bool]:
    """Return what tells whether there is time for another page of events."""
    return lambda: context.get_remaining_time_in_millis() > RESERVE_MS


@cache
def _projector() -> Projector:
    name = runtime.setting("PROJECTION")
    return runtime.projector(name)


@runtime.function
def handler(event: Mapping[str, Any], context: Any) -> Mapping[str, Any]:
    """Lambda entry point of the queue's event source mapping; reports failures message by message."""
    failed, tally = project(event["Records"], _projector(), runtime.logger(), time_left(context))
    again = [record for record in event["Records"] if record["messageId"] in failed]
    if again:
        queue_url = runtime.resources()[runtime.setting("PROJECTION")].queue
        hasten(again, runtime.client("sqs"), queue_url, runtime.logger())
    runtime.count(EventsProjected=tally.applied, EventsSkipped=tally.skipped, StreamHalted=tally.halted)
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}
