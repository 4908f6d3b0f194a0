"""What a writer remembers of streams, so that an append needs no read (E7)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from handlers.events import NO_EVENTS, EventId, StreamId

# A remembered stream is 100 bytes or so; 10,000 of them are a megabyte.
MAX_WARM_HEADS = 10_000


class WarmHeads:
    """The heads of the streams written last. Each existed once, which is all that E1 asks for; it may be old by now."""

    def __init__(self, capacity: int = MAX_WARM_HEADS) -> None:
        self._heads: OrderedDict[StreamId, EventId] = OrderedDict()
        self._contended: set[StreamId] = set()
        self._capacity = capacity

    def get(self, stream: StreamId) -> EventId | None:
        return self._heads.get(stream)

    def remember(self, stream: StreamId, head: EventId) -> None:
        """Remember an event that exists; one before that which is remembered tells nothing."""
        if head < self._heads.get(stream, NO_EVENTS):
            return
        self._heads[stream] = head
        self._heads.move_to_end(stream)
        if len(self._heads) > self._capacity:
            forgotten, _ = self._heads.popitem(last=False)
            self._contended.discard(forgotten)

    def contended(self, streams: Iterable[StreamId]) -> bool:
        """Whether the last append to one of these streams met another writer."""
        return not self._contended.isdisjoint(streams)

    def note(self, streams: Iterable[StreamId], *, contended: bool) -> None:
        """Note whether an append to these streams met another writer."""
        if contended:
            self._contended.update(stream for stream in streams if stream in self._heads)
        else:
            self._contended.difference_update(streams)
