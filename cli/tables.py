"""Tables as plain text: pure functions, and no library to load."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its title, and on which side its cells stand."""

    title: str
    align: Literal["left", "right"] = "left"
    style: str = ""


def column(entry: Column | str) -> Column:
    """A bare title means a column on the left."""
    return entry if isinstance(entry, Column) else Column(entry)


# What a terminal would act on instead of showing: C0 and C1 controls, and the marks that turn the reading direction.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def visible(value: object) -> str:
    """The value as one line of text that can't steer the terminal: controls are shown as their code.

    Examples
    --------
    >>> visible("a\\nb")
    'a\\\\nb'
    """
    text = "" if value is None else str(value)
    return _CONTROLS.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def visible_lines(text: str) -> str:
    """The same for text of several lines: ends of lines and tabs stay.

    Examples
    --------
    >>> visible_lines("a\\n\\x1bb")
    'a\\n\\\\x1bb'
    """
    return "\n".join("\t".join(map(visible, line.split("\t"))) for line in text.split("\n"))


def text_width(text: str) -> int:
    """Columns that a text takes on a terminal: wide characters count twice, combining ones not at all."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )


def plain_table(columns: Sequence[Column | str], rows: Sequence[Sequence[object]], title: str = "") -> str:
    """Aligned text with a line of titles, columns two spaces apart.

    Examples
    --------
    >>> print(plain_table(["itemId", Column("amount", "right")], [["1", 225]]), end="")
    itemId  amount
    1          225
    """
    heads = [column(entry) for entry in columns]
    lines = [[head.title for head in heads], *([visible(cell) for cell in row] for row in rows)]
    widths = [max(text_width(line[index]) for line in lines) for index in range(len(heads))]

    def aligned(line: Sequence[str]) -> str:
        cells = []
        for head, width, cell in zip(heads, widths, line, strict=True):
            padding = " " * (width - text_width(cell))
            cells.append(padding + cell if head.align == "right" else cell + padding)
        return "  ".join(cells).rstrip()

    heading = f"{title}\n" if title else ""
    return heading + "".join(f"{aligned(line)}\n" for line in lines)
