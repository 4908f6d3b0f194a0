"""Time: the clock as a port, RFC 3339 text, and retries with exponential backoff."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

# RFC 3339, section 5.6, `date-time`. `fromisoformat` accepts far more of ISO 8601, but not lower-case letters.
_RFC3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt](?:[01][0-9]|2[0-3]):[0-5][0-9]:([0-5][0-9]|60)(?:\.[0-9]+)?"
    r"(?:[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)
# Jitter spreads writers; it need not be unpredictable.
_random = random.Random()  # noqa: S311


class Clock(Protocol):
    """A source of the current time."""

    def now(self) -> datetime:
        """Return the current time, aware, in UTC."""
        ...


class SystemClock:
    """The system clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)


def rfc3339(moment: datetime) -> str:
    """Format a time as RFC 3339 in UTC with milliseconds (``2026-11-23T10:15:30.123Z``)."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_rfc3339(text: str) -> datetime:
    """Parse an RFC 3339 time; digits beyond microseconds are truncated.

    A leap second becomes the second after it, as in POSIX time. Date and time must be separated by ``T``, not by the
    space that RFC 3339 allows applications.

    Raises
    ------
    ValueError
        The text is not RFC 3339, the time does not exist, or it is outside the years 1 to 9999 in UTC.
    """
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError(f"{text[:64]!r} is not an RFC 3339 time with an offset, such as 2026-11-23T10:15:30.123Z")
    leap = match[1] == "60"
    if leap:
        text = f"{text[: match.start(1)]}59{text[match.end(1) :]}"
    try:
        moment = datetime.fromisoformat(text.upper()).astimezone(UTC)
        return _after_leap_second(moment) if leap else moment
    except OverflowError as error:
        raise ValueError(f"{text!r} is not in the years 1 to 9999") from error


def _after_leap_second(moment: datetime) -> datetime:
    """Return the second after 23:59:60, given 23:59:59; leap seconds exist only at the end of a month in UTC."""
    following = moment.replace(microsecond=0) + timedelta(seconds=1)
    if (following.day, following.hour, following.minute, following.second) != (1, 0, 0, 0):
        raise ValueError("second 60 exists only at the end of a month, as 23:59:60 in UTC")
    return following + timedelta(microseconds=moment.microsecond)


@dataclass(frozen=True, slots=True)
class Backoff:
    """A retry policy with full jitter ("Exponential Backoff And Jitter", AWS Architecture Blog, 2015).

    Attributes
    ----------
    deadline_s
        No attempt starts later than this, in seconds after the first one.
    base_s, cap_s
        The n-th wait (from 1) is uniform in [0, min(cap, base * 2^(n-1))) seconds.
    immediate_retries
        Number of retries without a wait before the first wait.
    """

    deadline_s: float
    base_s: float
    cap_s: float
    immediate_retries: int = 0

    def wait_s(self, retry: int, uniform: Callable[[], float] = _random.random) -> float:
        """Return the seconds to wait before a retry (from 1); ``uniform`` returns numbers in [0, 1)."""
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
    """Yield 0, 1, 2, … and wait in between, until the next attempt would start after the deadline."""
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
    """Wait after losing ``lost`` + 1 races in a row."""
    time.sleep(_LOST_RACE.wait_s(lost + 1))
