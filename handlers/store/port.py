"""The port of the event store: what every adapter promises, and what the contract suite holds it to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from handlers.core.events import Event, EventId, NewEvent, StreamId


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """What makes a retry safe (E4).

    Attributes
    ----------
    key
        The client's key, 1 to 256 characters.
    payload_hash
        Hash of the request that it stands for; another payload under the same key is refused.
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
        True when this repeats the first answer to the same idempotency key.
    conflicts
        How often another writer won before this call did.
    """

    events: tuple[Event, ...]
    replayed: bool = False
    conflicts: int = 0


@dataclass(frozen=True, slots=True)
class EventPage:
    """Some events of one stream, in the order asked for; ``more`` when the stream may have further ones."""

    events: tuple[Event, ...]
    more: bool


@dataclass(frozen=True, slots=True)
class StreamPage:
    """Some stream ids in a stable order; ``next_position`` is the one to continue after, None at the end."""

    stream_ids: tuple[StreamId, ...]
    next_position: StreamId | None


class EventStore(Protocol):
    """Append-only streams. All reads are strongly consistent (E5) but the list of streams."""

    def append(self, events: Sequence[NewEvent], idempotency: IdempotencyKey | None = None) -> Appended:
        """Append 1 to 100 events (99 with an idempotency key) of one stream or several, all or none.

        Where several events go to one stream, the first one's ``expected_version`` may be given for all; a later one's,
        if given, must be the version that the earlier ones lead to.

        Raises
        ------
        VersionConflictError
            The head of a stream is not the expected version.
        IdempotencyMismatchError
            The key was used for another payload.
        ContendedError
            Other writers were in the way for many seconds. The message says whether it is known that nothing was written.
        TooLargeError, InvalidInputError
            A limit of E8. Nothing was written.
        """
        ...

    def read(
        self, stream_id: StreamId, first: int = 0, *, limit: int | None = None, backwards: bool = False
    ) -> EventPage:
        """Read from event ``first`` on (downwards from it when ``backwards``), one page: at most ``limit`` events.

        Without ``limit`` a page is what one DynamoDB query returns: up to 1 MB.
        """
        ...

    def head(self, stream_id: StreamId) -> EventId:
        """Return the last eventId of a stream, -1 when it has no events."""
        ...

    def streams(self, *, limit: int = 100, after: str | None = None) -> StreamPage:
        """List streams; ``after`` is the ``next_position`` of the page before. New streams show up within about a second.

        Any stream id is a position, whether there is such a stream or not.
        """
        ...
