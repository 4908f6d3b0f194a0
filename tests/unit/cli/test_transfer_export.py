"""`esctl export`, and that the export of an import is the same file."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.errors import ExitCode
from handlers.core.events import NewEvent, StreamId
from handlers.core.lossless_json import loads
from tests.unit.cli.cli_driver import Esctl
from tests.unit.cli.served_api import AnswerLostError, ServedApi, served

AT = "2026-01-01T00:00:00.000Z"


@pytest.fixture
def api(esctl: Esctl) -> Iterator[ServedApi]:
    with served(esctl) as api:
        given(api)
        yield api


def given(api: ServedApi) -> None:
    """Streams of strange names, long and short, with and without metadata."""
    for stream_id, count in (("a", 3), ("ä/ö %", 1), ("long", 1203), ("~", 2)):
        for number in range(count):
            metadata = None if number % 2 else '{"correlationId":"c","x":"\x7f"}'
            data = f'{{"n":{number},"sum":1.10,"big":12345678901234567890}}'
            event = NewEvent(StreamId(stream_id), "PING", data, metadata=metadata, time_stamp=AT, schema_version=2)
            api.model.store.append([event])


def other_machine(tmp_path: Path) -> Esctl:
    folder = tmp_path / "other"
    folder.mkdir()
    return Esctl(folder)


@pytest.mark.parametrize("name", ["events.jsonl", "events.jsonl.gz"])
def test_the_export_of_an_import_is_the_same_file(esctl: Esctl, api: ServedApi, tmp_path: Path, name: str) -> None:
    assert esctl("export", name).exit_code == 0
    original = (esctl.directory / name).read_bytes()

    other = other_machine(tmp_path)
    with served(other):
        (other.directory / "in").write_bytes(original)
        assert other("import", "in", "-o", "json").json["imported"] == 1209
        assert other("export", name).exit_code == 0

    assert (other.directory / name).read_bytes() == original


ACTORS = (
    '{"streamId":"s","eventId":0,"type":"PING","data":{"n":1},"timeStamp":"2026-01-01T00:00:00.000Z","schemaVersion":1%s}\n'
    '{"streamId":"s","eventId":1,"type":"PING","data":{"n":2},"timeStamp":"2026-01-01T00:00:00.000Z","schemaVersion":1%s}\n'
)
FIRST = ACTORS % ("", ',"metadata":{"actor":"ann","x":1}')
BY_BOB = ACTORS % (',"metadata":{"actor":"bob"}', ',"metadata":{"actor":"bob","x":1,"originalActor":"ann"}')
BY_EVE = ACTORS % (
    ',"metadata":{"actor":"eve","originalActor":"bob"}',
    ',"metadata":{"actor":"eve","x":1,"originalActor":"ann"}',
)


@pytest.mark.parametrize(
    ("signer", "before", "after"),
    [
        (None, FIRST, FIRST),
        (None, BY_BOB, BY_BOB),
        ("bob", FIRST, BY_BOB),
        ("bob", BY_BOB, BY_BOB),
        ("eve", BY_BOB, BY_EVE),
    ],
)
def test_an_export_names_who_imported_and_who_was_first(
    tmp_path: Path, signer: str | None, before: str, after: str
) -> None:
    machine = other_machine(tmp_path)
    with served(machine) as api:
        api.caller = signer
        for name, text in (("in", before), ("out", after)):
            (machine.directory / name).write_text(text)
        assert machine("import", "in", "-o", "json").json["imported"] == 2
        assert machine("export", "-").stdout == after
        # Whichever of the files is imported again, its events are in the store.
        api.model.store._answers.clear()
        for name in ("in", "out"):
            assert machine("import", name, "-o", "json").json["already"] == 2


def test_lines_have_the_contracts_format_grouped_by_stream(esctl: Esctl, api: ServedApi) -> None:
    result = esctl("export", "-")

    events = [loads(line) for line in result.lines]
    listed = esctl("streams").lines
    assert [event["streamId"] for event in events if event["eventId"] == 0] == listed
    assert [event["eventId"] for event in events if event["streamId"] == "long"] == list(range(1203))
    assert result.lines[0] == esctl("events", listed[0], "-o", "jsonl").lines[0]
    assert "1,209 events of 4 streams are written" in result.stderr


def test_only_the_streams_asked_for(esctl: Esctl, api: ServedApi) -> None:
    result = esctl("export", "-", "-s", "~", "-s", "a", "-s", "~")

    assert [loads(line)["streamId"] for line in result.lines] == ["~", "~", "a", "a", "a"]


def test_the_suggested_import_command_quotes_any_file_name(esctl: Esctl, api: ServedApi) -> None:
    result = esctl("export", "my events.jsonl")

    assert "esctl import 'my events.jsonl' --stack-name NAME" in result.stderr


def test_compressed_files_contain_no_time_and_no_name(esctl: Esctl, api: ServedApi) -> None:
    esctl("export", "one.gz")
    esctl("export", "two.gz")

    one, two = ((esctl.directory / name).read_bytes() for name in ("one.gz", "two.gz"))
    assert one == two
    assert len(gzip.decompress(one).splitlines()) == 1209


def test_a_file_appears_complete_or_not_at_all(esctl: Esctl, api: ServedApi) -> None:
    before = esctl.directory / "old.jsonl"
    before.write_text("precious")
    calls = iter(range(100))

    def fail_later(route: str) -> None:
        if route.endswith("/events") and next(calls) >= 2:
            raise AnswerLostError

    api.before = fail_later

    assert esctl("export", "old.jsonl").exit_code == ExitCode.FAILED
    assert before.read_text() == "precious"
    assert [path.name for path in esctl.directory.iterdir() if "part" in path.name] == []


def test_a_stream_that_does_not_exist_is_named(esctl: Esctl, api: ServedApi) -> None:
    result = esctl("export", "out.jsonl", "-s", "a", "-s", "nope")

    assert result.exit_code == ExitCode.NOT_FOUND
    assert "no stream nope" in result.stderr
    assert not (esctl.directory / "out.jsonl").exists()


def test_a_file_that_cannot_be_written(esctl: Esctl, api: ServedApi) -> None:
    result = esctl("export", "no/such/folder.jsonl")

    assert result.exit_code == ExitCode.FAILED
    assert "can't write no/such/folder.jsonl" in result.stderr


def test_with_many_streams_progress_counts_streams(esctl: Esctl, api: ServedApi) -> None:
    for number in range(150):
        api.model.given(("PING", {}), stream_id=f"s-{number}")

    result = esctl("export", "out.jsonl", "-o", "json")

    assert result.json == {"events": 1359, "streams": 154, "file": "out.jsonl"}
    assert "exporting streams" in result.stderr


def test_an_empty_store_is_an_empty_file(esctl: Esctl) -> None:
    with served(esctl):
        assert esctl("export", "out.jsonl", "-o", "json").json["events"] == 0

    assert (esctl.directory / "out.jsonl").read_bytes() == b""
