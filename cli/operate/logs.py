"""Log lines: read them from CloudWatch without gaps, parse and filter them."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

from cli.client.aws import errors
from cli.errors import UsageError

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient

Identity = tuple[str, str, int, str, int]
"""Function, log stream, time, id or message, and the ordinal among equal lines."""

# FilterLogEvents returns at most this many lines; the emulator then returns no token for the rest.
PAGE_MAX = 10_000
# CloudWatch takes some seconds to ingest a line; a line that arrives later than this is missed.
LATE_MS = 30_000
_THREADS = 5  # FilterLogEvents allows a few calls per second
# Ids of a request, as logged by the functions and API Gateway, and ids shared by several functions.
_REQUEST_FIELDS = ("requestId", "functionRequestId", "correlation_id", "xray_trace_id", "traceId")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

_PLATFORM = re.compile(r"(START|END|REPORT) RequestId: (\S+)")
_REPORT_FIELD = re.compile(
    r"(Init Duration|Billed Duration|Duration|Max Memory Used|Memory Size|XRAY TraceId): ([^\t\n]+)"
)
_INIT = re.compile(r"INIT_START|INIT_REPORT|EXTENSION\t|XRAY TraceId:")
# Python's runtime itself logs unhandled errors as "[ERROR]\t2026-…Z\tREQUEST_ID\t…" or "[ERROR] Name: …".
_RUNTIME = re.compile(
    r"\[(DEBUG|INFO|WARNING|ERROR|CRITICAL)\]\s*(?:\d{4}-\S+Z\s+)?(?:([0-9a-f-]{36})\s+)?(.*)", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class RawLine:
    """A line as CloudWatch Logs holds it."""

    function: str  # logical id of the function that wrote it, or Api for the access log
    timestamp_ms: int
    message: str
    stream: str = ""  # its log stream
    event_id: str = ""  # CloudWatch's id of the line; empty on the emulator


class Kind(StrEnum):
    """The kind of a line."""

    LOG = "log"
    TEXT = "text"
    ACCESS = "access"
    START = "start"
    END = "end"
    REPORT = "report"
    METRICS = "metrics"


@dataclass(frozen=True, slots=True)
class Line:
    """A parsed line; level and invocation are empty if unknown."""

    raw: RawLine
    kind: Kind
    at: datetime  # the function's own time if the line has one, because CloudWatch's may be later
    text: str
    level: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)
    request_id: str = ""

    @property
    def function(self) -> str:
        return self.raw.function


def understand(raw: RawLine) -> Line:
    """Parse a line; one in an unknown format is text."""
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
        request = " ".join(str(document.get(name, "?")) for name in ("method", "route", "status"))
        return Line(raw, Kind.ACCESS, at, request, fields=document)
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
    """Parse a time in Powertools' format: ``2026-11-23 05:50:40,946+0000``."""
    try:
        return datetime.strptime(str(text), "%Y-%m-%d %H:%M:%S,%f%z").astimezone(UTC)
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class Page:
    """One page of lines in no particular order, the token of the next page, and the server's time."""

    lines: tuple[RawLine, ...]
    token: str | None
    served_ms: int | None = None


class LogSource(Protocol):
    """A source of log lines."""

    def page(self, function: str, start_ms: int, token: str | None) -> Page:
        """Return a page of one function's log group, from a time on; raise `CliError`."""
        ...


class CloudWatchSource:
    """CloudWatch Logs, with the log groups' names by function."""

    def __init__(self, client: CloudWatchLogsClient, groups: Mapping[str, str]) -> None:
        self._client = client
        self._groups = groups

    def page(self, function: str, start_ms: int, token: str | None) -> Page:
        more: Any = {} if token is None else {"nextToken": token}
        with errors():
            answer = self._client.filter_log_events(
                logGroupName=self._groups[function], startTime=start_ms, limit=PAGE_MAX, **more
            )
        lines = (
            RawLine(
                function, each["timestamp"], each["message"], each.get("logStreamName", ""), each.get("eventId", "")
            )
            for each in answer["events"]
        )
        return Page(tuple(lines), answer.get("nextToken"), _served_at(answer["ResponseMetadata"]))


def _served_at(metadata: Any) -> int | None:
    """Return the server's time in milliseconds: this machine's clock may be wrong."""
    try:
        return int(parsedate_to_datetime(metadata["HTTPHeaders"]["date"]).timestamp() * 1000)
    except (KeyError, TypeError, ValueError):
        return None


