"""Fetching log lines: each one once, whatever arrives late, in pages, or without an id."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from cli.errors import UnreachableError
from cli.operate import logs as sources
from cli.operate.logs import CloudWatchSource, Follower, Page, RawLine

NOW_MS = 1_795_000_000_000


@dataclass
class Logs:
    """CloudWatch Logs in memory: lines by function, given out in pages.

    Attributes
    ----------
    page_size
        How many lines an answer holds; the rest comes with a token, or without one where ``forgets`` is set.
    """

    served_ms: int | None = NOW_MS
    page_size: int = 1000
    forgets: bool = False
    fails: int = 0
    lines: dict[str, list[RawLine]] = field(default_factory=dict)
    starts: list[int] = field(default_factory=list)

    def write(self, message: str, at_ms: int, function: str = "A", **more: str) -> None:
        self.lines.setdefault(function, []).append(RawLine(function, at_ms, message, **more))

    def page(self, function: str, start_ms: int, token: str | None) -> Page:
        if self.fails:
            self.fails -= 1
            raise UnreachableError("away")
        self.starts.append(start_ms)
        lines = sorted(
            (line for line in self.lines.get(function, []) if line.timestamp_ms >= start_ms),
            key=lambda line: line.timestamp_ms,
        )
        first = int(token or 0)
        found = tuple(lines[first : first + self.page_size])
        following = first + self.page_size
        more = following < len(lines) and not self.forgets
        return Page(found, str(following) if more else None, self.served_ms)


def messages(lines: list[RawLine]) -> list[str]:
    return [line.message for line in lines]


def test_a_line_is_returned_once_however_often_the_log_is_polled() -> None:
    logs = Logs()
    logs.write("one", NOW_MS)
    follower = Follower(logs, ["A"], NOW_MS - 1000)

    assert messages(follower.look()) == ["one"]
    logs.write("two", NOW_MS)
    assert messages(follower.look()) == ["two"]
    assert follower.look() == []


def test_a_line_that_arrives_late_is_not_missed() -> None:
    logs = Logs()
    logs.write("new", NOW_MS)
    follower = Follower(logs, ["A"], NOW_MS - 60_000)
    follower.look()

    logs.write("late", NOW_MS - 20_000)

    assert messages(follower.look()) == ["late"]


def test_old_lines_are_not_read_forever() -> None:
    logs = Logs()
    follower = Follower(logs, ["A"], NOW_MS - 3_600_000)
    follower.look()

    follower.look()

    assert logs.starts == [NOW_MS - 3_600_000, NOW_MS - sources.LATE_MS]


def test_a_wrong_clock_of_this_machine_does_not_matter() -> None:
    """The next look begins by the server's clock, or by the lines' where it does not tell."""
    logs = Logs(served_ms=None)
    logs.write("one", NOW_MS)
    follower = Follower(logs, ["A"], 0)
    follower.look()

    follower.look()

    assert logs.starts[-1] == NOW_MS - sources.LATE_MS


def test_equal_lines_of_the_same_millisecond_are_all_shown_once() -> None:
    logs = Logs()
    for _ in range(3):
        logs.write("tick", NOW_MS, stream="s")
    follower = Follower(logs, ["A"], NOW_MS - 1)

    assert messages(follower.look()) == ["tick"] * 3
    logs.write("tick", NOW_MS, stream="s")
    assert messages(follower.look()) == ["tick"]


def test_lines_with_ids_are_distinguished_by_id() -> None:
    logs = Logs()
    logs.write("tick", NOW_MS, event_id="1")
    follower = Follower(logs, ["A"], NOW_MS - 1)
    follower.look()

    logs.lines["A"].insert(0, RawLine("A", NOW_MS, "tick", event_id="2"))

    assert [line.event_id for line in follower.look()] == ["2"]


@pytest.mark.parametrize("forgets", [False, True])
def test_all_pages_are_read(forgets: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """With tokens as AWS gives them, and without as the emulator does."""
    monkeypatch.setattr(sources, "PAGE_MAX", 3)
    logs = Logs(page_size=3, forgets=forgets)
    for number in range(10):
        logs.write(f"line {number}", NOW_MS + number // 2)
    follower = Follower(logs, ["A"], NOW_MS)

    assert messages(follower.look()) == [f"line {number}" for number in range(10)]


def test_lines_of_several_functions_are_merged_by_time() -> None:
    logs = Logs()
    logs.write("second", NOW_MS + 1, "A")
    logs.write("first", NOW_MS, "B")
    logs.write("third", NOW_MS + 2, "B")

    assert messages(Follower(logs, ["A", "B"], NOW_MS).look()) == ["first", "second", "third"]


def test_the_poll_after_a_failed_one_returns_everything() -> None:
    logs = Logs(fails=1)
    logs.write("one", NOW_MS)
    follower = Follower(logs, ["A"], NOW_MS)

    with pytest.raises(UnreachableError):
        follower.look()

    assert messages(follower.look()) == ["one"]


def test_cloudwatch_is_read_page_by_page(moto_client: Callable[[str], Any]) -> None:
    client = moto_client("logs")
    client.create_log_group(logGroupName="g")
    client.create_log_stream(logGroupName="g", logStreamName="s")
    now_ms = int(time.time() * 1000)
    lines = [{"timestamp": now_ms, "message": f"line {number}"} for number in range(5)]
    client.put_log_events(logGroupName="g", logStreamName="s", logEvents=lines)

    found = Follower(CloudWatchSource(client, {"A": "g"}), ["A"], now_ms - 1000).look()

    assert messages(found) == [f"line {number}" for number in range(5)]
    assert {line.function for line in found} == {"A"}
