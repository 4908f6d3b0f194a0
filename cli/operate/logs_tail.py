"""`esctl tail-logs`: show log lines once, or follow them."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cli.client.records import Event
from cli.client.service import Service
from cli.errors import NotFoundError, UnreachableError
from cli.operate.logs import CloudWatchSource, Follower, Kind, Line, RawLine, Selection, Wanted, understand
from cli.operate.resources import find_resources, function_named
from cli.terminal.output import Format, Output
from cli.terminal.text import one_line, plural, shell_word, visible
from handlers.core.clock import parse_rfc3339, rfc3339
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
_OMITTED = {"location", "service", "functionRequestId", "function_request_id", "requestId", "used", "cold_start"}
_OMITTED |= {"exception", "exception_name", "stack_trace", "sampling_rate"}
_SHOWN_ZEROS = {"eventId", "eventIds", "checkpoint", "applied", "lag", "events"}  # fields whose 0 is worth showing
_SHORTENED = {"correlation_id", "correlationIds", "xray_trace_id", "traceId"}
_ID_CHARACTERS = 8  # enough to distinguish ids; --request-id accepts a prefix

# Colours readable on black and on white.
_PALETTE = [
    "cyan",
    "green",
    "magenta",
    "blue",
    "yellow",
    "bright_cyan",
    "bright_magenta",
    "bright_green",
    "bright_blue",
]
_LEVEL_STYLES = {"WARNING": "yellow", "ERROR": "bold red", "CRITICAL": "bold red", "DEBUG": "dim"}
_NAMES_MAX = 24


@dataclass(frozen=True, slots=True)
class FunctionLogs:
    """The logs of some functions of a stack: log groups by function."""

    target: Target
    clients: Clients
    groups: Mapping[str, str]

    @property
    def poll_s(self) -> float:
        return max(_POLL_MIN_S, self.target.poll_s)

    def follower(self, start: datetime) -> Follower:
        source = CloudWatchSource(self.clients.client("logs"), self.groups)
        return Follower(source, list(self.groups), int(start.timestamp() * 1000))


def function_logs(target: Target, clients: Clients, functions: Iterable[str] = ()) -> FunctionLogs:
    """Find the logs of some functions; of all by default. Raise `UsageError` for an unknown one."""
    resources = find_resources(clients, target.stack_name)
    wanted = {function_named(resources, each) for each in functions}
    groups = {name: group for name, group in resources.log_groups.items() if not wanted or name in wanted}
    return FunctionLogs(target, clients, groups)


def tail(output: Output, logs: FunctionLogs, wanted: Wanted, start: datetime, *, follow: bool, raw: bool) -> None:
    """Show log lines once, or with ``follow`` until Ctrl-C."""
    selection = Selection(wanted)
    printer = Printer(output, list(logs.groups), follow=follow, raw=raw)
    follower = logs.follower(start)
    names = next(iter(logs.groups)) if len(logs.groups) == 1 else f"{len(logs.groups)} logs"
    tailing = f"{names} of {logs.target.label} since {start.astimezone():%Y-%m-%d %H:%M:%S}"
    if not follow:
        printer.show(_picked(selection, follower.look()))
        printer.end()
        if output.is_text:
            output.message(f"{plural(printer.total, 'line')} · {tailing}")
            if not printer.total:
                output.hint("Look further back with --since 1h, or follow the logs with -f.")
        return
    output.message(f"Tailing {tailing} · Ctrl-C ends")
    with _spinner(output) as update:
        for lines in _polls(output, follower, logs.poll_s):
            printer.show(_picked(selection, lines))
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


def start_of(since_s: float | None, event: Event | None) -> datetime:
    """Return the time to read from: ``since_s`` seconds ago, by default shortly before the event or 10 minutes ago."""
    if since_s is None and event is not None:
        start_s = parse_rfc3339(event["timeStamp"]).timestamp() - _BEFORE_EVENT_S
    else:
        start_s = datetime.now(UTC).timestamp() - (DEFAULT_SINCE_S if since_s is None else since_s)
    return datetime.fromtimestamp(max(0.0, start_s), UTC)  # CloudWatch rejects times before 1970


def find_event(service: Service, stream_id: str | None, event_id: int) -> Event:
    """Read one event, by default of the test stream. Raise `NotFoundError` if there is none."""
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
            status.update(f"{plural(lines, 'line')} · last polled {now}")

        yield update


class Printer:
    """Writes lines of some functions in the selected format."""

    def __init__(self, output: Output, functions: Sequence[str], *, follow: bool, raw: bool) -> None:
        self._output = output
        self._raw = raw
        self._width = min(_NAMES_MAX, max(map(len, functions), default=0))
        # A document of lines that never end would never be complete.
        self._collected: list[dict[str, Any]] | None = [] if output.format is Format.JSON and not follow else None
        self.total = 0

    def show(self, lines: list[Line]) -> None:
        self.total += len(lines)
        for line in lines:
            self._show(line)
        self._output.environment.stdout.flush()

    def end(self) -> None:
        """Write the JSON array of all lines."""
        if self._collected is not None:
            self._output.json(self._collected)

    def _show(self, line: Line) -> None:
        output = self._output
        if self._collected is not None:
            self._collected.append(line_document(line))
        elif not output.is_text:
            output.json_line(line_document(line))
        elif self._raw:
            output.text(line.raw.message.rstrip("\n"))
        elif output.environment.stdout_is_terminal:
            output.console("stdout").print(rich_text(line, self._width), soft_wrap=True)
        else:
            output.text(plain(line, self._width))


def segments(line: Line, width: int) -> list[Segment]:
    """Return the first row of a line as styled segments; function names have a column of some width."""
    time = line.at.astimezone().strftime("%H:%M:%S.%f")[:-3]
    # A function has the same colour in every run.
    colour = _PALETTE[zlib.crc32(line.function.encode()) % len(_PALETTE)]
    found: list[Segment] = [(f"{time} ", "dim"), (f"{line.function[:width]:<{width}} ", colour)]
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


def plain(line: Line, width: int) -> str:
    """Return the rows of a line without style."""
    return "\n".join(["".join(text for text, _ in segments(line, width)).rstrip(), *further_rows(line)])


def rich_text(line: Line, width: int) -> Text:
    """Return the rows of a line for a terminal."""
    from rich.text import Text

    text = Text.assemble(*segments(line, width))
    for row in further_rows(line):
        text.append(f"\n{row}", style="dim")
    return text


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
        "at": rfc3339(line.at),
        "function": line.function,
        "kind": line.kind.value,
        "level": line.level or None,
        "text": line.text,
        "requestId": line.request_id or None,
        "fields": dict(line.fields),
    }
