"""A running operation on the screen: in place at a terminal, line by line elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cli.deployment.model import StackEvent, short_type
from cli.terminal.text import one_line

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live
    from rich.spinner import Spinner

ROWS_MAX = 8  # resources shown at a time: the display has to fit the smallest terminal


@dataclass(slots=True)
class Tally:
    """Which resources are being worked on and which are done."""

    expected: int = 0
    active: dict[str, StackEvent] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)
    state: str = ""

    def count(self, event: StackEvent) -> None:
        """Take one more event into account."""
        if event.is_stack:
            if event.status != self.state and "ROLLBACK" in event.status:
                self.done.clear()  # from here on it counts what is undone
                self.expected = 0
            self.state = event.status
            return
        if event.status.endswith("_IN_PROGRESS"):
            self.active[event.logical_id] = event
            return
        self.active.pop(event.logical_id, None)
        self.done.add(event.logical_id)

    @property
    def total(self) -> int:
        """Resources expected: never fewer than those seen."""
        return max(self.expected, len(self.done) + len(self.active))


def matters(event: StackEvent) -> bool:
    """True for events that stay readable after the display is gone: failures, what is kept, and a roll-back's start."""
    if event.is_stack:
        return "ROLLBACK_IN_PROGRESS" in event.status
    return event.status.endswith("_FAILED") or event.status == "DELETE_SKIPPED"


def line_of(event: StackEvent) -> str:
    """An event as a line of a log."""
    reason = f"  {one_line(event.reason)}" if event.reason else ""
    return f"{event.at:%H:%M:%S}  {event.status:<20} {event.logical_id}  ({short_type(event.resource_type)}){reason}"


class PlainView:
    """A line for everything that got done, failed or was kept; beginnings are left out.

    Parameters
    ----------
    brief
        Only what matters, and a count at the end: for operations that are over in a second or two.
    """

    def __init__(self, say: Callable[[str], None], title: str, *, brief: bool = False) -> None:
        self._say = say
        self._title = title
        self._brief = brief
        self._tally = Tally()

    def __enter__(self) -> PlainView:
        self._say(f"{self._title} ...")
        return self

    def __exit__(self, *error: object) -> None:
        if self._brief and self._tally.state:
            self._say(f"{self._title}: {len(self._tally.done)} resources, {self._tally.state}")

    def show(self, event: StackEvent) -> None:
        """Write the event's line."""
        self._tally.count(event)
        if matters(event) or (not self._brief and (event.is_stack or not event.status.endswith("_IN_PROGRESS"))):
            self._say(line_of(event))


class LiveView:
    """What is being worked on, in place, with what matters written above it."""

    def __init__(self, console: Console, title: str, expected: int) -> None:
        self._console = console
        self._title = title
        self._tally = Tally(expected)
        self._live: Live | None = None
        self._spinner: Spinner | None = None

    def __enter__(self) -> LiveView:
        from rich.live import Live

        self._live = Live(get_renderable=self._render, console=self._console, transient=True, refresh_per_second=8)
        self._live.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live is not None:
            self._live.__exit__(None, None, None)

    def show(self, event: StackEvent) -> None:
        """Count the event in, and keep its line if it matters."""
        self._tally.count(event)
        if matters(event):
            from rich.text import Text

            style = "bold red" if event.status.endswith("_FAILED") else "yellow"
            self._console.print(Text(line_of(event), style=style))

    def _render(self) -> RenderableType:
        from rich.console import Group
        from rich.spinner import Spinner
        from rich.text import Text

        tally = self._tally
        head = f"{self._title}: {len(tally.done)} of {tally.total} resources  {tally.state}"
        rows = [
            Text(
                f"  {event.status:<20} {event.logical_id}  ({short_type(event.resource_type)})",
                style="dim",
                overflow="ellipsis",
                no_wrap=True,
            )
            for event in list(tally.active.values())[:ROWS_MAX]
        ]
        more = len(tally.active) - len(rows)
        if more > 0:
            rows.append(Text(f"  ... and {more} more", style="dim"))
        if self._spinner is None:
            self._spinner = Spinner("dots")
        self._spinner.update(text=Text(head))
        return Group(self._spinner, *rows)
