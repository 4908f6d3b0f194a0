"""Log lines: what CloudWatch holds, and what it means."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

Identity = tuple[str, str, int, str, int]


@dataclass(frozen=True, slots=True)
class RawLine:
    """A line as CloudWatch Logs holds it.

    Attributes
    ----------
    function
        Which function wrote it: its logical id, or ``Api`` for the access log.
    timestamp_ms
        Milliseconds since 1970 (UTC).
    stream
        The log stream that it is in.
    event_id
        CloudWatch's own id of the line; empty where it has none (the emulator).
    """

    function: str
    timestamp_ms: int
    message: str
    stream: str = ""
    event_id: str = ""


class Kind(StrEnum):
    """What a line is about."""

    LOG = "log"
    TEXT = "text"
    ACCESS = "access"
    START = "start"
    END = "end"
    REPORT = "report"
    METRICS = "metrics"


@dataclass(frozen=True, slots=True)
class Line:
    """A line that was understood.

    Attributes
    ----------
    at
        When it was written: the function's own time where the line has one, for CloudWatch may stamp it later.
    level
        ``INFO`` and so on; empty where the line has none.
    fields
        Everything else that it says.
    request_id
        The invocation of the function that wrote it; empty where it does not say.
    """

    raw: RawLine
    kind: Kind
    at: datetime
    text: str
    level: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)
    request_id: str = ""

    @property
    def function(self) -> str:
        return self.raw.function


_PLATFORM = re.compile(r"(START|END|REPORT) RequestId: (\S+)")
_REPORT_FIELD = re.compile(
    r"(Init Duration|Billed Duration|Duration|Max Memory Used|Memory Size|XRAY TraceId): ([^\t\n]+)"
)
_INIT = re.compile(r"INIT_START|INIT_REPORT|EXTENSION\t|XRAY TraceId:")
# Python's runtime itself logs unhandled errors as "[ERROR]\t2026-…Z\tREQUEST_ID\t…" or "[ERROR] Name: …".
_RUNTIME = re.compile(
    r"\[(DEBUG|INFO|WARNING|ERROR|CRITICAL)\]\s*(?:\d{4}-\S+Z\s+)?(?:([0-9a-f-]{36})\s+)?(.*)", re.DOTALL
)


def understand(raw: RawLine) -> Line:
    """Read a line; whatever is not known is text."""
    message = raw.message.rstrip("\n")
    at = datetime.fromtimestamp(raw.timestamp_ms / 1000, UTC)
    platform = _PLATFORM.match(message)
    if platform:
        kind = {"START": Kind.START, "END": Kind.END, "REPORT": Kind.REPORT}[platform[1]]
        fields = dict(_REPORT_FIELD.findall(message)) if kind is Kind.REPORT else {}
        return Line(raw, kind, at, "", fields=fields, request_id=platform[2])
    if _INIT.match(message):
        return Line(raw, Kind.START, at, message)
    document = _object(message)
    if document is None:
        runtime = _RUNTIME.match(message)
        if runtime:
            return Line(raw, Kind.TEXT, at, runtime[3], level=runtime[1], request_id=runtime[2] or "")
        return Line(raw, Kind.TEXT, at, message)
    if "_aws" in document:
        return Line(raw, Kind.METRICS, at, "", fields=document, request_id=str(document.get("function_request_id", "")))
    if "level" in document and "message" in document:
        return _structured(raw, at, document, Kind.METRICS if document["message"] == "used" else Kind.LOG)
    if raw.function == "Api":
        return Line(raw, Kind.ACCESS, at, _access_text(document), fields=document)
    return Line(raw, Kind.TEXT, at, message, fields=document)


def _object(message: str) -> dict[str, Any] | None:
    if not message.startswith("{"):
        return None
    try:
        document = json.loads(message)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def _structured(raw: RawLine, at: datetime, document: dict[str, Any], kind: Kind) -> Line:
    rest = {name: value for name, value in document.items() if name not in ("level", "message", "timestamp")}
    message = document["message"]
    return Line(
        raw,
        kind,
        _own_time(document.get("timestamp")) or at,
        message if isinstance(message, str) else json.dumps(message, ensure_ascii=False),
        level=str(document["level"]),
        fields=rest,
        request_id=str(rest.get("functionRequestId") or rest.get("function_request_id") or ""),
    )


def _own_time(text: object) -> datetime | None:
    """Read Powertools' form of a time: ``2026-11-23 05:50:40,946+0000``."""
    try:
        return datetime.strptime(str(text), "%Y-%m-%d %H:%M:%S,%f%z").astimezone(UTC)
    except ValueError:
        return None


def _access_text(document: Mapping[str, Any]) -> str:
    return f"{document.get('method', '?')} {document.get('route', '?')} {document.get('status', '?')}"
