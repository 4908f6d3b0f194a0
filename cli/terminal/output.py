"""The commands' output: data on stdout, everything else on stderr.

Without a terminal, rich is not imported and everything is plain text. Colour is never the only signal.
"""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

from cli.errors import CliError, UsageError
from cli.terminal.environment import Environment, Stream
from cli.terminal.tables import Column, plain_table
from cli.terminal.text import UNENCODABLE, one_line, visible, visible_lines

if TYPE_CHECKING:
    from rich.console import Console

_PROGRESS_EVERY_S = 5.0  # between two lines of progress without a terminal


class Format(StrEnum):
    """The output formats."""

    TEXT = "text"
    JSON = "json"
    JSONL = "jsonl"


class Progress(Protocol):
    """A running progress display."""

    def update(
        self, *, done: float | None = None, total: float | None = None, description: str | None = None
    ) -> None: ...


@dataclass(slots=True)
class Output:
    """Writes one command's results and messages; no text that it writes controls the terminal or is invisible."""

    environment: Environment
    format: Format = Format.TEXT
    _consoles: dict[Stream, Console] = field(default_factory=dict)

    # Data --------------------------------------------------------------------------------------------------------

    @property
    def is_text(self) -> bool:
        return self.format is Format.TEXT

    def json(self, document: Any) -> None:
        """Write one JSON document; numbers keep every digit."""
        from handlers.core.lossless_json import dumps

        self.json_text(f"{dumps(document, indent=2)}\n")

    def json_line(self, document: Any) -> None:
        """Write one line of JSON Lines, and flush."""
        from handlers.core.lossless_json import dumps

        self.json_text(f"{dumps(document)}\n")
        self.environment.stdout.flush()

    def json_text(self, text: str) -> None:
        """Write JSON text, complete or in pieces: UTF-8, or ASCII if stdout has another encoding (RFC 8259)."""
        stdout = self.environment.stdout
        if isinstance(stdout, io.TextIOWrapper) and codecs.lookup(stdout.encoding).name not in ("utf-8", "ascii"):
            stdout.reconfigure(encoding="ascii", errors=UNENCODABLE)
        stdout.write(visible_lines(text))

    def text(self, text: str = "", *, mark: str = "", style: str = "") -> None:
        """Write data as one or more lines of text, after a mark that is coloured on a terminal."""
        mark = self._styled(mark, style, self.environment.stdout_is_terminal)
        self.environment.stdout.write(f"{mark}{visible_lines(text)}\n")

    def table(
        self, columns: Sequence[Column | str], rows: Sequence[Sequence[object]], *, title: str = "", empty: str = ""
    ) -> None:
        """Write a table, with borders on a terminal, otherwise as aligned text; without rows, write ``empty`` to stderr."""
        if not rows and empty:
            self.message(empty)
        else:
            self._table("stdout", columns, rows, title)

    def message_table(
        self, columns: Sequence[Column | str], rows: Sequence[Sequence[object]], *, title: str = ""
    ) -> None:
        """Write a table that is not the command's result, such as a plan, to stderr."""
        self._table("stderr", columns, rows, title)

    def pairs(self, values: Mapping[str, object]) -> None:
        """Write one name and value per line; scripts may split at the first run of two spaces."""
        width = max((len(name) for name in values), default=0)
        for name, value in values.items():
            self.text(f"{one_line(name):<{width}}  {visible(value)}".rstrip())

    # Messages ----------------------------------------------------------------------------------------------------

    def message(self, text: str = "") -> None:
        """Write one or more lines to stderr."""
        self._say(visible_lines(text))

    def success(self, text: str) -> None:
        self._say(one_line(text), "✓ ", "green")

    def warning(self, text: str) -> None:
        self._say(one_line(text), "warning: ", "yellow")

    def hint(self, text: str) -> None:
        """Suggest what to do next."""
        for line in text.split("\n"):
            self._say(one_line(line), "→ ", "cyan")

    def error(self, error: CliError) -> None:
        """Write an expected failure: one line, its individual faults, and what to do next."""
        self._say(one_line(error.message), "error: ", "bold red")
        for fault in error.faults:
            self._say(one_line(fault), "  - ")
        if error.hint:
            self.hint(error.hint)

    # Questions ---------------------------------------------------------------------------------------------------

    def ask(self, question: str, default: str = "", *, hint: str = "Give the value as an option.") -> str:
        """Ask at the terminal; without one raise a `UsageError` with the hint."""
        if not self.environment.interactive:
            raise UsageError(f"can't ask “{question}”: there is no terminal", hint)
        suffix = f" [{default}]" if default else ""
        self.environment.stderr.write(f"{one_line(question + suffix)}: ")
        self.environment.stderr.flush()
        try:
            line = self.environment.stdin.readline()
        except UnicodeDecodeError as error:
            raise UsageError(f"can't read the answer: it is not {error.encoding.upper()} text") from error
        if not line:  # end of file: Ctrl-D
            self.environment.stderr.write("\n")
            raise UsageError("no answer was given", "Run the command again, and answer the question.")
        return line.strip() or default

    def confirm(self, question: str, *, yes: bool = False) -> bool:
        """Ask for confirmation; without a terminal ``--yes`` is required."""
        if yes:
            return True
        if not self.environment.interactive:
            raise UsageError(f"can't ask “{question}”: there is no terminal", "Add --yes if you mean it.")
        return self.ask(f"{question} [y/N]").lower() in ("y", "yes")

    # Progress ----------------------------------------------------------------------------------------------------

    @contextmanager
    def progress(self, description: str, total: float | None = None) -> Iterator[Progress]:
        """Show progress: a live display on a terminal, removed at the end; otherwise a line every few seconds."""
        if not self.environment.stderr_is_terminal:
            yield _PlainProgress(self, description, total)
            return
        from cli.terminal.display import live_progress

        with live_progress(self.console("stderr"), one_line(description), total) as progress:
            yield progress

    def console(self, stream: Stream) -> Console:
        """Return rich's console for a stream, for displays that need more than the methods above."""
        from cli.terminal.display import console

        if stream not in self._consoles:
            self._consoles[stream] = console(self.environment, stream)
        return self._consoles[stream]

    # -------------------------------------------------------------------------------------------------------------

    def _table(
        self, stream: Stream, columns: Sequence[Column | str], rows: Sequence[Sequence[object]], title: str
    ) -> None:
        if not self.environment.is_terminal(stream):
            self.environment.stream(stream).write(visible_lines(plain_table(columns, rows, title)))
            return
        from cli.terminal.display import rich_table

        self.console(stream).print(rich_table(columns, rows, title))

    def _say(self, shown: str, mark: str = "", style: str = "") -> None:
        # If both streams have the same destination (2>&1 | tee), lines must appear in the order of writing.
        with suppress(OSError):  # raised again by the final flush, which handles it
            self.environment.stdout.flush()
        stream = self.environment.stderr
        stream.write(f"{self._styled(mark, style, self.environment.stderr_is_terminal)}{shown}\n")
        stream.flush()

    def _styled(self, mark: str, style: str, is_terminal: bool) -> str:
        if not (style and is_terminal and self.environment.colour):
            return mark
        from cli.terminal.display import styled

        return styled(mark, style)


class _PlainProgress:
    """Progress for a log file: a line every few seconds and on each change of the description."""

    def __init__(self, output: Output, description: str, total: float | None) -> None:
        self._output = output
        self._description = description
        self._total = total
        self._done = 0.0
        self._said_at = output.environment.monotonic()
        output.message(f"{one_line(description)} ...")

    def update(self, *, done: float | None = None, total: float | None = None, description: str | None = None) -> None:
        self._done = self._done if done is None else done
        self._total = self._total if total is None else total
        changed = description not in (None, self._description)
        self._description = description or self._description
        now = self._output.environment.monotonic()
        if changed or (done is not None and now - self._said_at >= _PROGRESS_EVERY_S):
            self._said_at = now
            of = f" {self._done:,.0f} of {self._total:,.0f}" if self._total else ""
            self._output.message(f"{one_line(self._description)}{of} ...")
