"""The errors that an operator sees: what happened and why, what to do next, and the exit code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any, ClassVar


class ExitCode(IntEnum):
    """The exit status of ``esctl``; explained in ``esctl --help`` (`cli.shell.app`)."""

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


class CliError(Exception):
    """An expected failure.

    The message is one line, ``what: why``; the hint says what to do next, usually a command; the faults are listed below
    the message; the exit code overrides that of the class.
    """

    code: ClassVar[ExitCode] = ExitCode.FAILED
    # The HTTP status and problem document that caused it; 0 and empty for any other cause.
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
    """The command line or a setting is invalid; nothing was attempted."""

    code = ExitCode.USAGE


class SettingError(UsageError):
    """A value in the environment or in ``.env`` can't be used."""


class NotFoundError(CliError):
    """The requested resource does not exist."""

    code = ExitCode.NOT_FOUND


class NoTargetError(NotFoundError):
    """No stack was chosen, and none was deployed from here."""


class NotDeployedError(NotFoundError):
    """The chosen stack does not exist."""


class NotRunningError(NotFoundError):
    """The local target is not running."""


class AccessError(CliError):
    """Credentials are missing or refused."""

    code = ExitCode.ACCESS


class ConflictError(CliError):
    """The stream's head is not the expected one, or the state does not allow the request."""

    code = ExitCode.CONFLICT


class TimedOutError(CliError):
    """Something did not happen within the timeout."""

    code = ExitCode.TIMED_OUT


class DegradedError(CliError):
    """The system works, but not fully."""

    code = ExitCode.DEGRADED


class PartialError(CliError):
    """Only some of the work was done."""

    code = ExitCode.PARTIAL


class UnreachableError(CliError):
    """An endpoint is unreachable."""


class DeploymentError(CliError):
    """CloudFormation could not complete the operation."""


class EmulatorError(CliError):
    """The local target could not be started, stopped or reset."""
