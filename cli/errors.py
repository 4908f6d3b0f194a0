"""The errors that an operator can meet: what happened and why, what to do next, and the exit code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any, ClassVar


class ExitCode(IntEnum):
    """What the shell sees; listed in ``esctl --help``."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    ACCESS = 4
    CONFLICT = 5
    TIMED_OUT = 6
    DEGRADED = 7
    PARTIAL = 8
    INTERRUPTED = 130  # 128 + SIGINT, as shells count


EXIT_CODE_MEANINGS: dict[ExitCode, str] = {
    ExitCode.DONE: "done",
    ExitCode.FAILED: "failed",
    ExitCode.USAGE: "wrong usage",
    ExitCode.NOT_FOUND: "not deployed or not found",
    ExitCode.ACCESS: "credentials or access",
    ExitCode.CONFLICT: "version conflict",
    ExitCode.TIMED_OUT: "timed out",
    ExitCode.DEGRADED: "degraded (status)",
    ExitCode.PARTIAL: "done in part",
    ExitCode.INTERRUPTED: "interrupted",
}


class CliError(Exception):
    """An expected failure.

    Parameters
    ----------
    message
        One line, ``what: why``.
    hint
        What to do next, usually a command to type; empty when there is nothing to say.
    exit_code
        Overrides the class's own code.
    faults
        Single faults to list below the message, one a line.

    Attributes
    ----------
    status, problem
        The HTTP status and the problem document that it stands for; 0 and empty where it comes from elsewhere.
    """

    code: ClassVar[ExitCode] = ExitCode.FAILED
    status: int = 0
    problem: Mapping[str, Any] = {}

    def __init__(
        self, message: str, hint: str = "", *, exit_code: ExitCode | None = None, faults: Sequence[str] = ()
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.exit_code = self.code if exit_code is None else exit_code
        self.faults = tuple(faults)


class UsageError(CliError):
    """The command line or a setting is wrong: nothing was tried."""

    code = ExitCode.USAGE


class SettingError(UsageError):
    """A value in the environment or in ``.env`` can't be used."""


class NotFoundError(CliError):
    """What was asked for does not exist."""

    code = ExitCode.NOT_FOUND


class NoTargetError(NotFoundError):
    """No stack was chosen and none was ever deployed from here."""


class NotDeployedError(NotFoundError):
    """The chosen stack does not exist."""


class NotRunningError(NotFoundError):
    """The local target is not up."""


class AccessError(CliError):
    """Credentials are missing or refused."""

    code = ExitCode.ACCESS


class ConflictError(CliError):
    """The stream's head is not the expected one."""

    code = ExitCode.CONFLICT


class TimedOutError(CliError):
    """Something did not happen in the time given."""

    code = ExitCode.TIMED_OUT


class DegradedError(CliError):
    """The system works, but not as it should."""

    code = ExitCode.DEGRADED


class PartialError(CliError):
    """Some of it was done and some was not."""

    code = ExitCode.PARTIAL


class UnreachableError(CliError):
    """Nobody answers at the other end."""


class DeploymentError(CliError):
    """CloudFormation could not do what was asked."""


class EmulatorError(CliError):
    """The local target could not be started, stopped or emptied."""
