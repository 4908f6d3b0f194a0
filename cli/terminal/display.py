"""The parts of the output that need rich, imported only for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress
from rich.segment import Segment
from rich.style import Style
from rich.table import Table
from rich.text import Text

from cli.terminal.environment import Environment, Stream
from cli.terminal.tables import Column, column
from cli.terminal.text import one_line, visible, visible_lines

_COLUMNS_MIN = 20  # a narrower table is unreadable, and rich would print cells of no width


class _SafeConsole(Console):
    """A console that makes all text safe to show; colours and cursor movements are rich's own."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else visible_lines(text), style, control)


def console(environment: Environment, stream: Stream) -> Console:
    """Return rich's console for one of the environment's streams."""
    return _SafeConsole(
        file=environment.stream(stream),
        force_terminal=environment.is_terminal(stream),
        no_color=not environment.colour,
        width=max(environment.width, _COLUMNS_MIN) if environment.width else None,
        highlight=False,
        emoji=False,
        markup=False,
    )


def styled(text: str, style: str) -> str:
    """Return the text within the escape codes of a style."""
    return Style.parse(style).render(text)


def rich_table(columns: Sequence[Column | str], rows: Sequence[Sequence[object]], title: str) -> Table:
    """Return a table with rounded borders; cells are folded, never truncated."""
    table = Table(
        title=Text(title, style="bold") if title else None, title_justify="left", box=box.ROUNDED, header_style="bold"
    )
    for head in map(column, columns):
        table.add_column(head.title, justify=head.align, style=head.style or None, overflow="fold")
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(visible(cell)) for cell in row))
    return table


class LiveProgress:
    """One line that changes in place."""

    def __init__(self, display: RichProgress, task: TaskID) -> None:
        self._display = display
        self._task = task

    def update(self, *, done: float | None = None, total: float | None = None, description: str | None = None) -> None:
        described = None if description is None else one_line(description)
        self._display.update(self._task, completed=done, total=total, description=described)


@contextmanager
def live_progress(target: Console, description: str, total: float | None) -> Iterator[LiveProgress]:
    """Show a spinner, and a bar if the total is known, until the block ends."""
    counted = () if total is None else (BarColumn(), MofNCompleteColumn())
    display = RichProgress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        *counted,
        TimeElapsedColumn(),
        console=target,
        transient=True,
    )
    with display:
        yield LiveProgress(display, display.add_task(description, total=total))
