"""Fetching log lines: each one once, whatever arrives late or in pages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Protocol

from cli.logs.lines import Identity, RawLine

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient

# FilterLogEvents answers with at most so many lines at once; the emulator then forgets to give a token for the rest.
PAGE_MAX = 10_000
# CloudWatch takes some seconds until a line can be found; what comes later than this behind its time is missed.
LATE_MS = 30_000
_THREADS = 5  # FilterLogEvents allows some calls a second


@dataclass(frozen=True, slots=True)
class Page:
    """One answer: lines in no particular order, the token for more, and the server's own time."""

    lines: tuple[RawLine, ...]
    token: str | None
    served_ms: int | None = None


class LogSource(Protocol):
    """Where log lines come from."""

    def page(self, function: str, start_ms: int, token: str | None) -> Page:
        """Return lines of one function's group from a time on."""
        ...


class CloudWatchSource:
    """CloudWatch Logs.

    Parameters
    ----------
    groups
        Log group names by function.
    """

    def __init__(self, client: CloudWatchLogsClient, groups: Mapping[str, str]) -> None:
        self._client = client
        self._groups = groups

    def page(self, function: str, start_ms: int, token: str | None) -> Page:
        """Return lines of one function's group from a time on.

        Raises
        ------
        CliError
        """
        from cli.aws import errors

        more: Any = {} if token is None else {"nextToken": token}
        with errors():
            answer = self._client.filter_log_events(
                logGroupName=self._groups[function], startTime=start_ms, limit=PAGE_MAX, **more
            )
        lines = tuple(
            RawLine(
                function,
                each["timestamp"],
                each["message"],
                each.get("logStreamName", ""),
                each.get("eventId", ""),
            )
            for each in answer["events"]
        )
        return Page(lines, answer.get("nextToken"), _served_at(answer["ResponseMetadata"]))


def _served_at(metadata: Any) -> int | None:
    """Return the server's clock in milliseconds: ours may be wrong."""
    try:
        return int(parsedate_to_datetime(metadata["HTTPHeaders"]["date"]).timestamp() * 1000)
    except (KeyError, TypeError, ValueError):
        return None


@dataclass
class _Group:
    """How far one function's log was read."""

    start_ms: int
    seen: dict[Identity, int] = field(default_factory=dict)


class Follower:
    """Reads the logs of several functions from a time on, again and again; each line comes once.

    Every look asks again for the last half minute, since lines may arrive late, and leaves out what came before.

    Parameters
    ----------
    start_ms
        The first moment of interest, milliseconds since 1970.
    """

    def __init__(self, source: LogSource, functions: list[str], start_ms: int) -> None:
        self._source = source
        self._groups = {function: _Group(start_ms) for function in functions}

    def look(self) -> list[RawLine]:
        """Return the lines that came since the last look, in the order of their times.

        Raises
        ------
        CliError
            A log could not be read; the next look returns what this one would have.
        """
        with ThreadPoolExecutor(min(_THREADS, max(1, len(self._groups)))) as pool:
            looked = list(pool.map(self._look_at, self._groups))
        fresh: list[RawLine] = []
        for group, (lines, served_ms) in zip(self._groups.values(), looked, strict=True):
            fresh += self._unseen(group, lines)
            self._move_on(group, lines, served_ms)
        return sorted(fresh, key=lambda line: line.timestamp_ms)

    def _look_at(self, function: str) -> tuple[list[RawLine], int | None]:
        return _all_pages(self._source, function, self._groups[function].start_ms)

    def _unseen(self, group: _Group, lines: list[RawLine]) -> Iterator[RawLine]:
        for line, identity in _identified(lines):
            if identity not in group.seen:
                group.seen[identity] = line.timestamp_ms
                yield line

    def _move_on(self, group: _Group, lines: list[RawLine], served_ms: int | None) -> None:
        """Begin the next look half a minute before this one, or before the newest line where no clock is known."""
        newest = served_ms or max((line.timestamp_ms for line in lines), default=0)
        group.start_ms = max(group.start_ms, newest - LATE_MS)
        group.seen = {identity: at for identity, at in group.seen.items() if at >= group.start_ms}


def _all_pages(source: LogSource, function: str, start_ms: int) -> tuple[list[RawLine], int | None]:
    found: dict[Identity, RawLine] = {}
    served_ms: int | None = None
    token: str | None = None
    while True:
        page = source.page(function, start_ms, token)
        served_ms = served_ms or page.served_ms
        before = len(found)
        found |= {identity: line for line, identity in _identified(page.lines, found if token else None)}
        token = page.token
        if token is not None:
            continue
        full = len(page.lines) >= PAGE_MAX
        # A full page without a token: go on from its last moment, and again only while that brings anything new.
        if not full or len(found) == before:
            return list(found.values()), served_ms
        start_ms = max(line.timestamp_ms for line in page.lines)


def _identified(
    lines: list[RawLine] | tuple[RawLine, ...], before: Mapping[Identity, RawLine] | None = None
) -> Iterator[tuple[RawLine, Identity]]:
    """Tell lines apart: by CloudWatch's id, else by all that is known of them and a count of those that are equal."""
    counts: Counter[tuple[str, str, int, str]] = Counter(identity[:4] for identity in before or ())
    for line in lines:
        if line.event_id:
            yield line, (line.function, line.stream, line.timestamp_ms, line.event_id, 0)
            continue
        alike = (line.function, line.stream, line.timestamp_ms, line.message)
        counts[alike] += 1
        yield line, (*alike, counts[alike])
