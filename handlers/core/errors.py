"""The error hierarchy: one subclass per decision that a client or an operator makes.

Each class has its HTTP status and the title of its problem document (RFC 9457).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault of a request.

    Attributes
    ----------
    pointer
        Where: a JSON pointer into the body (``/data/amount``), or ``query:limit``, ``header:Idempotency-Key``,
        ``path:streamId``. The empty string is the whole body.
    detail
        What is wrong: a predicate without its full stop (``must not be blank``).
    """

    pointer: str
    detail: str


def pointer(*parts: object) -> str:
    """Return the JSON pointer (RFC 6901) made of keys and indexes."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


class EsError(Exception):
    """Base of all errors that this project raises deliberately."""

    status = 500
    type = "internal"
    title = "Internal error"

    def __init__(self, detail: str, **extra: object) -> None:
        super().__init__(detail)
        self.detail = detail
        self.extra: Mapping[str, object] = extra


class InvalidInputError(EsError):
    """The request is invalid and nothing was written; lists every fault."""

    status = 400
    type = "invalid-input"
    title = "Invalid input"

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("; ".join(f"{f.pointer or 'body'}: {f.detail}" for f in faults))
        self.faults = tuple(faults)


class NotFoundError(EsError):
    """The stream, replay, projection or route does not exist."""

    status = 404
    type = "not-found"
    title = "Not found"


class VersionConflictError(EsError):
    """A stream is not at the expected version (E2)."""

    status = 409
    type = "version-conflict"
    title = "Version conflict"

    def __init__(self, stream_id: str, expected: int, head: int) -> None:
        super().__init__(
            f"the head of stream {stream_id!r} is {head}, not the expected {expected}",
            streamId=stream_id,
            expectedVersion=expected,
            head=head,
        )
        self.stream_id, self.expected, self.head = stream_id, expected, head


class ContendedError(EsError):
    """Concurrent writers kept winning; the request may be retried."""

    status = 503
    type = "contended"
    title = "Too many concurrent writers"


class ConflictError(EsError):
    """The request conflicts with the current state, for example skipping an event at which the stream is not halted."""

    status = 409
    type = "conflict"
    title = "Conflict"


class GoneError(EsError):
    """The page token's generation was deleted; restart the list."""

    status = 410
    type = "gone"
    title = "Gone"


class TooLargeError(EsError):
    """An event or a request exceeds a documented limit (E8)."""

    status = 413
    type = "too-large"
    title = "Too large"

    def __init__(self, what: str, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(
            f"{what} has {size_bytes:,} bytes; the limit is {limit_bytes:,}", size=size_bytes, limit=limit_bytes
        )
        self.size_bytes, self.limit_bytes = size_bytes, limit_bytes


class IdempotencyMismatchError(EsError):
    """The Idempotency-Key was used with a different payload (E4)."""

    status = 422
    type = "idempotency-mismatch"
    title = "Idempotency key reused"


class HandlerFailedError(EsError):
    """A projection's handler raised: repeatable until its code changes (P5, R4)."""

    status = 500
    type = "handler-failed"
    title = "Projection handler failed"

    def __init__(self, event_id: int, event_type: str, error: str) -> None:
        super().__init__(f"event {event_id} ({event_type}): {error}", eventId=event_id)
        self.event_id, self.event_type, self.error = event_id, event_type, error


class PublishError(EsError):
    """Some entries of a publish batch failed; the whole batch is retried (P8)."""
