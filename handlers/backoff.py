"""Waiting before another try: exponential with full jitter.

Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015: of the variants, full jitter needs the fewest calls.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

# Jitter spreads writers; nothing here needs unpredictability.
_random = random.Random()  # noqa: S311


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to keep at it, and at which pace.

    Attributes
    ----------
    deadline_s
        No further attempt begins after so many seconds.
    base_s, cap_s
        The n-th wait (from 1) is uniform in (0, min(cap, base * 2^n)) seconds.
    """

    deadline_s: float
    base_s: float
    cap_s: float

    def wait_s(self, wait: int) -> float:
        """Return how long to wait for the ``wait``-th time (from 1)."""
        return _random.uniform(0, min(self.cap_s, self.base_s * 2.0 ** min(wait, 32)))


def attempts(
    backoff: Backoff,
    *,
    monotonic: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[int]:
    """Yield 0, 1, 2, … and wait in between, until the deadline has passed."""
    start = monotonic()
    attempt = 0
    while True:
        yield attempt
        attempt += 1
        if monotonic() - start >= backoff.deadline_s:
            return
        sleep(backoff.wait_s(attempt))


_AFTER_A_LOST_RACE = Backoff(deadline_s=0, base_s=0.01, cap_s=0.1)


def pause(lost: int) -> None:
    """Wait after a lost race, the ``lost``-th in a row (from 0)."""
    time.sleep(_AFTER_A_LOST_RACE.wait_s(lost + 1))
