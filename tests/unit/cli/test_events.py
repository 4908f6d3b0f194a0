"""`esctl events`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal

import pytest

from cli.errors import ExitCode
from cli.terminal.tables import event_lines
from handlers.core.lossless_json import dumps, loads
from tests.unit.api.driver import REQUEST_ID
from tests.unit.cli.cli_driver import Clock, Esctl
from tests.unit.cli.served_api import ServedApi, served


class ActingClock(Clock):
    """Something happens whenever somebody waits; a script that is at its end interrupts."""

    def __init__(self, *acts: Callable[[], object]) -> None:
        super().__init__()
        self._acts = iter(acts)

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        act = next(self._acts, None)
        if act is None:
            raise KeyboardInterrupt
        act()


@pytest.fixture
def api(esctl: Esctl) -> Iterator[ServedApi]:
    with served(esctl) as api:
        yield api


def given_events(api: ServedApi, number: int, stream_id: str = "s") -> None:
    for start in range(0, number, 100):
        api.model.given(*(("PING", {"n": n}) for n in range(start, min(start + 100, number))), stream_id=stream_id)


def numbers(result_lines: list[str]) -> list[int]:
    return [loads(line)["eventId"] for line in result_lines]


def test_an_event_is_shown_with_its_data_and_metadata(esctl: Esctl, api: ServedApi) -> None:
    metadata = {"causationId": "c-1", "team": "blue"}
    api.model.add(
        {"streamId": "s", "type": "PAID", "data": {"sum": Decimal("1.50")}, "metadata": metadata}, caller="me"
    )

    result = esctl("events", "s")

    heading, data, *rest = result.lines
    assert heading.startswith("0  PAID  2026-11-23T")
    assert data == '    {"sum": 1.50}'
    together = "".join(rest)
    assert f"correlationId {REQUEST_ID}" in together
    assert "causationId c-1" in together
    assert "actor me" in together
    assert '{"team": "blue"}' in together


def test_json_lines_are_the_contracts_own_form_to_the_digit(esctl: Esctl, api: ServedApi) -> None:
    api.model.given(("PING", loads('{"b":1.10,"a":12345678901234567890123,"c":1E+300}')), stream_id="s")

    (line,) = esctl("events", "s", "-o", "jsonl").lines

    assert '"data":{"b":1.10,"a":12345678901234567890123,"c":1E+300}' in line
    assert list(loads(line)) == ["streamId", "eventId", "type", "data", "timeStamp", "schemaVersion"]


def test_json_is_one_document(esctl: Esctl, api: ServedApi) -> None:
    given_events(api, 3)

    document = esctl("events", "s", "-o", "json").json

    assert document["streamId"] == "s"
    assert [event["eventId"] for event in document["events"]] == [0, 1, 2]
    assert esctl("events", "s", "--from", "9", "-o", "json").json == {"streamId": "s", "events": []}


def test_all_pages_are_read_in_order(esctl: Esctl, api: ServedApi) -> None:
    given_events(api, 1205)

    assert numbers(esctl("events", "s", "-o", "jsonl").lines) == list(range(1205))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--from", "7"], [7, 8, 9]),
        (["--from", "-2"], [8, 9]),
        (["--from", "-20"], list(range(10))),
        (["--from", "3", "--limit", "2"], [3, 4]),
        (["--reverse", "--limit", "3"], [9, 8, 7]),
        (["--reverse", "--from", "1"], [1, 0]),
        (["--from", "10"], []),
    ],
)
def test_a_part_of_a_stream(esctl: Esctl, api: ServedApi, options: list[str], expected: list[int]) -> None:
    given_events(api, 10)

    assert numbers(esctl("events", "s", *options, "-o", "jsonl").lines) == expected


def test_nothing_from_there_on_is_said(esctl: Esctl, api: ServedApi) -> None:
    given_events(api, 1)

    result = esctl("events", "s", "--from", "5")

    assert (result.exit_code, result.stdout) == (0, "")
    assert "no events from event 5 on" in result.stderr


@pytest.mark.parametrize("stream_id", ["a/b", "..", "ä ö%2F", "~x", "a?b#c"])
def test_any_stream_id_can_be_asked_for(esctl: Esctl, api: ServedApi, stream_id: str) -> None:
    api.model.given(("PING", {}), stream_id=stream_id)

    assert esctl("events", stream_id, "-o", "json").json["streamId"] == stream_id


def test_an_unknown_stream_is_not_found(esctl: Esctl, api: ServedApi) -> None:
    result = esctl("events", "nope")

    assert result.exit_code == ExitCode.NOT_FOUND
    assert "no stream 'nope'" in result.stderr
    assert "esctl streams" in result.stderr


def test_follow_goes_on_with_new_events(esctl: Esctl, api: ServedApi) -> None:
    given_events(api, 2)
    esctl.clock = ActingClock(lambda: None, lambda: given_events(api, 3))

    result = esctl("events", "s", "--follow", "-o", "jsonl")

    assert result.exit_code == ExitCode.INTERRUPTED
    assert numbers(result.lines) == [0, 1, 2, 3, 4]
    assert esctl.clock.sleeps == [1.0, 1.0, 1.0]


def test_follow_ends_at_its_limit(esctl: Esctl, api: ServedApi) -> None:
    given_events(api, 2)
    esctl.clock = ActingClock(lambda: given_events(api, 9))

    result = esctl("events", "s", "--follow", "--limit", "4", "-o", "jsonl")

    assert (result.exit_code, numbers(result.lines)) == (0, [0, 1, 2, 3])


def test_follow_waits_for_a_stream_that_does_not_exist_yet(esctl: Esctl, api: ServedApi) -> None:
    esctl.clock = ActingClock(lambda: None, lambda: given_events(api, 1))

    result = esctl("events", "s", "--follow", "--limit", "1", "-o", "jsonl")

    assert numbers(result.lines) == [0]
    assert result.stderr.count("waiting for it") == 1


@pytest.mark.parametrize("options", [["--reverse"], ["-o", "json"]])
def test_follow_refuses_what_has_no_end(esctl: Esctl, api: ServedApi, options: list[str]) -> None:
    assert esctl("events", "s", "--follow", *options).exit_code == ExitCode.USAGE


def test_wide_data_is_spread_over_lines_and_cut_only_where_asked() -> None:
    event = {"eventId": 0, "type": "T", "timeStamp": "t", "data": {"text": "x" * 300}}

    whole = list(event_lines(event, width=80))
    cut = list(event_lines(event, width=80, characters_max=100))

    assert [line.strip() for line in whole[1:]] == ["{", f'"text": "{"x" * 300}"', "}"]
    assert "more characters" in cut[-1]
    assert len("".join(cut)) < 250


def test_events_cannot_steer_the_terminal() -> None:
    event = {"eventId": 0, "type": "T", "timeStamp": "t", "data": {"a": "\x9b2J\x1b"}, "metadata": {"actor": "\x1b["}}

    assert not {"\x1b", "\x9b"} & set("".join(event_lines(event)))
    assert dumps(event["data"])  # it is only shown differently
