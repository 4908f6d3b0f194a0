"""Tables, messages, questions and progress."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest
from rich.text import Text

from cli.errors import CliError, UsageError
from cli.terminal.environment import Environment
from cli.terminal.output import Format, Output
from cli.terminal.tables import Column, plain_table
from tests.support.characters import DANGEROUS, unsafe
from tests.unit.cli.cli_driver import Esctl


def text(stream: object) -> str:
    assert isinstance(stream, io.StringIO)
    return stream.getvalue()


def output(esctl: Esctl, *, terminal: bool = False, stdin: str = "", form: Format = Format.TEXT) -> Output:
    return Output(esctl.environment(stdin=stdin, terminal=terminal), form)


def test_plain_table_with_wide_characters_is_aligned() -> None:
    table = plain_table(["name", Column("n", "right")], [["日本", 1], ["abc", 20]])

    assert table.splitlines() == ["name   n", "日本   1", "abc   20"]


HARMFUL = f"halted: \x1b]0;owned\x07\r\x9b2J{''.join(DANGEROUS[:400])}"


@pytest.mark.parametrize("terminal", [True, False], ids=["terminal", "pipe"])
@pytest.mark.parametrize(
    "write",
    [
        lambda out: out.text(HARMFUL),
        lambda out: out.text(HARMFUL, mark="✗", style="red"),
        lambda out: out.json({HARMFUL: HARMFUL}),
        lambda out: out.json_line(HARMFUL),
        lambda out: out.pairs({HARMFUL: HARMFUL}),
        lambda out: out.table([HARMFUL], [[HARMFUL]], title=HARMFUL),
        lambda out: out.table([], [], empty=HARMFUL),
        lambda out: out.message_table([HARMFUL], [[HARMFUL]], title=HARMFUL),
        lambda out: out.message(HARMFUL),
        lambda out: out.success(HARMFUL),
        lambda out: out.warning(HARMFUL),
        lambda out: out.hint(HARMFUL),
        lambda out: out.error(CliError(HARMFUL, HARMFUL, faults=[HARMFUL])),
        lambda out: out.progress(HARMFUL).__enter__().update(description=f"{HARMFUL}!"),
        lambda out: out.console("stdout").print(Text(HARMFUL)),
        lambda out: out.console("stderr").print(HARMFUL),
    ],
)
def test_output_never_controls_the_terminal(esctl: Esctl, write: Callable[[Output], None], terminal: bool) -> None:
    out = output(esctl, terminal=terminal)

    write(out)

    shown = text(out.environment.stderr) + text(out.environment.stdout)
    assert "owned" in shown
    # "\r" at the start of a line is the progress display's own.
    assert unsafe(shown) <= {"\r"}
    assert "\r" not in shown.replace("\r\x1b", "")


def test_questions_never_control_the_terminal(esctl: Esctl) -> None:
    out = output(esctl, terminal=True, stdin="\n")

    out.ask(HARMFUL, HARMFUL)

    assert not unsafe(text(out.environment.stderr))


def test_an_answer_that_is_not_text_is_refused(esctl: Esctl) -> None:
    environment = replace(
        esctl.environment(terminal=True), stdin=io.TextIOWrapper(io.BytesIO(b"caf\xe9\n"), encoding="utf-8")
    )

    with pytest.raises(UsageError, match="can't read the answer: it is not UTF-8 text"):
        Output(environment).ask("Name")


@pytest.mark.parametrize("where", ["error", "warning"])
def test_quoted_text_cannot_add_lines_to_an_error(esctl: Esctl, where: str) -> None:
    out = output(esctl)
    forged = "no\n→ Type this:  rm -rf ~"

    out.error(CliError(forged)) if where == "error" else out.warning(forged)

    assert len(text(out.environment.stderr).splitlines()) == 1


def test_message_keeps_its_lines(esctl: Esctl) -> None:
    out = output(esctl)

    out.message("\none\n\ttwo")

    assert text(out.environment.stderr) == "\none\n\ttwo\n"


def test_json_keeps_digits_and_characters(esctl: Esctl) -> None:
    out = output(esctl)

    out.json({"ä": Decimal("1.10"), "n": 12345678901234567890})

    assert '"ä": 1.10' in text(out.environment.stdout)
    assert "12345678901234567890" in text(out.environment.stdout)


@pytest.mark.parametrize("width", [1, 10, 40, 200])
def test_table_on_a_terminal_of_any_width_shows_every_value(esctl: Esctl, width: int) -> None:
    plain = esctl.environment(terminal=True)
    environment = Environment(
        plain.stdin, io.StringIO(), io.StringIO(), {}, plain.directory, stdout_is_terminal=True, width=width
    )

    Output(environment).table(["itemId", "amount"], [["a-rather-long-id", 225]])

    shown = "".join(character for character in text(environment.stdout) if character.isalnum())
    assert "225" in shown


def test_error_shows_its_reason_faults_and_hint(esctl: Esctl) -> None:
    out = output(esctl)

    out.error(CliError("no: because", "Type this.", faults=["one", "two"]))

    assert text(out.environment.stderr).splitlines() == ["error: no: because", "  - one", "  - two", "→ Type this."]
    assert text(out.environment.stdout) == ""


def test_colour_is_not_the_only_signal(esctl: Esctl) -> None:
    out = output(esctl, terminal=True)

    out.error(CliError("no"))
    out.warning("take care")

    assert "\x1b[" in text(out.environment.stderr)
    assert "error: " in text(out.environment.stderr)
    assert "warning: " in text(out.environment.stderr)


def test_question_returns_the_answer(esctl: Esctl) -> None:
    assert output(esctl, terminal=True, stdin=" yes \n").confirm("Sure?")
    assert not output(esctl, terminal=True, stdin="\n").confirm("Sure?")
    assert output(esctl, terminal=True, stdin="\n").ask("Name", "default") == "default"


def test_end_of_input_is_no_answer(esctl: Esctl) -> None:
    with pytest.raises(UsageError):
        output(esctl, terminal=True).ask("Name")


def test_progress_without_a_terminal_is_an_occasional_line(esctl: Esctl) -> None:
    out = output(esctl)

    with out.progress("copying", total=100) as progress:
        for done in range(100):
            progress.update(done=done)
            esctl.clock.sleep(0.1)
        progress.update(description="checking")

    lines = text(out.environment.stderr).splitlines()
    assert lines[0] == "copying ..."
    assert 2 <= len(lines) <= 4
    assert lines[-1].startswith("checking")
    assert text(out.environment.stdout) == ""


def test_progress_on_a_terminal_goes_to_stderr_and_disappears_before_an_error(esctl: Esctl) -> None:
    out = output(esctl, terminal=True)

    def fail_half_way() -> None:
        with out.progress("copying", total=2) as progress:
            progress.update(done=1)
            raise CliError("no")

    with pytest.raises(CliError):
        fail_half_way()

    assert text(out.environment.stdout) == ""
