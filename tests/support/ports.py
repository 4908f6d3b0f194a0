"""Ports that do something on the way: let somebody else act, or die, before or after a call takes effect."""

from collections import Counter
from collections.abc import Callable
from typing import Any

Action = Callable[[], object]


class DiedError(Exception):
    """Stands for the end of the process at this very call."""


def die() -> None:
    raise DiedError


class Interrupted:
    """A port (event store or read model) whose calls are counted, and interrupted where a test says so.

    Attributes
    ----------
    calls
        Operation to how often it was called.
    """

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self._actions: dict[tuple[str, str], list[Action]] = {}
        self.calls: Counter[str] = Counter()

    def before(self, operation: str, *actions: Action) -> "Interrupted":
        """Do one action before each of the next calls of an operation."""
        self._actions.setdefault(("before", operation), []).extend(actions)
        return self

    def after(self, operation: str, *actions: Action) -> "Interrupted":
        """Do one action after each of the next calls of an operation, when it has taken effect."""
        self._actions.setdefault(("after", operation), []).extend(actions)
        return self

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        call = getattr(self._inner, operation)

        def interrupted(*arguments: Any, **named: Any) -> Any:
            self.calls[operation] += 1
            self._act("before", operation)
            answer = call(*arguments, **named)
            self._act("after", operation)
            return answer

        return interrupted

    def _act(self, moment: str, operation: str) -> None:
        actions = self._actions.get((moment, operation))
        if actions:
            actions.pop(0)()
