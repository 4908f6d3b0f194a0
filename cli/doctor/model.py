"""What a check finds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from cli.errors import CliError


class Verdict(StrEnum):
    """How a check came out."""

    OK = "ok"
    NOTE = "note"
    FAULT = "fault"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes
    ----------
    what
        One line: what was found.
    mend
        What to do about it; empty where there is nothing to do.
    """

    area: str
    verdict: Verdict
    what: str
    mend: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """Looks at one area; what it raises as `CliError` is a fault of it.

    Attributes
    ----------
    needs
        Areas that must be without faults, else this one is skipped: their fault is its cause.
    """

    area: str
    look: Callable[[], Iterable[Finding]]
    needs: tuple[str, ...] = ()


def run(checks: Iterable[Check], tell: Callable[[Finding], None]) -> list[Finding]:
    """Run checks in their order, telling each finding at once."""
    found: list[Finding] = []
    broken: set[str] = set()
    for check in checks:
        missing = [area for area in check.needs if area in broken]
        if missing:
            broken.add(check.area)
            found.append(Finding(check.area, Verdict.SKIPPED, f"not looked at: {missing[0]} comes first"))
            tell(found[-1])
            continue
        try:
            for finding in check.look():
                found.append(finding)
                tell(finding)
        except CliError as error:
            found.append(Finding(check.area, Verdict.FAULT, "; ".join([error.message, *error.faults]), error.hint))
            tell(found[-1])
        if any(each.area == check.area and each.verdict is Verdict.FAULT for each in found):
            broken.add(check.area)
    return found
