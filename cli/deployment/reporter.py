"""The deployment as a person sees it: the adapter of the port `Reporter`. Everything goes to stderr."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from cli.deployment.changes import HOLDS_DATA, counted
from cli.deployment.model import Action, Change, short_type
from cli.deployment.ports import EventView
from cli.deployment.progress import LiveView, PlainView
from cli.deployment.widening import Widening
from cli.errors import UsageError
from cli.output import Output
from cli.tables import Column

if TYPE_CHECKING:
    from rich.text import Text

_SIGNS: Mapping[Action, str] = {
    Action.ADD: "+",
    Action.IMPORT: "+",
    Action.CHANGE: "~",
    Action.MAY_REPLACE: "±",
    Action.REPLACE: "±",
    Action.REMOVE: "-",
}
_STYLES: Mapping[Action, str] = {
    Action.ADD: "green",
    Action.IMPORT: "green",
    Action.CHANGE: "",
    Action.MAY_REPLACE: "yellow",
    Action.REPLACE: "yellow",
    Action.REMOVE: "yellow",
}
_NEW_SHOWN = 20  # more than these of a new stack are shown by type: a hundred lines say less than twenty
_WIDENINGS_SHOWN = 40


class OutputReporter:
    """Says and asks through `Output`.

    Parameters
    ----------
    brief
        Without a terminal, no line for each single resource.
    """

    def __init__(self, output: Output, *, brief: bool = False) -> None:
        self._output = output
        self._brief = brief

    def say(self, text: str) -> None:
        self._output.message(text)

    def working(self, text: str) -> AbstractContextManager[object]:
        return self._output.progress(text)

    def plan(self, changes: Sequence[Change], widenings: Sequence[Widening]) -> None:
        shown = [change for change in changes if not change.follows]
        if len(shown) > _NEW_SHOWN and all(change.action is Action.ADD for change in shown):
            kinds = Counter(short_type(change.resource_type) for change in shown)
            rows: list[list[object]] = [["+", "add", count, kind] for kind, count in sorted(kinds.items())]
            self._output.message_table(["", "change", Column("number", "right"), "type"], rows)
        else:
            rows = [[*self._row(change)] for change in shown]
            self._output.message_table(["", "change", "resource", "type", "what of it"], rows)
        follow = len(changes) - len(shown)
        self._output.message(f"{counted(changes)}" + (f"; {follow} more only refer to these." if follow else "."))
        if widenings:
            self._widenings(widenings)

    def _widenings(self, widenings: Sequence[Widening]) -> None:
        together: dict[tuple[str, str], list[str]] = {}
        for each in widenings:
            together.setdefault((_who(each), each.on), []).append(each.may)
        rows = [[who, ", ".join(actions), on] for (who, on), actions in together.items()]
        title = "Permissions that widen"
        self._output.message_table(["who", "newly may", "on"], rows[:_WIDENINGS_SHOWN], title=title)
        if len(rows) > _WIDENINGS_SHOWN:
            self._output.message(f"... and {len(rows) - _WIDENINGS_SHOWN} more (all of them: -o json)")

    def watching(self, title: str, expected: int) -> EventView:
        if self._output.environment.stderr_is_terminal:
            return LiveView(self._output.console("stderr"), title, expected)
        return PlainView(self._output.message, title, brief=self._brief)

    def confirm(self, question: str) -> bool:
        return self._output.confirm(question)

    def type_in(self, question: str) -> str:
        if not self._output.environment.interactive:
            raise UsageError(f"can't ask “{question}”: there is no terminal", "Add --yes if you mean it.")
        return self._output.ask(question)

    def _row(self, change: Change) -> list[str | Text]:
        grave = change.resource_type in HOLDS_DATA and change.action in (Action.REPLACE, Action.REMOVE)
        # Red on a terminal, and a word for it everywhere: colour is never the only signal.
        word = change.action.value + (" (DATA!)" if grave else "")
        what = ", ".join(change.properties) + (" (the old one stays)" if change.keeps_old else "")
        cells: list[str] = [
            _SIGNS[change.action],
            word,
            change.logical_id,
            short_type(change.resource_type),
            what.strip(),
        ]
        style = "bold red" if grave else _STYLES[change.action]
        if not (style and self._output.environment.stderr_is_terminal):
            return list(cells)
        from rich.text import Text

        return [Text(cell, style=style) for cell in cells[:3]] + list(cells[3:])


def _who(widening: Widening) -> str:
    return f"{widening.who} (PUBLIC)" if widening.public else widening.who