class Follower:
    """Polls the logs of several functions from a time on (milliseconds since 1970); returns each line once.

    Each poll re-reads the last half minute, because lines may arrive late, and drops lines that were already returned.
    """

    def __init__(self, source: LogSource, functions: Sequence[str], start_ms: int) -> None:
        self._source = source
        self._start_ms = dict.fromkeys(functions, start_ms)
        self._seen: set[Identity] = set()

    def look(self) -> list[RawLine]:
        """Return the lines that arrived since the last poll, ordered by time.

        If a log can't be read, it raises `CliError`; the next poll returns the missed lines.
        """
        with ThreadPoolExecutor(min(_THREADS, max(1, len(self._start_ms)))) as pool:
            looked = list(pool.map(self._all_pages, self._start_ms))
        fresh: list[RawLine] = []
        for function, (lines, served_ms) in zip([*self._start_ms], looked, strict=True):
            fresh += [line for identity, line in lines.items() if identity not in self._seen]
            self._seen |= lines.keys()
            # Half a minute before this poll, or before the newest line if the server's time is unknown.
            newest = served_ms or max((line.timestamp_ms for line in lines.values()), default=0)
            self._start_ms[function] = max(self._start_ms[function], newest - LATE_MS)
        self._seen = {identity for identity in self._seen if identity[2] >= self._start_ms[identity[0]]}
        return sorted(fresh, key=lambda line: line.timestamp_ms)

    def _all_pages(self, function: str) -> tuple[dict[Identity, RawLine], int | None]:
        found: dict[Identity, RawLine] = {}
        start_ms, served_ms, token = self._start_ms[function], None, None
        while True:
            page = self._source.page(function, start_ms, token)
            served_ms, before = served_ms or page.served_ms, len(found)
            found |= _identified(page.lines, found if token else {})
            token = page.token
            if token is None:
                # A full page without a token: continue from its last millisecond, as long as that yields new lines.
                if len(page.lines) < PAGE_MAX or len(found) == before:
                    return found, served_ms
                start_ms = max(line.timestamp_ms for line in page.lines)


def _identified(lines: Iterable[RawLine], before: Mapping[Identity, RawLine]) -> dict[Identity, RawLine]:
    """Identify lines by CloudWatch's id, otherwise by content and ordinal among equal lines."""
    counts = Counter(identity[:4] for identity in before)
    found = {}
    for line in lines:
        alike = (line.function, line.stream, line.timestamp_ms, line.event_id or line.message)
        counts[alike] += 1
        found[*alike, 0 if line.event_id else counts[alike]] = line
    return found


@dataclass(frozen=True, slots=True)
class Wanted:
    """A filter for lines; None and empty match everything."""

    text: str = ""  # part of the line, ignoring case
    stream_id: str | None = None
    event_id: int | None = None
    request_id: str | None = None  # prefix of a request, invocation, correlation or trace id
    correlation_id: str | None = None  # the event's: lines with it match too

    @property
    def everything(self) -> bool:
        return not (self.text or self.stream_id is not None or self.request_id)


@dataclass
class Selection:
    """Filters lines, and remembers their invocations so that their REPORT lines match too."""

    wanted: Wanted
    _invocations: set[str] = field(default_factory=set)

    def pick(self, lines: Iterable[Line]) -> list[Line]:
        return [line for line in lines if self._wants(line)]

    def _wants(self, line: Line) -> bool:
        if line.kind in (Kind.START, Kind.END, Kind.METRICS):
            return False
        if self.wanted.everything:
            return True
        if line.kind is Kind.REPORT:  # the last line of its invocation
            known = line.request_id in self._invocations
            self._invocations.discard(line.request_id)
            return known
        if matches(line, self.wanted):
            self._invocations.add(line.request_id)
            return True
        return False


def matches(line: Line, wanted: Wanted) -> bool:
    """Return whether a line matches a filter."""
    if wanted.text and wanted.text.lower() not in line.raw.message.lower():
        return False
    if wanted.request_id and not _is_of_request(line, wanted.request_id):
        return False
    if wanted.stream_id is None:
        return True
    if wanted.correlation_id and line.fields.get("correlation_id") == wanted.correlation_id:
        return True
    return is_about(line.fields, wanted.stream_id, wanted.event_id)


def _is_of_request(line: Line, wanted: str) -> bool:
    ids = [line.request_id, *(str(line.fields.get(name, "")) for name in _REQUEST_FIELDS)]
    ids += [str(each) for each in _list(line.fields.get("correlationIds"))]
    return any(each.startswith(wanted) for each in ids if each)


def is_about(fields: Mapping[str, Any], stream_id: str, event_id: int | None) -> bool:
    """Return whether a line's fields refer to a stream and, if given, to one event of it."""
    if fields.get("streamId") != stream_id:
        return False
    if event_id is None or event_id in _list(fields.get("eventIds")):
        return True
    first, last = fields.get("eventId"), fields.get("lastEventId")
    return isinstance(first, int) and first <= event_id <= (last if isinstance(last, int) else first)


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def seconds(text: str) -> float:
    """Parse a duration: ``90s``, ``10m``, ``2h``, ``3d``; raise `UsageError`."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text.strip())
    if match is None:
        raise UsageError(f"--since can't be {text!r}: it needs a number and a unit", "For example 90s, 10m, 2h or 3d.")
    return float(match[1]) * _UNITS[match[2]]
