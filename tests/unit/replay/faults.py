"""Ports that fail at the n-th call, before or after it took effect."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


class Crash(BaseException):
    """The process is gone: nothing catches this on its way out, as nothing would run after a kill."""


@dataclass
class Fuse:
    """Blows at one call, counted over all ports that it is put in.

    Attributes
    ----------
    at
        The number of the call, from 0; a large one never blows.
    after
        True: the call takes effect first, and only its answer is lost.
    """

    at: int
    after: bool = False
    calls: int = 0
    blown: bool = False

    def through(self, call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        now, self.calls = self.calls == self.at, self.calls + 1
        if now and not self.after:
            self.blown = True
            raise Crash
        answer = call(*arguments, **named)
        if now:
            self.blown = True
            raise Crash
        return answer


@dataclass
class Interloper:
    """Somebody else comes in between, right before one call; goes where a `Fuse` goes."""

    at: int
    act: Callable[[], object]
    calls: int = 0
    acted: bool = False

    def through(self, call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        now, self.calls = self.calls == self.at, self.calls + 1
        if now:
            self.acted = True
            self.act()
        return call(*arguments, **named)


class Brittle:
    """A port of which every call goes through a fuse."""

    def __init__(self, port: Any, fuse: Fuse | Interloper) -> None:
        self._port = port
        self._fuse = fuse

    def __getattr__(self, name: str) -> Callable[..., Any]:
        call = getattr(self._port, name)
        return lambda *arguments, **named: self._fuse.through(call, *arguments, **named)
