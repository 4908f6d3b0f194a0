"""Time as a port: aware UTC, and its one text form."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Protocol

# RFC 3339, section 5.6, `date-time`. `fromisoformat` alone takes much more of ISO 8601, and lower-case letters not at all.
_RFC3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt](?:[01][0-9]|2[0-3]):[0-5][0-9]:([0-5][0-9]|60)(?:\.[0-9]+)?"
    r"(?:[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)


class Clock(Protocol):
    """What tells the time."""

    def now(self) -> datetime:
        """Return the present time, aware, in UTC."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)


def rfc3339(moment: datetime) -> str:
    """Write a time as the contract has it: RFC 3339, UTC, milliseconds (``2026-11-23T10:15:30.123Z``)."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_rfc3339(text: str) -> datetime:
    """Read an RFC 3339 time; digits beyond microseconds are cut off.

    A leap second is taken for the second that follows it, as POSIX time does. ``T`` separates date and time; the blank
    that RFC 3339 leaves to applications is not accepted.

    Raises
    ------
    ValueError
        The text is not of that form, there is no such time, or it is not in the years 1 to 9999 in UTC.
    """
    form = _RFC3339.fullmatch(text)
    if form is None:
        raise ValueError(f"{text[:64]!r} is not an RFC 3339 time with an offset, such as 2026-11-23T10:15:30.123Z")
    leap = form[1] == "60"
    if leap:
        text = f"{text[: form.start(1)]}59{text[form.end(1) :]}"
    try:
        moment = datetime.fromisoformat(text.upper()).astimezone(UTC)
        return _after_leap_second(moment) if leap else moment
    except OverflowError as error:
        raise ValueError(f"{text!r} is not in the years 1 to 9999") from error


def _after_leap_second(moment: datetime) -> datetime:
    """Return the second after 23:59:60, given 23:59:59; leap seconds are at the end of a month in UTC, and only there."""
    following = moment.replace(microsecond=0) + timedelta(seconds=1)
    if (following.day, following.hour, following.minute, following.second) != (1, 0, 0, 0):
        raise ValueError("second 60 exists only at the end of a month, as 23:59:60 in UTC")
    return following + timedelta(microseconds=moment.microsecond)
