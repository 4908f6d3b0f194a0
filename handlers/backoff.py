"""Waiting before another try: exponential with full jitter.

Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015: of the variants, full jitter needs the fewest calls.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator

# Jitter spreads writers; nothing here needs unpredictability.
_random = random.Random()  # noqa: S311


def attempts(
    deadline_s: float,
    *,
    at_once: int = 1,
    base_s: float = 0.03,
    cap_s: float = 0.2,
    monotonic: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[int]:
    """Yield 0, 1, 2, … and wait in between, until ``deadline_s`` seconds have passed.

    The first attempt and ``at_once`` more come without a wait; before the n-th wait it is uniform in
    (0, min(cap, base * 2^n)).
    """
    start = monotonic()
    attempt = 0
    while True:
        yield attempt
        attempt += 1
        if monotonic() - start >= deadline_s:
            return
        if attempt > at_once:
            sleep(_random.uniform(0, min(cap_s, base_s * 2.0 ** min(attempt - at_once, 32))))


def pause(lost: int, *, base_s: float = 0.01, cap_s: float = 0.1) -> None:
    """Wait after a lost race, the ``lost``-th in a row (from 0): uniform in (0, min(cap, base * 2^(lost + 1)))."""
    time.sleep(_random.uniform(0, min(cap_s, base_s * 2.0 ** (lost + 1))))
