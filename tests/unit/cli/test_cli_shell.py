"""The outermost shell: exit codes, no traceback, broken pipes, quick help."""

from __future__ import annotations

import errno
import io
import json
import os
import subprocess
import sys

import pytest

from cli.errors import ExitCode
from cli.shell.app import COMMANDS
from cli.shell.main import run
from cli.terminal.environment import Environment
from tests.unit.cli.cli_driver import Esctl
from tests.unit.cli.fake_api import FakeApi


def test_help_lists_every_command_and_exit_code(esctl: Esctl) -> None:
    result = esctl("--help")

    assert result.exit_code == 0
    for entry in COMMANDS:
        assert entry.hidden or entry.name in result.stdout
    for code in ExitCode:
        assert f"{code.value} " in result.stdout


def test_no_arguments_show_the_help(esctl: Esctl) -> None:
    assert esctl().stdout == esctl("--help").stdout


@pytest.mark.parametrize("entry", COMMANDS, ids=lambda entry: entry.name)
def test_every_command_has_a_help(esctl: Esctl, entry: object) -> None:
    result = esctl(entry.name, "--help")  # type: ignore[attr-defined]

    assert result.exit_code == 0
    assert "Usage: esctl" in result.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["lst"],
        ["list", "--nonsense"],
        ["list", "a", "b", "extra"],
        ["list", "--limit", "x"],
        ["list", "-o", "yaml"],
        ["local"],
    ],
)
def test_wrong_usage_is_two_plain_lines(esctl: Esctl, arguments: list[str]) -> None:
    result = esctl(*arguments)

    assert result.exit_code == ExitCode.USAGE
    assert "Traceback" not in result.stderr
    assert len(result.stderr.splitlines()) <= 2


def test_mistyped_command_gets_a_suggestion(esctl: Esctl) -> None:
    assert "'list'" in esctl("lst").stderr


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("dead", ["dead-letters"]),
        ("local ", ["start", "stop", "status", "env", "reset"]),
        ("projections re", ["resume"]),
        ("dead-letters ", ["list", "show", "redrive", "purge"]),
        ("add-event --type ITEM_C", ["ITEM_CREATED"]),
        ("replay --dr", ["--dry-run"]),
    ],
)
def test_the_shell_completes_commands_options_and_values(esctl: Esctl, typed: str, completed: list[str]) -> None:
    words = f"esctl {typed}"
    variables = {
        **os.environ,
        **esctl.variables,
        "_ESCTL_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
    }

    done = subprocess.run(
        [sys.executable, "-m", "cli.shell.main"], env=variables, capture_output=True, text=True, check=False
    )

    assert done.stdout.split() == completed
    assert done.stderr == ""


def test_internal_error_is_one_line_with_details_in_a_file(esctl: Esctl, api: FakeApi) -> None:
    api.answers = [(200, {"items": [], "checkpoint": None})]

    result = esctl("list")

    assert result.exit_code == ExitCode.FAILED
    assert "failed unexpectedly: TypeError" in result.stderr
    assert "Traceback" not in result.stderr
    assert "Traceback" in (esctl.state.read_text("crash.log") or "")


class Closed(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


def test_closed_pipe_is_not_a_failure(esctl: Esctl, api: FakeApi) -> None:
    sleeps = esctl.environment()
    stderr = io.StringIO()
    environment = Environment(
        io.StringIO(),
        Closed(),
        stderr,
        esctl.variables,
        esctl.directory,
        sleep=sleeps.sleep,
        monotonic=sleeps.monotonic,
    )

    assert run(environment, ["list", "-o", "json"]) == ExitCode.DONE
    assert stderr.getvalue() == ""


class Full(io.StringIO):
    def flush(self) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_unwritable_output_is_reported(esctl: Esctl, api: FakeApi) -> None:
    stderr = io.StringIO()
    environment = Environment(io.StringIO(), Full(), stderr, esctl.variables, esctl.directory)

    assert run(environment, ["outputs", "-o", "json"]) == ExitCode.FAILED
    assert stderr.getvalue() == "error: can't write the output: No space left on device\n"


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_closed_streams_are_not_an_error(esctl: Esctl, api: FakeApi, closed: str) -> None:
    process = subprocess.run(
        f'"{sys.executable}" -m cli.shell.main outputs {closed}',
        shell=True,
        env={**os.environ, **esctl.variables},
        capture_output=True,
        text=True,
    )

    assert process.returncode == 0
    assert "Traceback" not in process.stdout + process.stderr


def test_interruption_has_the_exit_code_of_sigint(esctl: Esctl, api: FakeApi) -> None:
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    esctl.clock.sleep = interrupt  # type: ignore[method-assign]

    result = esctl("list", "--watch")

    assert result.exit_code == ExitCode.INTERRUPTED
    assert "interrupted" in result.stderr


def test_question_without_a_terminal_needs_yes(esctl: Esctl) -> None:
    result = esctl("local", "reset", stdin="y\n")

    assert result.exit_code == ExitCode.USAGE
    assert "--yes" in result.stderr


def test_colour_can_be_disabled(esctl: Esctl) -> None:
    esctl.variables["NO_COLOR"] = "1"

    assert "\x1b[3" not in esctl("list", terminal=True).stderr


def modules_after(esctl: Esctl, *arguments: str) -> set[str]:
    """Return the modules that a separate process has imported after a command."""
    script = (
        "import sys, json; from cli.terminal.environment import Environment; from cli.shell.main import run\n"
        "run(Environment.of_process(), sys.argv[1:])\n"
        "print('\\n' + json.dumps(sorted(sys.modules)))"
    )
    process = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env={**os.environ, **esctl.variables},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(process.stdout.splitlines()[-1]))


HEAVY = {"aws_cdk", "jsii", "ministack", "moto", "boto3", "fastjsonschema"}


@pytest.mark.parametrize("arguments", [["--help"], ["list"], ["outputs"]], ids=" ".join)
def test_quick_commands_import_nothing_heavy(esctl: Esctl, api: FakeApi, arguments: list[str]) -> None:
    assert not HEAVY & modules_after(esctl, *arguments)


def test_help_imports_no_command(esctl: Esctl) -> None:
    assert not [name for name in modules_after(esctl, "--help") if name.startswith("cli.commands.")]


def test_flags_are_shown_without_a_type(esctl: Esctl) -> None:
    for arguments in ([], ["local"], ["local", "reset"], ["list"]):
        assert "bool" not in esctl(*arguments, "--help").stdout


def test_the_help_explains_every_exit_code(esctl: Esctl) -> None:
    shown = " ".join(esctl("--help").stdout.split())

    assert [code for code in ExitCode if f" {code.value} " not in shown.partition("Exit codes:")[2]] == []
