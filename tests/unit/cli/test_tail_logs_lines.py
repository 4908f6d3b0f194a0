"""Reading and showing log lines, and choosing among them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cli.errors import CliError
from cli.operate.logs import Kind, Line, RawLine, Selection, Wanted, seconds, understand
from cli.operate.logs_tail import plain, ranges
from tests.unit.cli.cli_driver import Esctl


def log(function: str = "AddEvent", *, text: str = "appended", invocation: str = "inv-1", **fields: Any) -> Line:
    document = {
        "level": fields.pop("level", "INFO"),
        "message": text,
        "timestamp": "2026-11-23 05:50:40,946+0000",
        "service": "add-event",
        "functionRequestId": invocation,
        **fields,
    }
    return understand(RawLine(function, 1_795_413_040_954, json.dumps(document)))


def report(invocation: str = "inv-1", *, init: str = "") -> Line:
    text = f"REPORT RequestId: {invocation}\tDuration: 12.60 ms\tBilled Duration: 13 ms\tMemory Size: 512 MB\t"
    return understand(RawLine("AddEvent", 0, f"{text}Max Memory Used: 100 MB\t{init}"))


def shown(line: Line) -> str:
    return plain(line, 9)


def test_a_structured_line_has_the_time_that_the_function_wrote() -> None:
    line = log(streamId="s", eventId=3)

    assert line.at.isoformat() == "2026-11-23T05:50:40.946000+00:00"
    assert (line.kind, line.level, line.text, line.request_id) == (Kind.LOG, "INFO", "appended", "inv-1")


def test_a_line_is_shown_with_its_relevant_fields() -> None:
    text = shown(log(streamId="s", eventId=3, lastEventId=3, conflicts=0, correlation_id="0123456789abc"))

    assert text.endswith("AddEvent  appended  streamId=s eventId=3 correlation_id=01234567")


def test_levels_other_than_info_are_shown() -> None:
    assert "ERROR stream halted" in shown(log(text="stream halted", level="ERROR"))


def test_an_exception_is_shown_below_its_line() -> None:
    text = shown(log(level="ERROR", exception="Traceback:\n  File\nKeyError"))

    assert text.splitlines()[1:] == ["    Traceback:", "      File", "    KeyError"]


def test_a_report_is_summarized_with_its_cold_start() -> None:
    assert shown(report()).endswith("└ 13 ms · 100 MB")
    assert shown(report(init="Init Duration: 480.20 ms\t")).endswith("└ 13 ms · 100 MB · cold start 480 ms")


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("START RequestId: abc Version: $LATEST", Kind.START),
        ("END RequestId: abc", Kind.END),
        ("INIT_START Runtime Version: python:3.13", Kind.START),
        ('{"_aws":{"CloudWatchMetrics":[]},"EventsAppended":1}', Kind.METRICS),
        ('{"level":"INFO","message":"used","used":{}}', Kind.METRICS),
        ("[ERROR] KeyError: 'x'", Kind.TEXT),
        ("plain", Kind.TEXT),
        ("{broken", Kind.TEXT),
        ('["a"]', Kind.TEXT),
    ],
)
def test_every_kind_of_line_is_understood(message: str, kind: Kind) -> None:
    assert understand(RawLine("A", 0, message)).kind is kind


def test_an_access_log_line_is_a_request() -> None:
    fields = {"method": "GET", "route": "/streams", "status": "200", "latencyMs": "12", "error": "-"}

    assert shown(understand(RawLine("Api", 0, json.dumps(fields)))).endswith("GET /streams 200  latencyMs=12")


def test_a_line_can_not_steer_the_terminal() -> None:
    assert "\x1b" not in shown(understand(RawLine("A", 0, "\x1b[2Jgone")))
    assert "\x1b" not in shown(log(streamId="\x1b[2J"))


def test_useless_lines_are_omitted() -> None:
    lines = [understand(RawLine("A", 0, "END RequestId: abc")), log()]

    assert Selection(Wanted()).pick(lines) == [lines[1]]


def test_lines_about_an_event_come_with_the_reports_of_their_invocations() -> None:
    about = log(streamId="s", eventId=4, lastEventId=6)
    batch = log("Projector", text="projected", invocation="inv-2", streamId="s", eventIds=[5, 6])
    other = log(streamId="s", eventId=7, invocation="inv-3")
    reports = [report("inv-1"), report("inv-2"), report("inv-3")]

    picked = Selection(Wanted(stream_id="s", event_id=5)).pick([about, batch, other, *reports])

    assert picked == [about, batch, *reports[:2]]


def test_lines_of_the_events_request_are_about_it_too() -> None:
    answered = log(text="POST /addEvent 201", correlation_id="c-1")

    assert Selection(Wanted(stream_id="s", event_id=0, correlation_id="c-1")).pick([answered]) == [answered]


@pytest.mark.parametrize("field", ["correlation_id", "requestId", "functionRequestId", "xray_trace_id"])
def test_an_id_prefix_matches(field: str) -> None:
    line = log(**{field: "0123456789"}) if field != "functionRequestId" else log(invocation="0123456789")

    assert Selection(Wanted(request_id="0123")).pick([line]) == [line]
    assert Selection(Wanted(request_id="123")).pick([line]) == []


def test_a_correlation_among_those_of_a_batch_is_found() -> None:
    line = log("Publisher", text="published", correlationIds=["a-1", "b-2"])

    assert Selection(Wanted(request_id="b-")).pick([line]) == [line]


def test_text_is_found_in_any_case() -> None:
    line = log(error="KeyError: 'amount'")

    assert Selection(Wanted(text="keyerror")).pick([line, log()]) == [line]


def test_event_ids_are_shown_as_ranges() -> None:
    assert ranges([6, 4, 5, 9]) == "4-6,9"


@pytest.mark.parametrize(("text", "found"), [("90s", 90), ("10m", 600), ("1.5h", 5400), ("2d", 172_800)])
def test_durations_are_parsed(text: str, found: float) -> None:
    assert seconds(text) == found


@pytest.mark.parametrize("text", ["", "10", "m", "10 minutes", "-5m"])
def test_invalid_durations_are_refused(text: str) -> None:
    with pytest.raises(CliError):
        seconds(text)


@pytest.mark.parametrize(
    "arguments",
    [("--trace",), ("--event", "x"), ("--event", "1", "--trace", "-f"), ("--event", "1", "--trace", "--raw")],
)
def test_contradicting_options_are_refused_before_any_call(esctl: Esctl, arguments: tuple[str, ...]) -> None:
    assert esctl("tail-logs", *arguments).exit_code == 2
