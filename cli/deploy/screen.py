"""Plans and running operations as an operator sees them, on stderr: live at a terminal, line by line elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cli.deploy.follow import StackEvent
from cli.deploy.permission_diff import Grant
from cli.deploy.plan import Action, Change, Plan
from cli.output import Output
from cli.tables import Column, visible

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live
    from rich.spinner import Spinner
    from rich.text import Text

_SIGNS = {Action.CHANGE: "~", Action.MAY_REPLACE: "±", Action.REPLACE: "±", Action.REMOVE: "-"}  # all others: +
_STYLES = {Action.CHANGE: "", Action.ADD: "green", Action.IMPORT: "green"}  # all others: yellow
_ADDITIONS_MAX = 20  # more than these of a new stack are summed up by type
_GRANTS_MAX = 40
_ACTIVE_MAX = 8  # resources shown at a time: the display has to fit the smallest terminal


def show_plan(output: Output, plan: Plan) -> None:
    """Show the changes as a table, and what they newly permit."""
    shown = [change for change in plan.changes if not change.follows]
    if len(shown) > _ADDITIONS_MAX and all(change.action is Action.ADD for change in shown):
        kinds = Counter(_short(change.resource_type) for change in shown)
        rows: list[list[object]] = [["+", "add", count, kind] for kind, count in sorted(kinds.items())]
        output.message_table(["", "change", Column("number", "right"), "type"], rows)
    else:
        coloured = output.environment.stderr_is_terminal
        rows = [_row(change, coloured) for change in shown]
        output.message_table(["", "change", "resource", "type", "details"], rows)
    output.message(f"{summary(plan.changes)}.")
    if plan.permissions:
        _show_permissions(output, plan.permissions)
    for table in plan.overwritten:
        output.warning(f"the new stack replaces table {table} and the events kept in it")


def summary(changes: Sequence[Change]) -> str:
    """Return `3 to add, 1 may be replaced; 2 others change only because they reference these`."""
    own = Counter(change.action for change in changes if not change.follows)
    counts = [
        f"{own[action]} {'may be replaced' if action is Action.MAY_REPLACE else f'to {action}'}"
        for action in Action
        if own[action]
    ]
    text = ", ".join(counts) or "nothing to change"
    others = len(changes) - own.total()
    if others == 1:
        return f"{text}; 1 other changes only because it references these"
    return f"{text}; {others} others change only because they reference these" if others else text


def _row(change: Change, coloured: bool) -> list[object]:
    # Colour is never the only signal: a word goes with it.
    word = change.action.value + (" (DATA!)" if change.loses_data else "")
    details = ", ".join(change.properties) + (" (the old one is retained)" if change.keeps_old else "")
    cells: list[object] = [_SIGNS.get(change.action, "+"), word, change.logical_id]
    style = "bold red" if change.loses_data else _STYLES.get(change.action, "yellow")
    if style and coloured:
        from rich.text import Text

        cells = [Text(str(cell), style=style) for cell in cells]
    return [*cells, _short(change.resource_type), details.strip()]


def _show_permissions(output: Output, permissions: Iterable[Grant]) -> None:
    actions: dict[tuple[str, str], list[str]] = {}
    for each in permissions:
        who = f"{each.who} (PUBLIC)" if each.public else each.who
        actions.setdefault((who, each.on), []).append(each.may)
    rows = [[who, ", ".join(may), on] for (who, on), may in actions.items()]
    output.message_table(["principal", "actions", "on"], rows[:_GRANTS_MAX], title="New permissions")
    if len(rows) > _GRANTS_MAX:
        output.message(f"... and {len(rows) - _GRANTS_MAX} more (all of them: -o json)")


def operation_view(output: Output, title: str, *, expected: int, brief: bool) -> PlainView | LiveView:
    """Return the display of an operation in progress.

    Parameters
    ----------
    expected
        How many resources it changes; 0 where that is unknown.
    brief
        Without a terminal, omit the lines of single resources.
    """
    if output.environment.stderr_is_terminal:
        return LiveView(output.console("stderr"), title, expected)
    return PlainView(output.message, title, brief=brief)


@dataclass(slots=True)
class Progress:
    """Which resources are being changed, and which are done."""

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
        elif event.status.endswith("_IN_PROGRESS"):
            self.active[event.logical_id] = event
        else:
            self.active.pop(event.logical_id, None)
            self.done.add(event.logical_id)

    @property
    def total(self) -> int:
        """Resources expected: never fewer than those seen."""
        return max(self.expected, len(self.done) + len(self.active))


class PlainView:
    """A line for each resource that is done, failed or retained."""

    def __init__(self, say: Callable[[str], None], title: str, *, brief: bool = False) -> None:
        self._say = say
        self._title = title
        self._brief = brief
        self._progress = Progress()

    def __enter__(self) -> PlainView:
        self._say(f"{self._title} ...")
        return self

    def __exit__(self, *error: object) -> None:
        if self._brief and self._progress.state:
            self._say(f"{self._title}: {len(self._progress.done)} resources, {self._progress.state}")

    def show(self, event: StackEvent) -> None:
        """Write the event's line."""
        self._progress.count(event)
        ended = event.is_stack or not event.status.endswith("_IN_PROGRESS")
        if _matters(event) or (ended and not self._brief):
            self._say(_line(event))


class LiveView:
    """The resources being changed, in place, below the lines of the events that matter."""

    def __init__(self, console: Console, title: str, expected: int) -> None:
        self._console = console
        self._title = title
        self._progress = Progress(expected)
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
        """Count the event, and write its line if it matters."""
        self._progress.count(event)
        if _matters(event):
            self._console.print(_text(_line(event), "bold red" if event.status.endswith("_FAILED") else "yellow"))

    def _render(self) -> RenderableType:
        from rich.console import Group
        from rich.spinner import Spinner

        progress = self._progress
        rows = [_text(f"  {_named(event)}", "dim") for event in [*progress.active.values()][:_ACTIVE_MAX]]
        more = len(progress.active) - len(rows)
        if more > 0:
            rows.append(_text(f"  ... and {more} more", "dim"))
        self._spinner = self._spinner or Spinner("dots")
        head = f"{self._title}: {len(progress.done)} of {progress.total} resources  {progress.state}"
        self._spinner.update(text=_text(head))
        return Group(self._spinner, *rows)


def _matters(event: StackEvent) -> bool:
    """Return True for events that stay readable: failures, retained resources, and the start of a rollback."""
    if event.is_stack:
        return "ROLLBACK_IN_PROGRESS" in event.status
    return event.status.endswith("_FAILED") or event.status == "DELETE_SKIPPED"


def _line(event: StackEvent) -> str:
    reason = f"  {visible(event.reason)}" if event.reason else ""
    return f"{event.at:%H:%M:%S}  {_named(event)}{reason}"


def _named(event: StackEvent) -> str:
    return f"{event.status:<20} {event.logical_id}  ({_short(event.resource_type)})"


def _short(resource_type: str) -> str:
    return resource_type.removeprefix("AWS::")


def _text(line: str, style: str = "") -> Text:
    from rich.text import Text

    return Text(line, style=style, overflow="ellipsis", no_wrap=style == "dim")
