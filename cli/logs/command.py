"""What `esctl tail-logs` does: choose the lines, fetch them, show them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

from cli.errors import NotFoundError, UnreachableError, UsageError
from cli.logs.lines import Line, RawLine, understand
from cli.logs.rendering import Layout, line_document, plain, rich_text
from cli.logs.selection import Selection, Wanted
from cli.logs.source import CloudWatchSource, Follower
from cli.logs.tracing import Trace, trace
from cli.observe.resources import function_named
from cli.output import Format
from cli.terminal.text import shell_word, visible
from handlers.projections.test_items import TEST_STREAM

if TYPE_CHECKING:
    from rich.status import Status

    from cli.session import Session

DEFAULT_SINCE_S = 600.0
_POLL_LOCAL_S, _POLL_AWS_S = 0.3, 2.0
_LIVE_WAIT_S = 0.5
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_BEFORE_EVENT_S = 60.0  # the request came before the event was stored, and the clocks of two machines differ


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for on the command line."""

    follow: bool
    since_s: float | None
    functions: tuple[str, ...]
    text: str
    stream_id: str | None
    event_id: int | None
    request_id: str | None
    raw: bool
    live: bool


def seconds(text: str) -> float:
    """Read a duration: ``90s``, ``10m``, ``2h``, ``3d``.

    Raises
    ------
    UsageError
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text.strip())
    if match is None:
        raise UsageError(f"--since can't be {text!r}: it is a number and a unit", "For example 90s, 10m, 2h or 3d.")
    return float(match[1]) * _UNITS[match[2]]


def tail(session: Session, request: Request) -> None:
    """Show lines, and go on where that is asked for."""
    groups = _groups(session, request.functions)
    event = None
    if request.event_id is not None:
        event = find_event(session, request.stream_id or TEST_STREAM, request.event_id)
    selection = Selection(_wanted(request, event))
    shower = _Shower(session, request, Layout.of(list(groups)))
    if request.live:
        _live(session, groups, selection, shower)
        return
    start = _start(request, event)
    follower = Follower(_source(session, groups), list(groups), int(start.timestamp() * 1000))
    since = start.astimezone().strftime("%H:%M:%S" if request.since_s is None else "%Y-%m-%d %H:%M:%S")
    names = next(iter(groups)) if len(groups) == 1 else f"{len(groups)} logs"
    tailing = f"{names} of {session.target.label} since {since}"
    if not request.follow:
        shown = shower.show(_picked(selection, follower.look()))
        shower.end()
        if session.output.is_text:
            session.output.message(f"{shown} line{'' if shown == 1 else 's'} · {tailing}")
            if not shown:
                session.output.hint("Look further back with --since 1h, or wait for lines with -f.")
        return
    session.output.message(f"Tailing {tailing} · Ctrl-C ends")
    pause = _POLL_LOCAL_S if session.target.is_local else _POLL_AWS_S
    with _alive(session) as alive:
        for raw in _looks(session, follower, pause):
            shower.show(_picked(selection, raw))
            alive.update(shower.total)


def _looks(session: Session, follower: Follower, pause_s: float) -> Iterator[list[RawLine]]:
    """Look again and again; what is away for a while is waited for, and nothing is missed meanwhile."""
    away = False
    while True:
        try:
            raw = follower.look()
        except UnreachableError as error:
            if not away:
                session.output.warning(f"{error.message}; looking again …")
            away = True
        else:
            away = False
            yield raw
        session.environment.sleep(pause_s)


def _live(session: Session, groups: Mapping[str, str], selection: Selection, shower: _Shower) -> None:
    from cli.aws import account_of
    from cli.logs.livetail import LiveTail

    target = session.target
    if target.is_local:
        raise UsageError(
            "--live is not possible here: the local target's live tail carries no lines of functions",
            "Use -f instead: it polls.",
        )
    account = target.account or account_of(session.clients)
    partition = session.clients.client("logs").meta.partition
    arns = {name: f"arn:{partition}:logs:{target.region}:{account}:log-group:{group}" for name, group in groups.items()}
    session.output.message(f"Live tail of {len(arns)} logs of {target.label} · Ctrl-C ends")
    with _alive(session) as alive:
        for raw in LiveTail(session.clients.client("logs"), arns).lines(_LIVE_WAIT_S):
            if raw is not None:
                shower.show(_picked(selection, [raw]))
            alive.update(shower.total)


def _groups(session: Session, functions: Iterable[str]) -> Mapping[str, str]:
    """The log groups to read, by function."""
    from cli.observe.resources import find_resources

    resources = find_resources(session.clients, session.target.stack_name)
    wanted = {function_named(resources, each) for each in functions}
    return {name: group for name, group in resources.log_groups.items() if not wanted or name in wanted}


def _source(session: Session, groups: Mapping[str, str]) -> CloudWatchSource:
    return CloudWatchSource(session.clients.client("logs"), groups)


def _wanted(request: Request, event: Mapping[str, Any] | None) -> Wanted:
    if event is None:
        return Wanted(request.text, request.stream_id, None, request.request_id)
    correlation_id = (event.get("metadata") or {}).get("correlationId")
    return Wanted(request.text, event["streamId"], event["eventId"], request.request_id, correlation_id)


def _start(request: Request, event: Mapping[str, Any] | None) -> datetime:
    from handlers.clock import parse_rfc3339

    if request.since_s is None and event is not None:
        return datetime.fromtimestamp(parse_rfc3339(event["timeStamp"]).timestamp() - _BEFORE_EVENT_S, UTC)
    back = DEFAULT_SINCE_S if request.since_s is None else request.since_s
    return datetime.fromtimestamp(max(0.0, datetime.now(UTC).timestamp() - back), UTC)


def find_event(session: Session, stream_id: str, event_id: int) -> dict[str, Any]:
    """Read one event from the store.

    Raises
    ------
    NotFoundError
        There is none.
    """
    path = f"/streams/{quote(stream_id, safe='')}/events"
    events = session.api.get(path, **{"from": event_id, "limit": 1}).document["events"]
    if not events or events[0]["eventId"] != event_id:
        raise NotFoundError(
            f"stream {visible(stream_id)} has no event {event_id}",
            f"See what it has:  esctl events {shell_word(stream_id)}",
        )
    found: dict[str, Any] = events[0]
    return found


def _picked(selection: Selection, raw: Iterable[RawLine]) -> list[Line]:
    return selection.pick(sorted(map(understand, raw), key=lambda line: line.at))


class _Alive(Protocol):
    """Something that shows that we still look."""

    def update(self, lines: int) -> None: ...


class _Silent:
    """For a pipe or a file."""

    def update(self, lines: int) -> None:
        pass


class _Spinner:
    """For a terminal: a line at the bottom that moves."""

    def __init__(self, status: Status) -> None:
        self._status = status

    def update(self, lines: int) -> None:
        now = datetime.now().astimezone().strftime("%H:%M:%S")
        self._status.update(f"{lines} line{'' if lines == 1 else 's'} · last looked {now}")


@contextmanager
def _alive(session: Session) -> Iterator[_Alive]:
    environment = session.environment
    if not (environment.stderr_is_terminal and session.output.is_text):
        yield _Silent()
        return
    # Where both streams are a terminal, one console must draw both the lines and the spinner.
    console = session.output.console("stdout" if environment.stdout_is_terminal else "stderr")
    with console.status("looking …", spinner="dots") as status:
        yield _Spinner(status)


class _Shower:
    """Writes lines in the form asked for."""

    def __init__(self, session: Session, request: Request, layout: Layout) -> None:
        self._session = session
        self._raw = request.raw
        self._follow = request.follow
        self._layout = layout
        self._collected: list[dict[str, Any]] = []
        self.total = 0

    def show(self, lines: list[Line]) -> int:
        """Write lines; returns how many."""
        self.total += len(lines)
        for line in lines:
            self._show(line)
        self._session.environment.stdout.flush()
        return len(lines)

    def end(self) -> None:
        """Write what had to wait for the end: a JSON array."""
        if self._session.output.format is Format.JSON and not self._follow:
            self._session.output.json(self._collected)

    def _show(self, line: Line) -> None:
        output = self._session.output
        if self._raw and output.is_text:
            output.text(line.raw.message.rstrip("\n"))
        elif output.is_text and self._session.environment.stdout_is_terminal:
            output.console("stdout").print(rich_text(line, self._layout), soft_wrap=True)
        elif output.is_text:
            for row in plain(line, self._layout):
                output.text(row)
        elif output.format is Format.JSON and not self._follow:
            self._collected.append(line_document(line))
        else:
            output.json_line(line_document(line))


def show_trace(session: Session, stream_id: str | None, event_id: int, timeout_s: float) -> None:
    """Show an event's path; waits a little for lines that are on their way."""
    from cli.logs.traceview import show
    from cli.readmodel import following

    event = find_event(session, stream_id or TEST_STREAM, event_id)
    request = Request(False, None, (), "", event["streamId"], event_id, None, False, False)
    groups = _groups(session, ())
    follower = Follower(_source(session, groups), list(groups), int(_start(request, event).timestamp() * 1000))
    followers = [projection.name for projection in following(event["streamId"])]
    lines: list[Line] = []
    deadline = session.environment.monotonic() + timeout_s
    while True:
        lines += map(understand, follower.look())
        found: Trace = trace(event, lines, followers)
        if found.complete or session.environment.monotonic() >= deadline:
            break
        session.environment.sleep(_POLL_LOCAL_S if session.target.is_local else _POLL_AWS_S)
    show(session, found)
