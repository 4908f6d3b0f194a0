"""The outermost shell: runs the app, and turns every outcome into plain lines and an exit code."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from typing import Any, TextIO

from cli.errors import CliError, ExitCode, UsageError
from cli.terminal.environment import Environment
from cli.terminal.output import Output
from cli.terminal.text import is_unicode, visible_lines

_CRASH_LOG = "crash.log"


def main() -> None:
    """Entry point of ``esctl``."""
    sys.exit(run(Environment.of_process(), sys.argv[1:]))


def run(environment: Environment, arguments: Sequence[str]) -> int:
    """Run one command line and return the exit code; no exception escapes."""
    try:
        code = _run(environment, arguments)
        environment.stdout.flush()
        return code
    except BrokenPipeError:
        _discard(environment.stdout)
        return ExitCode.DONE
    except OSError as error:  # the rest of the output could not be written, for example because the disk is full
        _discard(environment.stdout)
        with contextlib.suppress(OSError, ValueError):
            Output(environment).error(CliError(f"can't write the output: {error.strerror or error}"))
        return ExitCode.FAILED
    except KeyboardInterrupt:
        return _interrupted(environment)


def _run(environment: Environment, arguments: Sequence[str]) -> int:
    from cli.shell.app import make

    with _streams(environment):
        try:
            _check_encoding(arguments)
            code = make().main(
                args=list(arguments) or ["--help"], prog_name="esctl", standalone_mode=False, obj=environment
            )
            if code == ExitCode.INTERRUPTED:  # Typer has caught Ctrl-C
                return _interrupted(environment)
            return code if isinstance(code, int) else ExitCode.DONE
        except (BrokenPipeError, KeyboardInterrupt):
            raise
        except SystemExit as exit_:  # shell completion ends like this, and so does a broken pipe in Typer
            if isinstance(exit_.__context__, BrokenPipeError):
                raise exit_.__context__ from None
            return exit_.code if isinstance(exit_.code, int) else ExitCode.DONE
        except Exception as error:  # noqa: BLE001 - no traceback reaches the user
            found = _explain(environment, error)
            if found is None:
                return ExitCode.USAGE
            Output(environment).error(found)
            return found.exit_code


def _check_encoding(arguments: Sequence[str]) -> None:
    """Refuse arguments that are not valid text, which can be neither stored nor shown."""
    for number, argument in enumerate(arguments, start=1):
        if not is_unicode(argument):
            encoding = sys.getfilesystemencoding().upper()
            hint = "" if encoding == "UTF-8" else "Set LC_ALL=C.UTF-8, or leave PYTHONUTF8 unset."
            raise UsageError(f"argument {number} is not {encoding} text: {argument}", hint)


def _explain(environment: Environment, error: Exception) -> CliError | None:
    """Return the error in an operator's words; None if it was reported already."""
    if isinstance(error, CliError):
        return error
    from typer import Abort
    from typer.exceptions import TyperException

    if isinstance(error, Abort):
        return CliError("cancelled", exit_code=ExitCode.INTERRUPTED)
    if isinstance(error, TyperException):
        return _usage_error(error)
    if "botocore" in sys.modules:
        from cli.client.aws import translate

        translated = translate(error)
        if translated is not None:
            return translated
    if isinstance(error, OSError):
        where = f" ({error.filename})" if error.filename else ""
        return CliError(f"{error.strerror or error}{where}")
    return _crash(environment, error)


def _usage_error(error: Any) -> CliError | None:
    message = error.format_message()
    if type(error).__name__ == "NoArgsIsHelpError":  # creating the error has printed the help
        return None
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "esctl"
    return UsageError(message.rstrip("."), f"See:  {path} --help")


def _crash(environment: Environment, error: Exception) -> CliError:
    """Write the details of an internal error to a file, and return one line about it."""
    import traceback

    from cli.config.state import State

    summary = f"esctl failed unexpectedly: {type(error).__name__}: {error}".partition("\n")[0]
    try:
        details = visible_lines("".join(traceback.format_exception(error)))
        path = State.of(environment).write_text(details, _CRASH_LOG)
    except CliError:
        return CliError(summary)
    return CliError(summary, f"Details are in {path}; please report them.")


@contextlib.contextmanager
def _streams(environment: Environment) -> Any:
    """Redirect what Typer itself prints (help, version, completion) to the environment's streams."""
    if environment.stdout is sys.stdout and environment.stderr is sys.stderr:
        yield
        return
    with contextlib.redirect_stdout(environment.stdout), contextlib.redirect_stderr(environment.stderr):
        yield


def _interrupted(environment: Environment) -> int:
    with contextlib.suppress(OSError, ValueError):
        Output(environment).message("\ninterrupted")
    return ExitCode.INTERRUPTED


def _discard(stdout: TextIO) -> None:
    """Prevent the interpreter's flush at exit from failing: a closed pipe (``esctl list | head -1``) is no error."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stdout.fileno())


if __name__ == "__main__":  # python -m cli.shell.main is esctl
    main()
