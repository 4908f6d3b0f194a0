"""The function ``Projector<Name>``: folds each stream of a batch of hints into the read model (P1 to P5)."""

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

# A long catch-up stops when this is left of the function's time; the reconciler continues it (P6).
RESERVE_MS = 5_000
MAX_RETRY_DELAY_S = 60


@dataclass(frozen=True, slots=True)
class Delivery:
    """One SQS message."""

    message_id: str
    receipt: str
    receive_count: int
    hint: Hint


@dataclass(slots=True)
class BatchResult:
    """Counts of a batch, for the metrics.

    Attributes
    ----------
    skipped
        Messages whose events had been applied before.
    ignored
        Messages of streams that the projection does not follow: its subscription has no filter for them.
    """

    applied: int = 0
    skipped: int = 0
    halted: int = 0
    ignored: int = 0


def read_batch(records: Sequence[Mapping[str, Any]]) -> tuple[dict[StreamId, list[Delivery]], list[str]]:
    """Group a batch by stream; also returns the ids of unreadable messages."""
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
) -> tuple[list[str], BatchResult]:
    """Catch up every followed stream of a batch; returns the ids of the messages to retry.

    Streams fail independently. If a stream's handler raises, only one of its messages fails, which leaves one dead
    letter; the others are acknowledged, since the store has the events (P5). Messages of streams that the projection does
    not follow are acknowledged.
    """
    by_stream, failed = read_batch(records)
    result = BatchResult()
    if failed:
        log.error("unreadable messages", extra={"messageIds": failed})
    for stream_id, deliveries in by_stream.items():
        try:
            if not _is_followed(projector, stream_id):
                _build(projector, [delivery.hint for delivery in deliveries])
                result.ignored += len(deliveries)
                continue
            outcome = _catch_up(projector, stream_id, deliveries, has_time)
        except HandlerFailedError as failure:
            result.halted += 1
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
            log.exception("stream not projected; its messages will be redelivered", extra={"streamId": stream_id})
        else:
            result.applied += outcome.applied
            result.skipped += max(0, len(deliveries) - outcome.applied)
            _log_outcome(log, stream_id, deliveries, outcome)
    return failed, result


def _is_followed(projector: Projector, stream_id: StreamId) -> bool:
    """Tell whether the code that folds the active generation follows a stream (G10).

    What only the newly deployed code follows is in the generation that it builds (`_build`), until the switch makes that
    the active one.
    """
    code = projector.code
    active = code.of(projector.control().fingerprint)
    if not active.follows(stream_id) and active is not code.current:
        active = code.of(projector.control(fresh=True).fingerprint)
    return active.follows(stream_id)


def _build(projector: Projector, hints: Sequence[Hint]) -> None:
    """Bring a stream on that is followed in the generation being built only: its build may have read the history already.

    No stream joins that generation but those of the active one.
    """
    stream_id, building = hints[0].stream_id, projector.control().building
    if building is not None and projector.code.of(building.fingerprint).follows(stream_id):
        events = [hint.event for hint in hints if hint.event is not None]
        projector.bring(stream_id, building.generation, max(hint.event_id for hint in hints), events)


def _catch_up(
    projector: Projector, stream_id: StreamId, deliveries: Sequence[Delivery], has_time: Callable[[], bool]
) -> CatchUp:
    # A message received before is a retry. Only such a message retries a halted stream, so that it becomes a dead
    # letter after the retries, while later messages are acknowledged unread.
    retry = any(delivery.receive_count > 1 for delivery in deliveries)
    return projector.catch_up(
        stream_id, [delivery.hint for delivery in deliveries], retry_halted=retry, has_time=has_time
    )


def _message_of(failure: HandlerFailedError, deliveries: Sequence[Delivery]) -> str:
    """Return the message to fail for an event: its own, otherwise the first one after it, otherwise the last."""
    ordered = sorted(deliveries, key=lambda delivery: delivery.hint.event_id)
    candidates = [delivery for delivery in ordered if delivery.hint.event_id >= failure.event_id]
    return (candidates or ordered[-1:])[0].message_id


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


def shorten_visibility(records: Sequence[Mapping[str, Any]], sqs: Any, queue_url: str, log: Any) -> None:
    """Retry failed messages after 2, 4, 8 … seconds instead of the whole visibility timeout.

    That is six times the function's timeout, as AWS advises: too long to wait for a retry. If SQS refuses, the message
    waits for it after all, so that the rest of the batch is not redelivered too (P5).
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
            log.exception("a message will be redelivered late", extra={"messageIds": [record["messageId"]]})


def time_left(context: Any) -> Callable[[], bool]:
    """Return a function that tells whether there is time for another page of events."""
    return lambda: context.get_remaining_time_in_millis() > RESERVE_MS


@cache
def _projector() -> Projector:
    name = runtime.setting("PROJECTION")
    return runtime.projector(name)


@runtime.function
def handler(event: Mapping[str, Any], context: Any) -> Mapping[str, Any]:
    """Lambda entry point of the queue's event source mapping; reports failures per message."""
    failed, result = project(event["Records"], _projector(), runtime.logger(), time_left(context))
    again = [record for record in event["Records"] if record["messageId"] in failed]
    if again:
        queue_url = runtime.queue_url(runtime.setting("PROJECTION"))
        shorten_visibility(again, runtime.client("sqs"), queue_url, runtime.logger())
    runtime.count(EventsProjected=result.applied, EventsSkipped=result.skipped, StreamHalted=result.halted)
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}
