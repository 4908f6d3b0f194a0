"""Log lines for a reader: time, function, level, what happened, and what to know about it."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cli.logs.lines import Kind, Line
from cli.terminal.text import one_line, visible

if TYPE_CHECKING:
    from rich.text import Text

Segment = tuple[str, str]
"""A piece of text and its style."""

# Said already by the line itself, or of no use to a reader; --raw has them.
_LEFT_OUT = {
    "location",
    "service",
    "functionRequestId",
    "function_request_id",
    "requestId",
    "exception",
    "exception_name",
    "stack_trace",
    "sampling_rate",
    "cold_start",
    "used",
}
_COUNTED = {"eventId", "eventIds", "checkpoint", "applied", "lag", "events"}  # here 0 says something
_SHORTENED = {"correlation_id", "correlationIds", "xray_trace_id", "traceId"}
_ID_CHARACTERS = 8  # enough to tell them apart, and --request-id takes the beginning of one

# Colours that can be read on black and on white.
_PALETTE = (
    "cyan",
    "green",
    "magenta",
    "blue",
    "yellow",
    "bright_cyan",
    "bright_magenta",
    "bright_green",
    "bright_blue",
)
_LEVEL_STYLES = {"WARNING": "yellow", "ERROR": "bold red", "CRITICAL": "bold red", "DEBUG": "dim"}
_NAMES_MAX = 24


@dataclass(frozen=True, slots=True)
class Layout:
    """How wide the column of function names is."""

    name_width: int

    @classmethod
    def of(cls, functions: list[str]) -> Layout:
        return cls(min(_NAMES_MAX, max((len(name) for name in functions), default=0)))


def segments(line: Line, layout: Layout) -> list[Segment]:
    """The line as styled pieces; the first row of it where it has several."""
    time = line.at.astimezone().strftime("%H:%M:%S.%f")[:-3]
    name = line.function[: layout.name_width]
    found: list[Segment] = [(f"{time} ", "dim"), (f"{name:<{layout.name_width}} ", colour_of(line.function))]
    if line.kind is Kind.REPORT:
        return [*found, (f"  └ {report(line.fields)}", "dim")]
    if line.level and line.level != "INFO":
        found.append((f"{line.level} ", _LEVEL_STYLES.get(line.level, "")))
    first, *_ = visible_rows(line.text) or [""]
    found.append((first, _LEVEL_STYLES.get(line.level, "")))
    said = details(line)
    return [*found, (f"  {said}", "dim")] if said else found


def further_rows(line: Line) -> list[str]:
    """What stands below the first row: the rest of a text, or the traceback of an exception."""
    rows = visible_rows(line.text)[1:]
    exception = line.fields.get("exception")
    return [f"    {row}" for row in [*rows, *(visible_rows(exception) if isinstance(exception, str) else [])]]


def visible_rows(text: str) -> list[str]:
    """The rows of a text, none of which can steer the terminal."""
    return [one_line(row.expandtabs()) for row in text.splitlines()]


def plain(line: Line, layout: Layout) -> Iterator[str]:
    """The rows of a line without style."""
    yield "".join(text for text, _ in segments(line, layout)).rstrip()
    yield from further_rows(line)


def rich_text(line: Line, layout: Layout) -> Text:
    """The rows of a line for a terminal."""
    from rich.text import Text

    text = Text.assemble(*((text, style) for text, style in segments(line, layout)))
    for row in further_rows(line):
        text.append(f"\n{row}", style="dim")
    return text


def colour_of(function: str) -> str:
    """The function's colour: the same in every run."""
    return _PALETTE[zlib.crc32(function.encode()) % len(_PALETTE)]


def details(line: Line) -> str:
    """The fields as ``name=value``."""
    if line.kind is Kind.ACCESS:
        said = {name: line.fields.get(name) for name in ("latencyMs", "ip", "user", "error")}
        return _pairs({name: value for name, value in said.items() if value not in (None, "", "-")})
    if line.kind is not Kind.LOG:
        return ""
    said = {name: value for name, value in line.fields.items() if name not in _LEFT_OUT}
    if said.get("lastEventId") == said.get("eventId"):
        said.pop("lastEventId", None)
    if line.text.endswith(f" {said.get('status')}"):
        said.pop("status", None)
    # Nothing to see: 0 conflicts, not halted.
    return _pairs(
        {name: value for name, value in said.items() if (value is not False and value != 0) or name in _COUNTED}
    )


def _pairs(fields: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={_value(name, value)}" for name, value in fields.items() if value not in (None, [], ""))


def _value(name: str, value: Any) -> str:
    if isinstance(value, list):
        if name in _SHORTENED:
            value = list(dict.fromkeys(str(each)[:_ID_CHARACTERS] for each in value))
        if name == "eventIds":
            return ranges(value)
        return ",".join(_value(name, each) for each in value)
    if isinstance(value, str):
        text = value[:_ID_CHARACTERS] if name in _SHORTENED else value
        return one_line(json.dumps(text, ensure_ascii=False)) if not text or " " in text else visible(text)
    return one_line(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def ranges(numbers: list[Any]) -> str:
    """Numbers in short: ``4-6,9``."""
    parts: list[list[int]] = []
    for number in sorted(each for each in numbers if isinstance(each, int)):
        if parts and number <= parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in parts)


def report(fields: Mapping[str, Any]) -> str:
    """A REPORT line in short: ``13 ms · 100 MB · cold start 480 ms``."""
    parts = [_milliseconds(fields.get("Duration"))]
    if fields.get("Max Memory Used"):
        parts.append(str(fields["Max Memory Used"]))
    if fields.get("Init Duration"):
        parts.append(f"cold start {_milliseconds(fields['Init Duration'])}")
    return " · ".join(part for part in parts if part)


def _milliseconds(text: object) -> str:
    number = str(text or "").removesuffix(" ms")
    try:
        return f"{float(number):.0f} ms"
    except ValueError:
        return str(text or "")


def line_document(line: Line) -> dict[str, Any]:
    """A line for scripts."""
    document: dict[str, Any] = {
        "at": line.at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "function": line.function,
        "kind": line.kind.value,
        "level": line.level or None,
        "text": line.text,
        "requestId": line.request_id or None,
        "fields": dict(line.fields),
    }
    return document
