"""Values as text for a reader."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """Return a duration in the units that suit it.

    Examples
    --------
    >>> duration(0.42), duration(95), duration(7325), duration(90000)
    ('0.4 s', '1 min 35 s', '2 h 2 min', '1 d 1 h')
    """
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"
