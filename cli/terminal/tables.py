"""Tables as plain text: pure functions, and no library to load."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cli.terminal.text import text_width, visible


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its title, and on which side its cells stand."""

    title: str
    align: Literal["left", "right"] = "left"
    style: str = ""


def column(entry: Column | str) -> Column:
    """A bare title means a column on the left."""
    return entry if isinstance(entry, Column) else Column(entry)


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
