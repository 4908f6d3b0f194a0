"""The port of the event store, which the contract suite checks for each adapter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from handlers.core.events import Event, EventId, NewEvent, StreamId


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """A client's key that makes a retry safe (E4).

    Attributes
    ----------
    key
        1 to 256 characters.
    payload_hash
        Hash of the request; a different payload under the same key is rejected.
    """

    key: str
    payload_hash: str


@dataclass(frozen=True, slots=True)
class Appended:
    """The answer to an append.

    Attributes
    ----------
    events
        As stored, in the order given.
    replayed
        True if this repeats the first answer to the same idempotency key.
    conflicts
        Number of races lost to other writers.
    """

    events: tuple[Event, ...]
    replayed: bool = False
    conflicts: int = 0


@dataclass(frozen=True, slots=True)
class EventPage:
    """Events of one stream in the requested order; ``more`` if there may be others."""

    events: tuple[Event, ...]
    more: bool


@dataclass(frozen=True, slots=True)
class StreamPage:
    """Stream ids in a stable order; ``next_position`` is the id to continue after, None at the end."""

    stream_ids: tuple[StreamId, ...]
    next_position: StreamId | None


@dataclass(frozen=True, slots=True)
class ScanPage:
    """Events of any number of streams: those of one stream are together and in order.

    Attributes
    ----------
    next_position
        The position to continue after, None at the end. The next page may have other events of the same streams.
    """

    events: tuple[Event, ...]
    next_position: str | None


class EventStore(Protocol):
    """Append-only streams. All reads except the list of streams are strongly consistent (E5)."""

    def append(self, events: Sequence[NewEvent], idempotency: IdempotencyKey | None = None) -> Appended:
        """Append 1 to 100 events (99 with an idempotency key) to one or more streams, all or none.

        Only the first event of a stream needs an ``expected_version``; later ones, if given, must count up from it.

        Raises
        ------
        VersionConflictError
            A stream is not at the expected version.
        IdempotencyMismatchError
            The key was used for another payload.
        ContendedError
            Concurrent writers kept winning. The message says whether it is certain that nothing was written.
        TooLargeError, InvalidInputError
            A limit of E8 is exceeded; nothing was written.
        """
        ...

    def read(
        self, stream_id: StreamId, first: int = 0, *, limit: int | None = None, backwards: bool = False
    ) -> EventPage:
        """Read one page of at most ``limit`` events from ``first`` on, descending if ``backwards``.

        Without ``limit`` a page is what one DynamoDB query returns: up to 1 MB.
        """
        ...

    def head(self, stream_id: StreamId) -> EventId:
        """Return the last eventId of a stream, -1 if it has no events."""
        ...

    def streams(self, *, limit: int = 100, after: str | None = None) -> StreamPage:
        """List streams after the position ``after``, any stream id; new streams appear within about a second."""
        ...

    def scan(self, segment: int, segments: int, *, after: str | None = None, limit: int | None = None) -> ScanPage:
        """Read one page of the events of all streams in a segment, 0 to ``segments`` - 1.

        Each stream is in one segment. Every event that was stored before the scan began is on one of its pages; later ones
        may be or not, so that a page may have an event without those before it.
        """
        ...
