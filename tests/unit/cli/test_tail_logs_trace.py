"""The trace of one event, from log lines."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cli.config.targets import AwsTarget, LocalTarget, Target
from cli.operate.logs import Line, RawLine, understand
from cli.operate.logs_tail import find_event
from cli.operate.logs_trace import Trace, document, show, trace
from cli.operate.status import age_of_event
from cli.shell.session import Session
from cli.terminal.output import Format, Output
from tests.unit.cli.cli_driver import Esctl
from tests.unit.cli.fake_api import FakeApi
from tests.unit.cli.served_api import served

STORED = datetime(2026, 11, 23, 6, 3, 3, 308_000, tzinfo=UTC)
EVENT = {
    "streamId": "s",
    "eventId": 5,
    "type": "ITEM_CREATED",
    "timeStamp": "2026-11-23T06:03:03.308Z",
    "metadata": {"correlationId": "c-1"},
}


def line(function: str, after_ms: int, text: str, **fields: Any) -> Line:
    at = STORED + timedelta(milliseconds=after_ms)
    stamp = at.strftime("%Y-%m-%d %H:%M:%S,") + f"{at.microsecond // 1000:03}+0000"
    document = {"level": "INFO", "message": text, "timestamp": stamp, "functionRequestId": f"{function}-1", **fields}
    return understand(RawLine(function, 0, json.dumps(document)))


def projected(after_ms: int, checkpoint: int, service: str = "projector-items", **fields: Any) -> Line:
    return line("ProjectorItems", after_ms, "projected", service=service, streamId="s", checkpoint=checkpoint, **fields)


APPENDED = line("AddEvent", 0, "appended", streamId="s", eventId=5, lastEventId=5)
ANSWERED = line("AddEvent", 2, "POST /addEvent 201", status=201, durationMs=8.0)
PUBLISHED = line("Publisher", 20, "published", streamId="s", eventIds=[4, 5])
PROJECTED = projected(32, 5, eventIds=[4, 5])


def steps(found: Trace) -> list[tuple[str, int]]:
    return [(step["where"], step["sinceFirstMs"]) for step in document(found)["steps"]]


def test_a_missing_event_is_an_error_with_a_quoted_command(esctl: Esctl, api: FakeApi) -> None:
    api.answers = [(200, {"events": [], "nextToken": None})]

    result = esctl("tail-logs", "--trace", "--stream-id", "a stream", "--event", "7")

    assert result.exit_code == 3
    assert "esctl events 'a stream'" in result.stderr


def test_the_path_goes_from_the_api_to_the_read_model() -> None:
    found = trace(EVENT, [PROJECTED, PUBLISHED, ANSWERED, APPENDED], ["items"])

    assert steps(found) == [
        ("AddEvent", 0),
        ("AddEvent", 6),
        ("AddEvent", 8),
        ("Publisher", 26),
        ("ProjectorItems", 38),
    ]
    assert (found.complete, found.projected, found.correlation_id) == (True, ("items",), "c-1")


def test_a_caught_up_event_is_found_by_a_later_checkpoint() -> None:
    found = trace(EVENT, [APPENDED, ANSWERED, projected(900, 9, eventIds=[9])], ["items"])

    assert found.complete
    assert steps(found)[-1] == ("ProjectorItems", 906)


def test_checkpoints_before_the_event_and_other_streams_do_not_count() -> None:
    other = line("ProjectorItems", 5, "projected", service="projector-items", streamId="t", checkpoint=8)

    found = trace(EVENT, [APPENDED, projected(1, 4), other], ["items"])

    assert (found.complete, found.missing) == (False, ("items",))


def test_an_event_that_halted_a_projection_is_not_in_it() -> None:
    halted = line(
        "ProjectorItems", 30, "stream halted", service="projector-items", streamId="s", eventId=5, error="KeyError: 'a'"
    )

    found = trace(EVENT, [APPENDED, halted], ["items"])

    assert found.missing == ("items",)
    assert "KeyError" in found.steps[-1].what


def test_an_event_whose_append_is_no_longer_in_the_logs_still_has_a_time() -> None:
    found = trace(EVENT, [], [])

    assert [(step.at, step.where) for step in found.steps] == [(STORED, "Events table")]
    assert found.complete


def test_x_ray_traces_of_the_functions_are_collected() -> None:
    lines = [
        line("AddEvent", 0, "appended", streamId="s", eventId=5, xray_trace_id="1-a"),
        line("Publisher", 9, "published", streamId="s", eventIds=[5], xray_trace_id="1-b"),
        line("Publisher", 9, "published", streamId="t", eventIds=[5], xray_trace_id="1-c"),
    ]

    assert trace(EVENT, lines, []).trace_ids == ("1-a", "1-b")


@pytest.mark.parametrize(
    ("target", "urls"),
    [
        (
            AwsTarget("esctl", "eu-central-1", outputs={"ApiId": "abc"}),
            ["https://eu-central-1.console.aws.amazon.com/cloudwatch/home?region=eu-central-1#xray:traces/1-a"],
        ),
        (LocalTarget("esctl", "us-east-1", outputs={"ApiId": "abc"}), []),
    ],
    ids=["aws", "local"],
)
@pytest.mark.parametrize("form", list(Format))
def test_a_traced_event_has_a_link_to_its_trace(esctl: Esctl, target: Target, urls: list[str], form: Format) -> None:
    """The emulator keeps no traces, so the local target has no link."""
    environment = esctl.environment()
    found = trace(EVENT, [line("AddEvent", 0, "appended", streamId="s", eventId=5, xray_trace_id="1-a")], [])

    show(Output(environment, form), target, found)

    written = environment.stdout.getvalue()  # type: ignore[attr-defined]
    shown = json.loads(written)["traceUrls"] if form is not Format.TEXT else re.findall(r"X-Ray trace: (\S+)", written)
    assert shown == urls


def test_a_stream_id_that_looks_like_an_encoded_one_is_that_stream(esctl: Esctl) -> None:
    environment = esctl.environment()
    with served(esctl) as api:
        api.model.given(("PING", {}), stream_id="~YQ")

        service = Session(environment, Output(environment)).service
        event = find_event(service, "~YQ", 0)
        age_s = age_of_event(service, "~YQ", 0, datetime.now(UTC))

    assert (event["streamId"], event["eventId"]) == ("~YQ", 0)
    assert age_s is not None
