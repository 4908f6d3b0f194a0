"""Events as text for a reader: pure functions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cli.client.service import Event
from cli.terminal.text import text_width, visible, visible_lines
from handlers.core.lossless_json import dumps

_INDENT = "    "
# Beyond this a terminal only scrolls; files and pipes get everything.
TERMINAL_CHARACTERS_MAX = 4000
_NAMED = ("correlationId", "causationId", "actor", "originalActor")


def event_lines(event: Event, *, width: int = 100, characters_max: int | None = None) -> Iterator[str]:
    """An event as a heading, its data below it, and its metadata.

    Parameters
    ----------
    width
        Data that is wider is spread over several lines.
    characters_max
        Longer data is cut; None for never.

    Examples
    --------
    >>> event = {"eventId": 0, "type": "PING", "timeStamp": "2026-11-23T10:15:30.123Z", "data": {"amount": 1}}
    >>> print("\\n".join(event_lines(event)))
    0  PING  2026-11-23T10:15:30.123Z
        {"amount": 1}
    """
    version = event.get("schemaVersion", 1)
    older = f"  schema version {version}" if version != 1 else ""
    yield f"{event['eventId']}  {visible(event['type'])}  {visible(event['timeStamp'])}{older}"
    yield from _data_lines(event["data"], width, characters_max)
    yield from _metadata_lines(event.get("metadata") or {}, width)


def _data_lines(data: Any, width: int, characters_max: int | None) -> Iterator[str]:
    text = visible_lines(readable(data))
    if len(_INDENT) + text_width(text) > width:
        text = visible_lines(dumps(data, indent=2))
    if characters_max is not None and len(text) > characters_max:
        left = len(text) - characters_max
        text = f"{text[:characters_max]}\n… {left:,} more characters; -o jsonl shows all"
    for line in text.split("\n"):
        yield _INDENT + line


def _metadata_lines(metadata: Mapping[str, Any], width: int) -> Iterator[str]:
    """The ids by name; whatever else there is as JSON."""
    named = [f"{name} {visible(metadata[name])}" for name in _NAMED if name in metadata]
    rest = {name: value for name, value in metadata.items() if name not in _NAMED}
    if rest:
        named.append(f"metadata {visible_lines(readable(rest))}")
    together = f"{_INDENT}{' · '.join(named)}"
    if not named:
        return
    if text_width(together) <= width:
        yield together
        return
    for each in named:
        yield _INDENT + each


def readable(value: Any) -> str:
    """JSON on one line, with a blank after commas and colons."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{dumps(name)}: {readable(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(readable, value)) + "]"
    return dumps(value)
