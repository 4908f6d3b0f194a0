"""Whatever the encodings of this machine are: JSON is JSON, text is written, and bytes that are no text are refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping

import pytest

from cli.errors import ExitCode
from handlers.domain.items import TEST_STREAM
from tests.unit.cli.cli_driver import Esctl
from tests.unit.cli.fake_api import FakeApi

ITEM = "ä€日😀\u200b\x9b"
STREAMS = ["ascii", "ascii:strict", "latin-1", "cp1252:replace", "utf-16", "utf-8-sig", "utf-8:ignore", "cp037"]
LOCALES: list[dict[str, str]] = [
    {"LC_ALL": "C"},
    {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    *({"PYTHONIOENCODING": encoding} for encoding in STREAMS),
]


def process(
    esctl: Esctl, *arguments: str | bytes, stdin: bytes = b"", variables: Mapping[str, str | bytes] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run esctl in a process of its own: arguments and variables may be any bytes."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHON"))}
    folders = {"PYTHONPATH": os.getcwd(), "LANG": "C.UTF-8"}
    return subprocess.run(
        [sys.executable, "-m", "cli.shell.main", *arguments],
        input=stdin,
        env={**inherited, **folders, **esctl.variables, **(variables or {})},
        capture_output=True,
        cwd=esctl.directory,
        check=False,
    )


def one_error(done: subprocess.CompletedProcess[bytes]) -> str:
    """Return the error of a command that was used wrongly, which is one line."""
    assert done.returncode == ExitCode.USAGE, done
    assert done.stdout == b""
    (line,) = done.stderr.decode().splitlines()
    return line


@pytest.fixture(autouse=True)
def item(api: FakeApi) -> None:
    api.events[TEST_STREAM] = [{"type": "ITEM_CREATED", "data": {"itemId": ITEM, "amount": 1}}]


@pytest.mark.parametrize("variables", LOCALES, ids=lambda variables: " ".join(variables.values()))
def test_json_is_json_in_every_encoding(esctl: Esctl, variables: dict[str, str]) -> None:
    done = process(esctl, "list", "-o", "json", variables=variables)

    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout.decode())["items"] == [{"itemId": ITEM, "amount": 1}]


@pytest.mark.parametrize("variables", LOCALES, ids=lambda variables: " ".join(variables.values()))
def test_text_is_written_in_every_encoding(esctl: Esctl, variables: dict[str, str]) -> None:
    done = process(esctl, "list", variables=variables)

    encoding = variables.get("PYTHONIOENCODING", "utf-8").partition(":")[0]
    shown = done.stdout.decode(encoding)
    assert done.returncode == 0
    assert "\\u200b\\u009b" in shown
    assert ("€" in shown) == (encoding not in ("ascii", "latin-1", "cp037") and "PYTHONUTF8" not in variables)
    assert "failed" not in done.stderr.decode(encoding)


@pytest.mark.parametrize("encoding", ["ascii", "utf-16"])
def test_help_is_written_in_every_encoding(esctl: Esctl, encoding: str) -> None:
    done = process(esctl, "--help", variables={"PYTHONIOENCODING": f"{encoding}:strict"})

    assert done.returncode == 0
    assert "Usage: esctl" in done.stdout.decode(encoding)


@pytest.mark.parametrize(
    "arguments",
    [
        ["events", b"caf\xe9"],
        ["add-event", "--type", b"caf\xe9"],
        ["export", b"caf\xe9.jsonl"],
        [b"caf\xe9"],
        ["list", b"--caf\xe9"],
    ],
)
def test_an_argument_that_is_not_text_is_wrong_usage(esctl: Esctl, arguments: list[str | bytes]) -> None:
    place = len(arguments) if b"caf\xe9.jsonl" not in arguments else 2

    assert one_error(process(esctl, *arguments)).startswith(f"error: argument {place} is not UTF-8 text: ")


def test_the_locale_decides_what_is_text(esctl: Esctl) -> None:
    done = process(esctl, "events", "é", variables={"LC_ALL": "C", "PYTHONUTF8": "0"})

    assert done.returncode == ExitCode.USAGE
    assert done.stderr.startswith(b"error: argument 2 is not ASCII text: ")
    assert b"Set LC_ALL=C.UTF-8" in done.stderr


@pytest.mark.parametrize("name", ["STACK_NAME", "API_KEY", "ESCTL_TARGET", "AUTH", "STRICT", "TRACING"])
def test_a_setting_that_is_not_text_is_wrong_usage_and_not_shown(esctl: Esctl, name: str) -> None:
    done = process(esctl, "outputs", variables={name: b"01234567890123456789\xe9"})

    assert one_error(done) == f"error: {name} can't be used: it is not UTF-8 text"


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_data_from_standard_input_has_to_be_text(esctl: Esctl, locale: str) -> None:
    done = process(
        esctl, "add-event", "--type", "PING", "--data", "-", stdin=b'{"a": "\xe9"}', variables={"LC_ALL": locale}
    )

    assert one_error(done) == "error: can't read standard input: it is not UTF-8 text"


def test_data_from_standard_input_is_utf_8_in_every_locale(esctl: Esctl, api: FakeApi) -> None:
    variables = {"PYTHONIOENCODING": "latin-1"}
    done = process(
        esctl, "add-event", "--type", "PING", "--data", "-", stdin='{"a": "é€"}'.encode(), variables=variables
    )

    assert done.returncode == 0
    assert api.events[TEST_STREAM][-1]["data"] == {"a": "é€"}


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_an_imported_line_has_to_be_text(esctl: Esctl, locale: str) -> None:
    done = process(esctl, "import", "-", stdin=b'{"a": "\xe9"}\n', variables={"LC_ALL": locale})

    assert done.returncode == ExitCode.FAILED
    assert b"error: line 1 of - can't be imported: it is not UTF-8 text\n" in done.stderr
