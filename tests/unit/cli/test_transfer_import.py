"""`esctl import`, over the real API code on a store in memory."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from cli.errors import ExitCode
from handlers.core.events import StreamId
from handlers.core.lossless_json import dumps
from tests.unit.cli.cli_driver import Esctl
from tests.unit.cli.served_api import AnswerLostError, ServedApi, served

CALL = "POST /addEvents"


@pytest.fixture
def api(esctl: Esctl) -> Iterator[ServedApi]:
    with served(esctl) as api:
        yield api


def event(number: int, stream_id: str = "s", **more: Any) -> dict[str, Any]:
    return {"streamId": stream_id, "type": "PING", "data": {"n": number}, **more}


def numbered(count: int, stream_id: str = "s") -> list[dict[str, Any]]:
    at = "2026-01-01T00:00:00.000Z"
    return [event(n, stream_id, eventId=n, timeStamp=at, schemaVersion=1) for n in range(count)]


def write(esctl: Esctl, events: list[Any], name: str = "in.jsonl") -> Path:
    path = esctl.directory / name
    text = "".join(f"{each if isinstance(each, str) else dumps(each)}\n" for each in events)
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


def stored(api: ServedApi, stream_id: str = "s") -> list[int]:
    return [each.payload()["n"] for each in api.model.store.read(StreamId(stream_id)).events]


def once(route: str, act: Callable[[], None], *, at: int = 1) -> Callable[[str], None]:
    """Do something at the n-th call of a route."""
    calls = iter(range(1, 1_000_000))

    def hook(called: str) -> None:
        if called == route and next(calls) == at:
            act()

    return hook


def interrupted() -> None:
    raise KeyboardInterrupt


def lost() -> None:
    raise AnswerLostError


@pytest.mark.parametrize("name", ["in.jsonl", "in.jsonl.gz", "packed-without-saying"])
def test_every_line_becomes_an_event_in_order(esctl: Esctl, api: ServedApi, name: str) -> None:
    events = [event(n, f"s-{n % 5}") for n in range(250)]
    write(esctl, events, name if "." in name else "x.gz")
    if "." not in name:
        (esctl.directory / "x.gz").rename(esctl.directory / name)

    result = esctl("import", name, "-o", "json")

    assert result.json == {"imported": 250, "already": 0, "file": name}
    for stream in range(5):
        assert stored(api, f"s-{stream}") == list(range(stream, 250, 5))


def test_standard_input(esctl: Esctl, api: ServedApi) -> None:
    result = esctl("import", "-", stdin=f"\ufeff{dumps(event(1))}\r\n\n{dumps(event(2))}")

    assert result.exit_code == 0
    assert stored(api) == [1, 2]


@pytest.mark.parametrize("connections", ["1", "8"])
def test_the_same_file_twice_is_imported_once(esctl: Esctl, api: ServedApi, connections: str) -> None:
    write(esctl, [event(n, f"s-{n % 3}") for n in range(300)])
    esctl("import", "in.jsonl")

    again = esctl("import", "in.jsonl", "--connections", connections, "-o", "json")

    assert again.json == {"imported": 0, "already": 300, "file": "in.jsonl"}
    assert stored(api, "s-0") == list(range(0, 300, 3))


def test_another_import_id_imports_again(esctl: Esctl, api: ServedApi) -> None:
    write(esctl, [event(1)])
    esctl("import", "in.jsonl")
    esctl("import", "in.jsonl", "--import-id", "second")

    assert stored(api) == [1, 1]


def test_an_interrupted_import_continues_without_duplicates(esctl: Esctl, api: ServedApi) -> None:
    write(esctl, [event(n) for n in range(500)])
    calls = iter(range(1000))

    def break_down(route: str) -> None:
        if next(calls) >= 3:
            lost()

    api.after = break_down  # the fourth batch is stored, but its answer is lost
    first = esctl("import", "in.jsonl")
    api.after = lambda route: None
    second = esctl("import", "in.jsonl", "-o", "json")

    assert first.exit_code == ExitCode.PARTIAL
    assert "297 events imported so far" in first.stderr
    assert second.json == {"imported": 104, "already": 396, "file": "in.jsonl"}
    assert stored(api) == list(range(500))


def test_a_lost_answer_is_retried_without_duplicates(esctl: Esctl, api: ServedApi) -> None:
    write(esctl, [event(n) for n in range(250)])
    api.after = once(CALL, lost, at=2)

    result = esctl("import", "in.jsonl", "-o", "json")

    assert result.json == {"imported": 151, "already": 99, "file": "in.jsonl"}
    assert stored(api) == list(range(250))


def test_events_with_an_event_id_are_recognised_without_any_key(esctl: Esctl, api: ServedApi) -> None:
    write(esctl, numbered(250))
    esctl("import", "in.jsonl")
    api.model.store._answers.clear()  # as after thirty days

    result = esctl("import", "in.jsonl", "-o", "json")

    assert result.json == {"imported": 0, "already": 250, "file": "in.jsonl"}
    assert stored(api) == list(range(250))


def test_only_what_is_missing_is_appended(esctl: Esctl, api: ServedApi) -> None:
    write(esctl, numbered(120))
    write(esctl, [*numbered(40, "t"), *numbered(150)], "more.jsonl")
    esctl("import", "in.jsonl")

    result = esctl("import", "more.jsonl", "-o", "json")

    assert result.json == {"imported": 70, "already": 120, "file": "more.jsonl"}
    assert stored(api) == list(range(150))
    assert stored(api, "t") == list(range(40))


@pytest.mark.parametrize(
    "change",
    [
        {"type": "PONG"},
        {"data": {"n": 7}},
        {"timeStamp": "2026-01-01T00:00:00.001Z"},
        {"metadata": {"actor": "somebody"}},
        {"data": {"n": True}},
    ],
)
def test_a_different_event_at_the_position_is_a_conflict(
    esctl: Esctl, api: ServedApi, change: Mapping[str, Any]
) -> None:
    write(esctl, numbered(3))
    esctl("import", "in.jsonl")
    write(esctl, [*numbered(2)[:1], {**numbered(2)[1], **change}], "other.jsonl")

    result = esctl("import", "other.jsonl")

    assert result.exit_code == ExitCode.CONFLICT
    assert "line 2: event 1 of stream s is another one" in result.stderr
    assert "esctl events s --from 1" in result.stderr
    assert stored(api) == [0, 1, 2]


def test_the_order_of_names_does_not_matter(esctl: Esctl, api: ServedApi) -> None:
    line = '{"streamId":"s","eventId":0,"type":"PING","data":%s,"timeStamp":"2026-01-01T01:00:00+01:00"}'
    write(esctl, [line % '{"n":1,"m":1.0}'])
    write(esctl, [line % '{"m":1.0,"n":1}'], "other.jsonl")
    esctl("import", "in.jsonl")

    assert esctl("import", "other.jsonl", "-o", "json").json["already"] == 1


def test_events_whose_predecessors_are_missing_are_a_conflict(esctl: Esctl, api: ServedApi) -> None:
    write(esctl, [event(9, eventId=9)])

    result = esctl("import", "in.jsonl")

    assert result.exit_code == ExitCode.CONFLICT
    assert "line 1: event 9 can't be the next one of stream s, whose head is -1" in result.stderr
    assert api.model.is_empty()


def test_time_metadata_and_version_are_imported_unchanged(esctl: Esctl, api: ServedApi) -> None:
    more = {"timeStamp": "2020-02-29T12:00:00.5Z", "schemaVersion": 3, "metadata": {"actor": "me", "x": [1]}}
    write(esctl, [event(0) | more])
    esctl("import", "in.jsonl")

    (found,) = api.model.store.read(StreamId("s")).events
    assert (found.time_stamp, found.schema_version) == ("2020-02-29T12:00:00.500Z", 3)
    assert found.metadata == '{"actor":"me","x":[1]}'


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "it is not JSON"),
        ('{"a":NaN}', "NaN"),
        ("[]", "not a JSON object"),
        ('{"streamId":"s","type":"PING"}', "/data is required"),
        ('{"streamId":"s","type":"ITEM_CREATED","data":{"itemId":"1"}}', "/data/amount is required"),
        ('{"streamId":"s","type":"PING","data":{},"eventId":-1}', "/eventId must be a whole number"),
        ('{"streamId":"s","type":"PING","data":{},"eventId":3,"expectedVersion":1}', "contradict"),
        ('{"streamId":"s","type":"PING","data":{},"timeStamp":"yesterday"}', "/timeStamp must be an RFC 3339 time"),
        ('{"streamId":"s","type":"PING","data":{"x":"%s"}}' % ("x" * 420_000), "the limit is 408,576"),
    ],
)
def test_a_bad_line_is_named_and_nothing_of_its_batch_is_stored(
    esctl: Esctl, api: ServedApi, line: str, said: str
) -> None:
    write(esctl, [event(0), event(1), line, event(2)])

    result = esctl("import", "in.jsonl")

    assert result.exit_code == ExitCode.FAILED
    assert "line 3 of in.jsonl can't be imported" in result.stderr
    assert said in result.stderr
    assert api.model.is_empty()


def test_an_event_that_only_the_api_refuses_is_reported_with_its_line(esctl: Esctl, api: ServedApi) -> None:
    write(esctl, [event(0), event(1, timeStamp="2100-01-01T00:00:00Z")])

    result = esctl("import", "in.jsonl")

    assert "line 2 of in.jsonl can't be imported: /timeStamp must not be in the future" in result.stderr
    assert api.model.is_empty()


def test_a_partial_import_is_exit_code_8_and_the_corrected_file_continues(esctl: Esctl, api: ServedApi) -> None:
    events = [event(n) for n in range(400)]
    write(esctl, [*events[:150], event(150, timeStamp="2100-01-01T00:00:00Z"), *events[151:]])

    first = esctl("import", "in.jsonl")

    assert first.exit_code == ExitCode.PARTIAL
    assert "line 151 of" in first.stderr
    assert stored(api) == list(range(99))
    write(esctl, events)
    assert esctl("import", "in.jsonl", "-o", "json").json == {"imported": 301, "already": 99, "file": "in.jsonl"}
    assert stored(api) == list(range(400))


def test_a_dry_run_lists_every_bad_line_and_needs_no_target(esctl: Esctl) -> None:
    write(esctl, ["{", event(1), event(2) | {"foo": 1}, event(3, eventId=3), event(4, eventId=5)])

    result = esctl("import", "in.jsonl", "--dry-run")

    assert result.exit_code == ExitCode.FAILED
    assert "in.jsonl has 3 bad lines" in result.stderr
    assert [line for number in (1, 3, 5) for line in result.stderr.splitlines() if f"line {number}:" in line]


def test_a_dry_run_of_a_good_file_imports_nothing(esctl: Esctl, api: ServedApi) -> None:
    write(esctl, [event(1), event(2)])

    result = esctl("import", "in.jsonl", "--dry-run", "-o", "json")

    assert result.json == {"events": 2, "file": "in.jsonl"}
    assert api.calls == []


def test_an_interruption_says_how_to_continue(esctl: Esctl, api: ServedApi) -> None:
    write(esctl, [event(n) for n in range(300)])
    api.before = lambda route: (_ for _ in ()).throw(AnswerLostError) if route == CALL else None
    esctl.clock.sleep = lambda seconds: interrupted()  # type: ignore[method-assign]

    result = esctl("import", "in.jsonl")

    assert result.exit_code == ExitCode.INTERRUPTED
    assert "0 events imported" in result.stderr
    assert "Run the same command again" in result.stderr


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nowhere.jsonl", "No such file"),
        (".", "directory"),
        ("plain.gz", "not a gzip file"),
        ("cut.gz", "cut off"),
        ("torn.gz", "damaged"),
    ],
)
def test_files_that_cannot_be_read(esctl: Esctl, api: ServedApi, name: str, said: str) -> None:
    whole = gzip.compress(b"".join(dumps(event(n)).encode() + b"\n" for n in range(20)))
    (esctl.directory / "plain.gz").write_text(dumps(event(0)))
    (esctl.directory / "cut.gz").write_bytes(whole[:-20])
    (esctl.directory / "torn.gz").write_bytes(whole[:30] + b"\xff\x00\xff" + whole[33:])

    result = esctl("import", name)

    assert result.exit_code in (ExitCode.USAGE, ExitCode.FAILED)
    assert said in result.stderr
    assert api.model.is_empty()


def test_a_busy_store_is_waited_for(esctl: Esctl, api: ServedApi) -> None:
    write(esctl, [event(1)])
    left = iter([503] * 7)

    def busy(route: str) -> None:
        if route == CALL and next(left, None):
            from handlers.core.errors import ContendedError

            raise ContendedError("busy")

    real = api.model.store.append

    def append(*args: Any) -> Any:
        busy(CALL)
        return real(*args)

    api.model.store.append = append  # type: ignore[method-assign, assignment]

    assert esctl("import", "in.jsonl").exit_code == 0
    assert stored(api) == [1]


def test_an_empty_file_is_fine(esctl: Esctl, api: ServedApi) -> None:
    write(esctl, [])

    assert esctl("import", "in.jsonl", "-o", "json").json["imported"] == 0
