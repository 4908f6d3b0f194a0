"""Measurements beside their targets: one table, and the same as JSON."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True)
class Measure:
    """One figure.

    Attributes
    ----------
    target
        What it has to reach; None where it is only told.
    better
        ``less``: at most the target; ``more``: at least.
    """

    what: str
    value: float
    unit: str
    target: float | None = None
    better: Literal["less", "more"] = "less"
    note: str = ""

    @property
    def reached(self) -> bool | None:
        if self.target is None:
            return None
        return self.value <= self.target if self.better == "less" else self.value >= self.target


def table(measures: Iterable[Measure]) -> str:
    """The measurements as aligned text."""
    lines = [("what", "measured", "unit", "target", "")]
    for each in measures:
        sign = "≤" if each.better == "less" else "≥"
        target = "" if each.target is None else f"{sign} {_number(each.target)}"
        verdict = {None: "", True: "ok", False: "MISSED"}[each.reached]
        lines.append((each.what, _number(each.value), each.unit, target, f"{verdict}  {each.note}".strip()))
    widths = [max(len(line[index]) for line in lines) for index in range(5)]
    right = {1, 3}
    return "\n".join(
        "  ".join(
            cell.rjust(width) if index in right else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def save(measures: Iterable[Measure]) -> Path:
    """Write the measurements as JSON, beside those of earlier runs."""
    now = datetime.now(UTC)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{now:%Y-%m-%dT%H%M%SZ}.json"
    document = {
        "at": now.isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "machine": {"processors": os.cpu_count(), "loadAtTheEnd": round(os.getloadavg()[0], 2)},
        "measures": [
            {
                "what": each.what,
                "value": each.value,
                "unit": each.unit,
                "target": each.target,
                "better": each.better,
                "reached": each.reached,
                "note": each.note,
            }
            for each in measures
        ],
    }
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def _number(value: float) -> str:
    if value == int(value):
        return f"{value:,.0f}"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.4g}"
