"""Starting, stopping, looking at and emptying the emulator."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cli.environment import Environment
from cli.state import State


@dataclass(frozen=True, slots=True)
class Status:
    """How the emulator is.

    Attributes
    ----------
    running
        The process lives and answers.
    pid, endpoint_url
        None where it does not run; the address is then the last one, where there was one.
    log
        Where its messages are.
    data
        The folder with what is stored.
    """

    running: bool
    pid: int | None
    endpoint_url: str | None
    log: Path
    data: Path


class Emulator:
    """The one emulator of a state directory."""

    def __init__(self, state: State, environment: Environment) -> None:
        self._state = state
        self._environment = environment

    def start(self, port: int | None = None) -> Status:
        """Bring it up, if it isn't, and wait until it answers.

        Parameters
        ----------
        port
            Where it is to listen; None for the port of the last time where that is free, else any free one.

        Raises
        ------
        EmulatorError
        """
        raise NotImplementedError

    def stop(self) -> bool:
        """Stop it and wait until nothing of it is left; False where it didn't run."""
        raise NotImplementedError

    def status(self) -> Status:
        raise NotImplementedError

    def reset(self) -> None:
        """Remove everything that is stored, whether it runs or not."""
        raise NotImplementedError
