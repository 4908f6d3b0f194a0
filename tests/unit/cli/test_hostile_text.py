"""Commands over events whose text is an attack on the terminal, or looks like another text."""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Iterator
from dataclasses import replace

import pytest

from cli.operate.logs import RawLine, understand
from cli.operate.logs_tail import Printer
from cli.shell.main import run
from cli.terminal.output import Output
from cli.terminal.text import visible
from handlers.core.lossless_json import dumps, loads
from handlers.domain.items import TEST_STREAM
from tests.support.characters import DANGEROUS, unsafe
from tests.unit.cli.cli_driver import Esctl
from tests.unit.cli.served_api import ServedApi, served

# What draws nothing, or else: 120 of them, since an id has 256 characters. An id is never half a character.
SHAPELESS = "".join(character for character in DANGEROUS if unicodedata.category(character) not in ("Cn", "Co", "Cs"))
HOSTILE = f"a\x1b]0;owned\x07\n\r\x9b2J\u202e{SHAPELESS[-120:]}z"
DATA = {HOSTILE: [HOSTILE], "itemId": HOSTILE, "amount": 1}


@pytest.fixture
def api(esctl: Esctl) -> Iterator[ServedApi]:
    with served(esctl) as api:
        for stream_id in (HOSTILE, TEST_STREAM):
            api.model.add(
                {
                    "streamId": stream_id,
                    "type": "ITEM_CREATED",
                    "data": DATA,
                    "metadata": {"actor": HOSTILE, "x": HOSTILE},
                }
            )
        yield api


@pytest.mark.parametrize("terminal", [True, False], ids=["terminal", "pipe"])
@pytest.mark.parametrize(
    "arguments",
    [
        ["streams"],
        ["streams", "-o", "json"],
        ["streams", "-o", "jsonl"],
        ["events", HOSTILE],
        ["events", HOSTILE, "-o", "json"],
        ["events", HOSTILE, "-o", "jsonl"],
        ["events", f"not{HOSTILE}"],
        ["list", "--as-of", "0"],
        ["list", "--as-of", "0", "-o", "json"],
        ["add-event", "--type", "PING", "--stream-id", HOSTILE, "--data", dumps(DATA)],
        ["add-event", "--type", HOSTILE],
        ["add-event", "--type", "PING", "--data", HOSTILE],
        ["export", "-", "--stream-id", f"not{HOSTILE}"],
        ["import", HOSTILE],
        [HOSTILE],
        ["list", f"--{HOSTILE}"],
        ["list", "-o", HOSTILE],
    ],
    ids=lambda arguments: " ".join(arguments).replace(HOSTILE, "HOSTILE")[:40],
)
def test_no_command_writes_an_attack_raw(esctl: Esctl, api: ServedApi, arguments: list[str], terminal: bool) -> None:
    result = esctl(*arguments, terminal=terminal)

    assert unsafe(result.stdout + result.stderr) <= {"\r"}
    assert "\r" not in (result.stdout + result.stderr).replace("\r\x1b", "")
    assert "failed unexpectedly" not in result.stderr


@pytest.mark.parametrize("terminal", [True, False], ids=["terminal", "pipe"])
def test_json_is_the_same_document(esctl: Esctl, api: ServedApi, terminal: bool) -> None:
    listed = loads(esctl("events", HOSTILE, "-o", "json", terminal=terminal).stdout)

    assert listed["streamId"] == HOSTILE
    assert listed["events"][0]["data"] == DATA
    assert {"streamId": HOSTILE} in esctl("streams", "-o", "json", terminal=terminal).json["streams"]


def test_an_export_to_a_terminal_is_the_same_lines_made_visible(esctl: Esctl, api: ServedApi) -> None:
    esctl("export", "file.jsonl", "--stream-id", HOSTILE)
    stdout = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    environment = replace(esctl.environment(terminal=True), stdout=stdout)

    assert run(environment, ["export", "-", "--stream-id", HOSTILE]) == 0

    written = stdout.buffer.getvalue().decode()
    assert not unsafe(written)
    assert loads(written) == loads((esctl.directory / "file.jsonl").read_text(encoding="utf-8"))


def test_an_export_through_a_pipe_is_the_file_byte_for_byte(esctl: Esctl, api: ServedApi) -> None:
    esctl("export", "file.jsonl", "--stream-id", HOSTILE)
    stdout = io.TextIOWrapper(io.BytesIO(), encoding="utf-16")

    assert run(replace(esctl.environment(), stdout=stdout), ["export", "-", "--stream-id", HOSTILE]) == 0

    assert stdout.buffer.getvalue() == (esctl.directory / "file.jsonl").read_bytes()


@pytest.mark.parametrize("raw", [True, False], ids=["raw", "rendered"])
@pytest.mark.parametrize("terminal", [True, False], ids=["terminal", "pipe"])
@pytest.mark.parametrize(
    "message",
    [
        HOSTILE,
        dumps({"level": "INFO", "message": HOSTILE, "streamId": HOSTILE, "more": {"a": HOSTILE}, "b": "a \u200b"}),
    ],
    ids=["text", "structured"],
)
def test_log_lines_are_made_visible(esctl: Esctl, message: str, terminal: bool, raw: bool) -> None:
    output = Output(esctl.environment(terminal=terminal))

    printer = Printer(output, ["Browse"], follow=False, raw=raw)
    printer.show([understand(RawLine("Browse", 0, message))])

    assert isinstance(output.environment.stdout, io.StringIO)
    assert not unsafe(output.environment.stdout.getvalue())


@pytest.mark.parametrize(
    "other",
    ["order\u200b-1", "order-1\ufeff", "or\xadder-1", "order-1 ", "order\\u200b-1", "order-1\u2060", "order-1\ufe0f"],
)
def test_two_stream_ids_never_look_the_same(esctl: Esctl, api: ServedApi, other: str) -> None:
    for stream_id in ("order-1", other, "order\u200b-1"):
        api.model.given(("PING", {}), stream_id=stream_id)

    listed = esctl("streams").lines

    seen = {"".join(character for character in line if character not in DANGEROUS).strip() for line in listed}
    assert len(seen) == len(listed)
    assert {"order-1", visible(other)} <= set(listed)
