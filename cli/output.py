"""What the commands show: data on stdout, everything else on stderr.

Without a terminal nothing of rich is imported and everything is plain text. Colour is never the only signal.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal, Protocol, TextIO

from cli.environment import Environment
from cli.errors import CliError, UsageError
from cli.tables import Column, plain_table, visible, visible_lines

if TYPE_CHECKING:
    from rich.console import Console

_PROGRESS_EVERY_S = 5.0  # how often a log without a terminal hears of progress


class Format(StrEnum):
    """The forms of output."""

    TEXT = "text"
    JSON = "json"
    JSONL = "jsonl"


class Progress(Protocol):
    """A running display of how far something is."""

    def update(
        self, *, done: float | None = None, total: float | None = None, description: str | None = None
    ) -> None: ...


@dataclass(slots=True)
class Output:
    """Writes one command's results and messages.

    Parameters
    ----------
    environment
        Where the streams and the terminal's properties come from.
    format
        The form that data takes on stdout.
    """

    environment: Environment
    format: Format = Format.TEXT
    _stdout: Console | None = None
    _stderr: Console | None = None

    # Data --------------------------------------------------------------------------------------------------------

    @property
    def is_text(self) -> bool:
        return self.format is Format.TEXT

    def json(self, document: Any) -> None:
        """One JSON document, with every digit of its decimals."""
        from handlers.exactjson import dumps

        self.text(dumps(document, indent=2))

    def json_line(self, document: Any) -> None:
        """One line of JSON Lines, sent at once."""
        from handlers.exactjson import dumps

        self.text(dumps(document))
        self.environment.stdout.flush()

    def text(self, line: str = "") -> None:
        """One line of data."""
        print(line, file=self.environment.stdout)

    def table(
        self, columns: Sequence[Column | str], rows: Sequence[Sequence[object]], *, title: str = "", empty: str = ""
    ) -> None:
        """Rows as a table: drawn on a terminal, aligned plain text elsewhere.

        Parameters
        ----------
        empty
            Said on stderr instead of a table without rows.
        """
        self._table(self.environment.stdout, columns, rows, title, empty)

    def message_table(
        self, columns: Sequence[Column | str], rows: Sequence[Sequence[object]], *, title: str = ""
    ) -> None:
        """A table that is not the command's result (a plan, for example): on stderr."""
        self._table(self.environment.stderr, columns, rows, title, "")

    def pairs(self, values: Mapping[str, object]) -> None:
        """Names and values below each other, as data; scripts may cut at the first run of two spaces."""
        width = max((len(name) for name in values), default=0)
        for name, value in values.items():
            self.text(f"{visible(name):<{width}}  {visible(value)}".rstrip())

    # Messages ----------------------------------------------------------------------------------------------------

    def message(self, text: str = "") -> None:
        """A line for the reader, on stderr."""
        self._say(text)

    def success(self, text: str) -> None:
        self._say(text, "green", "✓ ")

    def warning(self, text: str) -> None:
        self._say(text, "yellow", "warning: ")

    def hint(self, text: str) -> None:
        """What to do next."""
        for line in text.splitlines():
            self._say(line, "cyan", "→ ")

    def error(self, error: CliError) -> None:
        """An expected failure: one line, its single faults, and what to do next."""
        self._say(error.message, "bold red", "error: ")
        for fault in error.faults:
            self._say(f"  - {fault}")
        if error.hint:
            self.hint(error.hint)

    # Questions ---------------------------------------------------------------------------------------------------

    def ask(self, question: str, default: str = "", *, hint: str = "Give the value as an option.") -> str:
        """Ask at the terminal; `UsageError` with the hint where there is none."""
        if not self.environment.interactive:
            raise UsageError(f"can't ask “{question}”: there is no terminal", hint)
        suffix = f" [{default}]" if default else ""
        self.environment.stderr.write(f"{question}{suffix}: ")
        self.environment.stderr.flush()
        line = self.environment.stdin.readline()
        if not line:  # end of file: Ctrl-D
            self.environment.stderr.write("\n")
            raise UsageError("no answer was given", "Run the command again when you have decided.")
        return line.strip() or default

    def confirm(self, question: str, *, yes: bool = False) -> bool:
        """Ask for a yes; without a terminal only ``--yes`` is one."""
        if yes:
            return True
        if not self.environment.interactive:
            raise UsageError(f"can't ask “{question}”: there is no terminal", "Add --yes if you mean it.")
        return self.ask(f"{question} [y/N]").lower() in ("y", "yes")

    # Progress ----------------------------------------------------------------------------------------------------

    @contextmanager
    def progress(self, description: str, total: float | None = None) -> Iterator[Progress]:
        """A live display on a terminal; a line now and then elsewhere. It is gone before anything else is written."""
        if not self.environment.stderr_is_terminal:
            yield _PlainProgress(self, description, total)
            return
        from cli.display import live_progress

        with live_progress(self.console("stderr"), visible(description), total) as progress:
            yield progress

    def console(self, stream: Literal["stdout", "stderr"]) -> Console:
        """rich's console for one of the streams, for displays that need more than the methods above."""
        from cli.display import console

        if stream == "stdout":
            self._stdout = self._stdout or console(self.environment, self.environment.stdout)
            return self._stdout
        self._stderr = self._stderr or console(self.environment, self.environment.stderr)
        return self._stderr

    # -------------------------------------------------------------------------------------------------------------

    def _terminal(self, stream: TextIO) -> bool:
        environment = self.environment
        return environment.stdout_is_terminal if stream is environment.stdout else environment.stderr_is_terminal

    def _table(
        self,
        stream: TextIO,
        columns: Sequence[Column | str],
        rows: Sequence[Sequence[object]],
        title: str,
        empty: str,
    ) -> None:
        if not rows and empty:
            self.message(empty)
            return
        if not self._terminal(stream):
            stream.write(plain_table(columns, rows, title))
            return
        from cli.display import rich_table

        name: Literal["stdout", "stderr"] = "stdout" if stream is self.environment.stdout else "stderr"
        self.console(name).print(rich_table(columns, rows, title))

    def _say(self, text: str, style: str = "", prefix: str = "") -> None:
        stream = self.environment.stderr
        # Where both streams end in one place (2>&1 | tee), the order must be that of the writing.
        with suppress(OSError):  # it comes again at the last flush, where it is handled
            self.environment.stdout.flush()
        if prefix and style and self.environment.stderr_is_terminal and self.environment.colour:
            from cli.display import styled

            prefix = styled(prefix, style)
        # Errors and reasons come from elsewhere: from events, handlers, other machines.
        stream.write(f"{prefix}{visible_lines(text)}\n")
        stream.flush()


class _PlainProgress:
    """Progress for a log file: a line every few seconds, and one whenever the description changes."""

    def __init__(self, output: Output, description: str, total: float | None) -> None:
        self._output = output
        self._description = description
        self._total = total
        self._done = 0.0
        self._said_at = output.environment.monotonic()
        output.message(f"{description} ...")

    def update(self, *, done: float | None = None, total: float | None = None, description: str | None = None) -> None:
        self._done = self._done if done is None else done
        self._total = self._total if total is None else total
        changed = description is not None and description != self._description
        if changed and description is not None:
            self._description = description
        now = self._output.environment.monotonic()
        if changed or (done is not None and now - self._said_at >= _PROGRESS_EVERY_S):
            self._said_at = now
            of = f" {self._done:,.0f} of {self._total:,.0f}" if self._total else ""
            self._output.message(f"{self._description}{of} ...")
