"""Render plans and running operations on stderr: live on a terminal, otherwise line by line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from cli.deploy.follow import StackEvent
from cli.deploy.permission_diff import Grant
from cli.deploy.plan import Action, Change, Plan
from cli.terminal.output import Output
from cli.terminal.tables import Column
from cli.terminal.text import one_line

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.status import Status
    from rich.text import Text

_SIGNS = {Action.CHANGE: "~", Action.MAY_REPLACE: "±", Action.REPLACE: "±", Action.REMOVE: "-"}  # all others: +
_STYLES = {Action.CHANGE: "", Action.ADD: "green", Action.IMPORT: "green"}  # all others: yellow
_ADDITIONS_MAX = 20  # more additions than this are summarized by type
_GRANTS_MAX = 40
_ACTIVE_MAX = 8  # resources shown at a time, to fit the smallest terminal


def show_plan(output: Output, plan: Plan) -> None:
    """Show the changes and the new permissions as tables."""
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
    # Colour is never the only signal.
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
        output.message(f"... and {len(rows) - _GRANTS_MAX} more; -o json shows all")


class OperationView:
    """The display of an operation in progress.

    On a terminal, resources in progress are updated in place below the important events; otherwise each finished
    resource gets a line, or with `brief` only important events. `expected` is the number of resources, 0 if unknown.
    """

    def __init__(self, output: Output, title: str, *, expected: int = 0, brief: bool = False) -> None:
        self._output = output
        self._title = title
        self._expected = expected
        self._brief = brief
        self._active: dict[str, StackEvent] = {}
        self._done: set[str] = set()
        self._state = ""
        self._status: Status | None = None

    def __enter__(self) -> OperationView:
        if self._output.environment.stderr_is_terminal:
            self._status = self._output.console("stderr").status(self._title)
            self._status.start()
        else:
            self._output.message(f"{self._title} ...")
        return self

    def __exit__(self, *error: object) -> None:
        if self._status is not None:
            self._status.stop()
        elif self._brief and self._state:
            self._output.message(f"{self._title}: {len(self._done)} resources, {self._state}")

    def show(self, event: StackEvent) -> None:
        ended = not event.status.endswith("_IN_PROGRESS")
        if event.is_stack:
            if event.status != self._state and _is_important(event):
                self._done.clear()  # from here on, count the resources rolled back
                self._expected = 0
            self._state = event.status
        elif ended:
            self._active.pop(event.logical_id, None)
            self._done.add(event.logical_id)
        else:
            self._active[event.logical_id] = event
        if self._status is not None:
            if _is_important(event):
                style = "bold red" if event.status.endswith("_FAILED") else "yellow"
                self._status.console.print(_text(_line(event), style))
            self._status.update(self._progress())
        elif _is_important(event) or ((ended or event.is_stack) and not self._brief):
            self._output.message(_line(event))

    def _progress(self) -> RenderableType:
        from rich.console import Group

        done, active = len(self._done), [*self._active.values()]
        total = max(self._expected, done + len(active))
        rows = [_text(_named(event), "dim") for event in active[:_ACTIVE_MAX]]
        if len(active) > _ACTIVE_MAX:
            rows.append(_text(f"... and {len(active) - _ACTIVE_MAX} more", "dim"))
        return Group(_text(f"{self._title}: {done} of {total} resources  {self._state}"), *rows)


def _is_important(event: StackEvent) -> bool:
    """Return True for events that stay on the screen: failures, retained resources, and the start of a rollback."""
    if event.is_stack:
        return "ROLLBACK_IN_PROGRESS" in event.status
    return event.status.endswith("_FAILED") or event.status == "DELETE_SKIPPED"


def _line(event: StackEvent) -> str:
    reason = f"  {one_line(event.reason)}" if event.reason else ""
    return f"{event.at:%H:%M:%S}  {_named(event)}{reason}"


def _named(event: StackEvent) -> str:
    return f"{event.status:<20} {event.logical_id}  ({_short(event.resource_type)})"


def _short(resource_type: str) -> str:
    return resource_type.removeprefix("AWS::")


def _text(line: str, style: str = "") -> Text:
    from rich.text import Text

    return Text(line, style=style, overflow="ellipsis", no_wrap=style == "dim")
