"""What an append does when a place is taken: try the next one, read the head, or wait (E7). Pure.

Losing against a head that is remembered is nothing special: another process of the same function may have served the same
client since. Losing against an event that is as young as the append itself is another matter: somebody else is at work on
the stream at this moment. Two writers that both stay would take turns, and each lose a write for every event. So whoever
has met another in the append before yields, and waits; meanwhile one has the stream to himself, knows its head, and pays one
call an event. Of eight writers on one stream of the local target, an event costs 1.5 calls so, instead of 4.5 with all of
them trying again soon (`benchmarks/appending.py`). Where appends take longer than `AT_THE_SAME_TIME`, writers notice each
other less, and pay more; the result is the same.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import Enum, auto

from handlers.backoff import Backoff
from handlers.clock import rfc3339

# Twenty seconds are far more than 16 writers on one stream need, and less than the 28 that the function has. The waits are
# long beside an append of 10 ms, for the others to have the stream to themselves.
CONTENTION = Backoff(deadline_s=20.0, base_s=0.4, cap_s=1.0)
# How many places in a row are tried before a wait.
PLACES_IN_A_ROW = 3
# Two calls of one client, one after the other, are further apart: each goes through the API and back, 10 ms at the least.
AT_THE_SAME_TIME = timedelta(milliseconds=10)


class Head(Enum):
    """Where the head comes from that a write is placed behind."""

    REMEMBERED = auto()
    """From an earlier append."""

    READ = auto()
    """From the table, just now."""

    SHOWN = auto()
    """From the write before, which found its place taken: so there is an event."""


class Race:
    """One append among other writers.

    Parameters
    ----------
    began
        When the append began.
    yields
        The append before met another writer.

    Attributes
    ----------
    conflicts
        How many writes were lost or got in another's way.
    met_others
        Another writer is at work on the stream.
    """

    def __init__(self, began: datetime, *, yields: bool) -> None:
        self.conflicts = 0
        self.met_others = False
        self._began = began
        self._places_left = 1 if yields else PLACES_IN_A_ROW

    def lost(self, head: Head, taken_at: str) -> Head | None:
        """Return what to place the next write behind; None: wait first.

        Parameters
        ----------
        head
            What the write was placed behind.
        taken_at
            The time stamp of the event that stands in its place; empty where that is not known.
        """
        self.conflicts += 1
        if head is Head.REMEMBERED and taken_at < rfc3339(self._began - AT_THE_SAME_TIME):
            return Head.READ
        self.met_others = True
        return self._again(Head.SHOWN)

    def undecided(self, head: Head) -> Head | None:
        """Likewise for a write that another one's transaction got in the way of: it is tried again as it is."""
        self.conflicts += 1
        return self._again(head)

    def go_on(self) -> Head:
        """Return what to place a write behind after a wait."""
        self._places_left = PLACES_IN_A_ROW
        return Head.READ

    def _again(self, head: Head) -> Head | None:
        self._places_left -= 1
        return head if self._places_left > 0 else None
