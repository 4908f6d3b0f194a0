"""`esctl tail-logs`: show log lines once, or follow them."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cli.client.service import Event, Service
from cli.errors import NotFoundError, UnreachableError
from cli.operate.logs import CloudWatchSource, Follower, Kind, Line, LogSource, RawLine, Selection, Wanted, understand
from cli.operate.resources import find_resources, function_named
from cli.terminal.output import Format, Output
from cli.terminal.text import one_line, shell_word, visible
from handlers.core.clock import parse_rfc3339
from handlers.domain.items import TEST_STREAM

if TYPE_CHECKING:
    from rich.text import Text

    from cli.client.aws import Clients
    from cli.config.targets import Target

DEFAULT_SINCE_S = 600.0
_POLL_MIN_S = 0.3
_BEFORE_EVENT_S = 60.0  # the request precedes the event, and the clocks of two machines differ

Segment = tuple[str, str]
"""Text and its style."""

# Shown elsewhere in the line, or useless to a reader; --raw shows them.
_OMITTED = {
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
_SHOWN_ZEROS = {"eventId", "eventIds", "checkpoint", "applied", "lag", "events"}  # fields whose 0 is worth showing
_SHORTENED = {"correlation_id", "correlationIds", "xray_trace_id", "traceId"}
_ID_CHARACTERS = 8  # enough to distinguish ids; --request-id accepts a prefix

# Colours readable on black and on white.
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
class Request:
    """The options of the command."""

    follow: bool
    since_s: float | None
    functions: tuple[str, ...]
    text: str
    stream_id: str | None
    event_id: int | None
    request_id: str | None
    raw: bool


@dataclass(frozen=True, slots=True)
class FunctionLogs:
    """The logs of a stack's functions: log groups by function, and where to read them."""

    target: Target
    groups: Mapping[str, str]
    source: LogSource

    @property
    def poll_s(self) -> float:
        """Return the pause between two polls, in seconds."""
        return max(_POLL_MIN_S, self.target.poll_s)

    def follower(self, start: datetime) -> Follower:
        """Return a follower of all logs from a time on."""
        return Follower(self.source, list(self.groups), int(start.timestamp() * 1000))


def function_logs(target: Target, clients: Clients, functions: Iterable[str] = ()) -> FunctionLogs:
    """Find the logs of some functions; of all by default.

    Raises
    ------
    UsageError
        There is no such function.
    """
    resources = find_resources(clients, target.stack_name)
    wanted = {function_named(resources, each) for each in functions}
    groups = {name: group for name, group in resources.log_groups.items() if not wanted or name in wanted}
    return FunctionLogs(target, groups, CloudWatchSource(clients.client("logs"), groups))


def tail(output: Output, logs: FunctionLogs, request: Request, event: Event | None = None) -> None:
    """Show log lines once, or with ``follow`` until Ctrl-C.

    Parameters
    ----------
    event
        The event that ``request.event_id`` names.
    """
    groups = logs.groups
    selection = Selection(_wanted(request, event))
    printer = Printer(output, request, Layout.of(list(groups)))
    start = start_of(request.since_s, event)
    follower = logs.follower(start)
    since = start.astimezone().strftime("%H:%M:%S" if request.since_s is None else "%Y-%m-%d %H:%M:%S")
    names = next(iter(groups)) if len(groups) == 1 else f"{len(groups)} logs"
    tailing = f"{names} of {logs.target.label} since {since}"
    if not request.follow:
        shown = printer.show(_picked(selection, follower.look()))
        printer.end()
        if output.is_text:
            output.message(f"{shown} line{'' if shown == 1 else 's'} · {tailing}")
            if not shown:
                output.hint("Look further back with --since 1h, or follow the logs with -f.")
        return
    output.message(f"Tailing {tailing} · Ctrl-C ends")
    with _spinner(output) as update:
        for raw in _polls(output, follower, logs.poll_s):
            printer.show(_picked(selection, raw))
            update(printer.total)


def _polls(output: Output, follower: Follower, pause_s: float) -> Iterator[list[RawLine]]:
    """Poll forever; while the target is unreachable, keep trying. No line is lost."""
    away = False
    while True:
        try:
            raw = follower.look()
        except UnreachableError as error:
            if not away:
                output.warning(f"{error.message}; retrying …")
            away = True
        else:
            away = False
            yield raw
        output.environment.sleep(pause_s)


def _wanted(request: Request, event: Mapping[str, Any] | None) -> Wanted:
    if event is None:
        return Wanted(request.text, request.stream_id, None, request.request_id)
    correlation_id = (event.get("metadata") or {}).get("correlationId")
    return Wanted(request.text, event["streamId"], event["eventId"], request.request_id, correlation_id)


def start_of(since_s: float | None, event: Event | None) -> datetime:
    """Return the time to read from: ``since_s`` seconds ago, by default shortly before the event or 10 minutes ago."""
    if since_s is None and event is not None:
        return datetime.fromtimestamp(parse_rfc3339(event["timeStamp"]).timestamp() - _BEFORE_EVENT_S, UTC)
    back = DEFAULT_SINCE_S if since_s is None else since_s
    return datetime.fromtimestamp(max(0.0, datetime.now(UTC).timestamp() - back), UTC)


def find_event(service: Service, stream_id: str | None, event_id: int) -> Event:
    """Read one event, by default of the test stream.

    Raises
    ------
    NotFoundError
        There is no such event.
    """
    stream_id = stream_id or TEST_STREAM
    events = service.events_page(stream_id, first=event_id, limit=1).items
    if not events or events[0]["eventId"] != event_id:
        raise NotFoundError(
            f"stream {visible(stream_id)} has no event {event_id}",
            f"List its events:  esctl events {shell_word(stream_id)}",
        )
    return events[0]


