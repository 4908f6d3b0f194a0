"""Retries with exponential backoff and full jitter.

Full jitter needs the fewest calls of all variants: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
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
    """A retry policy. Pure: it says how long to wait, and until when.

    Attributes
    ----------
    deadline_s
        No attempt begins later than this, in seconds after the first one.
    base_s, cap_s
        The n-th wait (from 1) is uniform in [0, min(cap, base * 2^(n-1))) seconds.
    immediate_retries
        How many retries are made at once, before the first wait.
    """

    deadline_s: float
    base_s: float
    cap_s: float
    immediate_retries: int = 0

    def wait_s(self, retry: int, uniform: Callable[[], float] = _random.random) -> float:
        """Return the seconds to wait before a retry (from 1); ``uniform`` gives numbers in [0, 1)."""
        waits = retry - self.immediate_retries
        if waits <= 0:
            return 0.0
        return uniform() * min(self.cap_s, self.base_s * 2.0 ** min(waits - 1, 32))


def attempts(
    backoff: Backoff,
    *,
    monotonic: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    uniform: Callable[[], float] = _random.random,
) -> Iterator[int]:
    """Yield 0, 1, 2, … and wait in between, until the next attempt would begin after the deadline."""
    start = monotonic()
    attempt = 0
    while True:
        yield attempt
        attempt += 1
        wait_s = backoff.wait_s(attempt, uniform)
        if monotonic() - start + wait_s > backoff.deadline_s:
            return
        if wait_s:
            sleep(wait_s)


_LOST_RACE = Backoff(deadline_s=0, base_s=0.02, cap_s=0.1)


def pause(lost: int) -> None:
    """Wait after a lost race, the ``lost``-th in a row (from 0)."""
    time.sleep(_LOST_RACE.wait_s(lost + 1))
