"""Everything that commands read from the outside world, in one object, so that tests need no patching."""

from __future__ import annotations

import io
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TextIO, TypeVar

from cli.terminal.text import UNENCODABLE

T = TypeVar("T")
Stream = Literal["stdout", "stderr"]


@dataclass(frozen=True, slots=True)
class Environment:
    """The process environment of one run of ``esctl``; only data goes to ``stdout``."""

    stdin: TextIO
    stdout: TextIO
    stderr: TextIO
    variables: Mapping[str, str]
    directory: Path  # the working directory, which may contain a .env
    stdin_is_terminal: bool = False
    stdout_is_terminal: bool = False
    stderr_is_terminal: bool = False
    width: int | None = None  # columns of the terminal, if known
    sleep: Callable[[float], None] = field(default=time.sleep)
    monotonic: Callable[[], float] = field(default=time.monotonic)

    @classmethod
    def of_process(cls) -> Environment:
        stdin = sys.stdin or _nothing("r")
        stdout, stderr = sys.stdout or _nothing("w"), sys.stderr or _nothing("w")
        # Output that can't be encoded is escaped; input that can't be decoded is an error.
        for stream, errors in ((stdin, "strict"), (stdout, UNENCODABLE), (stderr, UNENCODABLE)):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors=errors)
        return cls(
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            variables=os.environ,
            directory=Path.cwd(),
            stdin_is_terminal=_is_terminal(sys.stdin),
            stdout_is_terminal=_is_terminal(sys.stdout),
            stderr_is_terminal=_is_terminal(sys.stderr),
            width=_width(),
        )

    def poll(
        self,
        ask: Callable[[], T],
        done: Callable[[T], bool],
        *,
        timeout_s: float | None,
        pause_s: float = 0.02,
        pause_max_s: float = 0.5,
    ) -> T:
        """Ask at least once, with growing pauses, until the answer is ``done`` or time is up; return the last answer."""
        deadline = None if timeout_s is None else self.monotonic() + timeout_s
        while not done(answer := ask()):
            left_s = pause_s if deadline is None else deadline - self.monotonic()
            if left_s <= 0:
                break
            self.sleep(min(pause_s, left_s))
            pause_s = min(pause_s * 1.5, pause_max_s)
        return answer

    def read_stdin(self) -> str:
        """Read all of standard input as UTF-8, whatever the locale; raise `UnicodeDecodeError`."""
        if isinstance(self.stdin, io.TextIOWrapper):
            raw: bytes = self.stdin.buffer.read()
            return raw.decode("utf-8-sig")
        return self.stdin.read()

    def stream(self, name: Stream) -> TextIO:
        return self.stdout if name == "stdout" else self.stderr

    def is_terminal(self, name: Stream) -> bool:
        return self.stdout_is_terminal if name == "stdout" else self.stderr_is_terminal

    @property
    def interactive(self) -> bool:
        """Whether questions can be asked: both stdin and stderr are terminals."""
        return self.stdin_is_terminal and self.stderr_is_terminal

    @property
    def colour(self) -> bool:
        """Whether colour is enabled (https://no-color.org)."""
        return not self.variables.get("NO_COLOR") and self.variables.get("TERM") != "dumb"


def _nothing(mode: Literal["r", "w"]) -> TextIO:
    """Open a replacement for a stream that the caller closed (``>&-``), which Python sets to None."""
    return open(os.devnull, mode, encoding="utf-8")


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # closed
        return False


def _width() -> int | None:
    for descriptor in (1, 2, 0):
        try:
            return os.get_terminal_size(descriptor).columns or None
        except (OSError, ValueError):
            continue
    return None