def _picked(selection: Selection, raw: Iterable[RawLine]) -> list[Line]:
    return selection.pick(sorted(map(understand, raw), key=lambda line: line.at))


@contextmanager
def _spinner(output: Output) -> Iterator[Callable[[int], None]]:
    """Show a spinner on a terminal; yields a function that updates its number of lines."""
    environment = output.environment
    if not (environment.stderr_is_terminal and output.is_text):
        yield lambda lines: None
        return
    # If both streams are a terminal, one console must draw both the lines and the spinner.
    console = output.console("stdout" if environment.stdout_is_terminal else "stderr")
    with console.status("polling …", spinner="dots") as status:

        def update(lines: int) -> None:
            now = datetime.now().astimezone().strftime("%H:%M:%S")
            status.update(f"{lines} line{'' if lines == 1 else 's'} · last polled {now}")

        yield update


class Printer:
    """Writes lines in the selected format."""

    def __init__(self, output: Output, request: Request, layout: Layout) -> None:
        self._output = output
        self._raw = request.raw
        self._follow = request.follow
        self._layout = layout
        self._collected: list[dict[str, Any]] = []
        self.total = 0

    def show(self, lines: list[Line]) -> int:
        """Write lines; returns their number."""
        self.total += len(lines)
        for line in lines:
            self._show(line)
        self._output.environment.stdout.flush()
        return len(lines)

    def end(self) -> None:
        """Write the JSON array of all lines."""
        if self._output.format is Format.JSON and not self._follow:
            self._output.json(self._collected)

    def _show(self, line: Line) -> None:
        output = self._output
        if self._raw and output.is_text:
            output.text(line.raw.message.rstrip("\n"))
        elif output.is_text and output.environment.stdout_is_terminal:
            output.console("stdout").print(rich_text(line, self._layout), soft_wrap=True)
        elif output.is_text:
            for row in plain(line, self._layout):
                output.text(row)
        elif output.format is Format.JSON and not self._follow:
            self._collected.append(line_document(line))
        else:
            output.json_line(line_document(line))


@dataclass(frozen=True, slots=True)
class Layout:
    """The width of the column of function names."""

    name_width: int

    @classmethod
    def of(cls, functions: list[str]) -> Layout:
        return cls(min(_NAMES_MAX, max((len(name) for name in functions), default=0)))


def segments(line: Line, layout: Layout) -> list[Segment]:
    """Return the first row of a line as styled segments."""
    time = line.at.astimezone().strftime("%H:%M:%S.%f")[:-3]
    name = line.function[: layout.name_width]
    found: list[Segment] = [(f"{time} ", "dim"), (f"{name:<{layout.name_width}} ", colour_of(line.function))]
    if line.kind is Kind.REPORT:
        return [*found, (f"  └ {report(line.fields)}", "dim")]
    if line.level and line.level != "INFO":
        found.append((f"{line.level} ", _LEVEL_STYLES.get(line.level, "")))
    first, *_ = visible_rows(line.text) or [""]
    found.append((first, _LEVEL_STYLES.get(line.level, "")))
    shown = details(line)
    return [*found, (f"  {shown}", "dim")] if shown else found


def further_rows(line: Line) -> list[str]:
    """Return the rows below the first one: the rest of the text, and the traceback."""
    rows = visible_rows(line.text)[1:]
    exception = line.fields.get("exception")
    return [f"    {row}" for row in [*rows, *(visible_rows(exception) if isinstance(exception, str) else [])]]


def visible_rows(text: str) -> list[str]:
    """Return the rows of a text, without terminal control characters."""
    return [one_line(row.expandtabs()) for row in text.splitlines()]


def plain(line: Line, layout: Layout) -> Iterator[str]:
    """Return the rows of a line without style."""
    yield "".join(text for text, _ in segments(line, layout)).rstrip()
    yield from further_rows(line)


def rich_text(line: Line, layout: Layout) -> Text:
    """Return the rows of a line for a terminal."""
    from rich.text import Text

    text = Text.assemble(*((text, style) for text, style in segments(line, layout)))
    for row in further_rows(line):
        text.append(f"\n{row}", style="dim")
    return text


def colour_of(function: str) -> str:
    """Return the function's colour: the same in every run."""
    return _PALETTE[zlib.crc32(function.encode()) % len(_PALETTE)]


def details(line: Line) -> str:
    """Return the fields as ``name=value``."""
    if line.kind is Kind.ACCESS:
        shown = {name: line.fields.get(name) for name in ("latencyMs", "ip", "user", "error")}
        return _pairs({name: value for name, value in shown.items() if value not in (None, "", "-")})
    if line.kind is not Kind.LOG:
        return ""
    shown = {name: value for name, value in line.fields.items() if name not in _OMITTED}
    if shown.get("lastEventId") == shown.get("eventId"):
        shown.pop("lastEventId", None)
    if line.text.endswith(f" {shown.get('status')}"):
        shown.pop("status", None)
    # Omit normal values: 0 conflicts, not halted.
    return _pairs(
        {name: value for name, value in shown.items() if (value is not False and value != 0) or name in _SHOWN_ZEROS}
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
    """Format numbers as ranges: ``4-6,9``."""
    parts: list[list[int]] = []
    for number in sorted(each for each in numbers if isinstance(each, int)):
        if parts and number <= parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in parts)


def report(fields: Mapping[str, Any]) -> str:
    """Summarize a REPORT line: ``13 ms · 100 MB · cold start 480 ms``."""
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
    """Return the JSON form of a line."""
    return {
        "at": line.at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "function": line.function,
        "kind": line.kind.value,
        "level": line.level or None,
        "text": line.text,
        "requestId": line.request_id or None,
        "fields": dict(line.fields),
    }
