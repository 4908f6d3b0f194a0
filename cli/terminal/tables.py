"""Tables and events as plain text: pure functions, and no library to load."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from cli.terminal.text import text_width, visible, visible_lines

_INDENT = "    "
TERMINAL_CHARACTERS_MAX = 4000  # longer data only scrolls by; files and pipes get all of it
_NAMED = ("correlationId", "causationId", "actor", "originalActor")


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its title, and the alignment and style of its cells."""

    title: str
    align: Literal["left", "right"] = "left"
    style: str = ""


def column(entry: Column | str) -> Column:
    """Return a column; a bare title is left-aligned."""
    return entry if isinstance(entry, Column) else Column(entry)


def plain_table(columns: Sequence[Column | str], rows: Sequence[Sequence[object]], title: str = "") -> str:
    """Return aligned text with a line of titles, columns two spaces apart.

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


def event_lines(event: Mapping[str, Any], *, width: int = 100, characters_max: int | None = None) -> Iterator[str]:
    r"""Yield an event as a heading, its data and its metadata.

    Data wider than ``width`` is spread over several lines, data longer than ``characters_max`` truncated.

    Examples
    --------
    >>> event = {"eventId": 0, "type": "PING", "timeStamp": "2026-11-23T10:15:30.123Z", "data": {"amount": 1}}
    >>> print("\n".join(event_lines(event)))
    0  PING  2026-11-23T10:15:30.123Z
        {"amount": 1}
    """
    version = event.get("schemaVersion", 1)
    older = f"  schema version {version}" if version != 1 else ""
    yield f"{event['eventId']}  {visible(event['type'])}  {visible(event['timeStamp'])}{older}"
    yield from _data_lines(event["data"], width, characters_max)
    yield from _metadata_lines(event.get("metadata") or {}, width)


def _data_lines(data: Any, width: int, characters_max: int | None) -> Iterator[str]:
    from handlers.core.lossless_json import dumps  # 13 ms, which most commands need not spend

    text = visible_lines(_readable(data))
    if len(_INDENT) + text_width(text) > width:
        text = visible_lines(dumps(data, indent=2))
    if characters_max is not None and len(text) > characters_max:
        left = len(text) - characters_max
        text = f"{text[:characters_max]}\n… {left:,} more characters; -o jsonl shows all"
    for line in text.split("\n"):
        yield _INDENT + line


def _metadata_lines(metadata: Mapping[str, Any], width: int) -> Iterator[str]:
    """Yield the ids by name, and the other metadata as JSON."""
    named = [f"{name} {visible(metadata[name])}" for name in _NAMED if name in metadata]
    rest = {name: value for name, value in metadata.items() if name not in _NAMED}
    if rest:
        named.append(f"metadata {visible_lines(_readable(rest))}")
    together = f"{_INDENT}{' · '.join(named)}"
    if not named:
        return
    if text_width(together) <= width:
        yield together
        return
    for each in named:
        yield _INDENT + each


def _readable(value: Any) -> str:
    """Return JSON on one line, with a space after commas and colons."""
    from handlers.core.lossless_json import dumps

    if isinstance(value, dict):
        return "{" + ", ".join(f"{dumps(name)}: {_readable(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_readable, value)) + "]"
    return dumps(value)
