"""The one tree of errors: a subclass for each decision that a client or an operator takes.

Every class knows the HTTP status it becomes and the title of its problem document (RFC 9457).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with a request, and where.

    Attributes
    ----------
    pointer
        Where: a JSON pointer into the body (``/data/amount``), or ``query:limit``, ``header:Idempotency-Key``,
        ``path:streamId``. The empty string is the whole body.
    detail
        What is wrong, as a sentence without its full stop.
    """

    pointer: str
    detail: str


def pointer(*parts: object) -> str:
    """Return the JSON pointer (RFC 6901) of a place given by keys and indexes."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


class EsError(Exception):
    """Root of every error that this project raises on purpose."""

    status = 500
    type = "internal"
    title = "Internal error"

    def __init__(self, detail: str, **extra: object) -> None:
        super().__init__(detail)
        self.detail = detail
        self.extra: Mapping[str, object] = extra


class InvalidInputError(EsError):
    """The request is wrong; nothing was written. Carries every fault that was found."""

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
    """The head of a stream is not the expected version (E2)."""

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
    """Other writers were in the way again and again; the request may be repeated."""

    status = 503
    type = "contended"
    title = "Too many concurrent writers"


class ConflictError(EsError):
    """The request does not fit the present state, for example skipping an event that is not the halted one."""

    status = 409
    type = "conflict"
    title = "Conflict"


class GoneError(EsError):
    """A page token whose generation has been swept; begin the list again."""

    status = 410
    type = "gone"
    title = "Gone"


class TooLargeError(EsError):
    """An event or a request is over a documented limit (E8)."""

    status = 413
    type = "too-large"
    title = "Too large"

    def __init__(self, what: str, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(
            f"{what} has {size_bytes:,} bytes; the limit is {limit_bytes:,}", size=size_bytes, limit=limit_bytes
        )
        self.size_bytes, self.limit_bytes = size_bytes, limit_bytes


class IdempotencyMismatchError(EsError):
    """The same Idempotency-Key came with another payload (E4)."""

    status = 422
    type = "idempotency-mismatch"
    title = "Idempotency key reused"


class HandlerFailedError(EsError):
    """A projection's handler raised: deterministic until its code changes (P5, R4)."""

    status = 500
    type = "handler-failed"
    title = "Projection handler failed"

    def __init__(self, event_id: int, event_type: str, error: str) -> None:
        super().__init__(f"event {event_id} ({event_type}): {error}", eventId=event_id)
        self.event_id, self.event_type, self.error = event_id, event_type, error


class PublishError(EsError):
    """Some entries of a publish batch failed; the whole batch is to be tried again (P8)."""
