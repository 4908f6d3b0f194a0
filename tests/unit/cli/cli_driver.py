"""Runs esctl in this process, in an isolated environment: `result = esctl("list", "-o", "json"); result.json`."""

from __future__ import annotations

import fcntl
import io
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from cli.config.keys import ensure_local_access_key
from cli.config.selection import Targets
from cli.config.state import State
from cli.config.targets import Target
from cli.emulator.process import ALIVE_LOCK, FOLDER, ProcessRecord, write_record
from cli.shell.main import run
from cli.terminal.environment import Environment
from tests.support.result import Result


class Clock:
    """A clock that advances only on sleep."""

    def __init__(self) -> None:
        self.now = 0.0
        self.sleeps: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.now += seconds

    def monotonic(self) -> float:
        return self.now


@dataclass
class Esctl:
    """A machine that runs esctl, with its own folders, variables and clock."""

    directory: Path
    variables: dict[str, str] = field(default_factory=dict)
    clock: Clock = field(default_factory=Clock)
    _alive: TextIO | None = None

    def __post_init__(self) -> None:
        self.variables = {"XDG_STATE_HOME": str(self.directory / "state"), **self.variables}

    def __call__(self, *arguments: str, stdin: str = "", terminal: bool = False) -> Result:
        environment = self.environment(stdin=stdin, terminal=terminal)
        code = run(environment, arguments)
        return Result(int(code), _text(environment.stdout), _text(environment.stderr))

    def environment(self, *, stdin: str = "", terminal: bool = False) -> Environment:
        return Environment(
            stdin=io.StringIO(stdin),
            stdout=io.StringIO(),
            stderr=io.StringIO(),
            variables=self.variables,
            directory=self.directory,
            stdin_is_terminal=terminal,
            stdout_is_terminal=terminal,
            stderr_is_terminal=terminal,
            width=100 if terminal else None,
            sleep=self.clock.sleep,
            monotonic=self.clock.monotonic,
        )

    @property
    def state(self) -> State:
        return State.of(self.environment())

    @property
    def targets(self) -> Targets:
        return Targets(self.state)

    def knows(self, target: Target, *, key: str | None = "a-key-that-nobody-may-see") -> Target:
        """Record a target as deployed from this machine."""
        self.targets.remember(target)
        if key is not None:
            self.state.write_text(key + "\n", "keys", target.record)
        return target

    def has_local_target(self, port: int) -> None:
        """Pretend that the emulator is running on a port."""
        write_record(self.state, ProcessRecord(os.getpid(), 0.0, port))  # no process was started in 1970
        ensure_local_access_key(self.state)
        if self._alive is None:
            self._alive = (self.state.directory(FOLDER) / ALIVE_LOCK).open("w")
            fcntl.flock(self._alive, fcntl.LOCK_EX)

    def loses_local_target(self) -> None:
        """End the pretended emulator."""
        if self._alive is not None:
            self._alive.close()
            self._alive = None


def _text(stream: object) -> str:
    assert isinstance(stream, io.StringIO)
    return stream.getvalue()
