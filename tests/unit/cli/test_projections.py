"""`esctl projections`: what is said, what is asked of the API, and the exit codes."""

from __future__ import annotations

from typing import Any

from tests.unit.cli.cli_driver import Esctl
from tests.unit.cli.fake_api import FakeApi

STREAM = "s-1"


def described(state: str = "live", *, head: int = 9, checkpoint: int = 9, **more: Any) -> tuple[int, Any]:
    stream = {"streamId": STREAM, "state": state, "head": head, "checkpoint": checkpoint, "lag": head - checkpoint}
    return 200, {"projections": [{"name": "items", "streams": [{**stream, **more}], "more": False}]}


HALT = {"eventId": 7, "error": "KeyError: 'amount'", "at": "2026-11-23T06:00:00.000Z"}
HALTED = described("halted", checkpoint=6, halted=HALT)
AGE = 200, {"events": [{"streamId": STREAM, "eventId": 7, "timeStamp": "2026-11-23T06:00:00.000Z"}], "nextToken": None}
RESUMED = 202, {"projection": "items", "streams": [{"streamId": STREAM, "eventId": 7}]}
SKIPPED = 200, {"projection": "items", "streamId": STREAM, "eventId": 7, "checkpoint": 7}


def asked(api: FakeApi) -> list[str]:
    return [f"{call.method} {call.path}" for call in api.calls]


def test_without_a_subcommand_the_list_is_shown(esctl: Esctl, api: FakeApi) -> None:
    api.answers = [described(), described()]

    assert esctl("projections").stdout == esctl("projections", "list").stdout
    assert asked(api) == ["GET /projections"] * 2


def test_a_halted_stream_is_shown_with_what_to_do(esctl: Esctl, api: FakeApi) -> None:
    api.answers = [HALTED, AGE]

    result = esctl("projections")

    assert result.exit_code == 0
    assert "halted at 7" in result.stdout
    assert "KeyError: 'amount'" in result.stderr
    assert f"esctl projections resume items --stream-id {STREAM}" in result.stderr
    assert f"esctl projections skip items --stream-id {STREAM} --event-id 7" in result.stderr


def test_one_projection_can_be_asked_for_by_name(esctl: Esctl, api: FakeApi) -> None:
    fault = {"in": "query", "name": "name", "detail": "must be one of items"}
    api.answers = [described(), (400, {"title": "Invalid input", "errors": [fault]})]

    assert esctl("projections", "items", "-o", "json").json["streams"][0]["projection"] == "items"
    unknown = esctl("projections", "nothing")
    assert unknown.exit_code == 3
    assert "must be one of items" in unknown.stderr


def test_resuming_waits_for_the_catch_up(esctl: Esctl, api: FakeApi) -> None:
    behind = described("behind", checkpoint=7)
    api.answers = [RESUMED, behind, described()]

    result = esctl("projections", "resume", "items", "--stream-id", STREAM)

    assert result.exit_code == 0
    assert api.calls[0].path == "/projections/items/resume"
    assert api.calls[0].body == {"streamId": STREAM}
    assert "resumed at event 7" in result.stdout
    assert "checkpoint 9" in result.stderr


def test_a_stream_that_halts_again_is_degraded(esctl: Esctl, api: FakeApi) -> None:
    api.answers = [RESUMED, HALTED]

    result = esctl("projections", "resume", "items")

    assert result.exit_code == 7
    assert "halted at event 7: KeyError: 'amount' (again)" in result.stderr
    assert "--event-id 7" in result.stderr


def test_resuming_that_takes_too_long_times_out(esctl: Esctl, api: FakeApi) -> None:
    api.answers = [RESUMED, *[described("behind", checkpoint=7)] * 100]

    result = esctl("projections", "resume", "items", "--timeout", "3")

    assert result.exit_code == 6
    assert "2 events behind" in result.stderr
    assert esctl.clock.now <= 3


def test_resuming_with_nothing_halted_says_so(esctl: Esctl, api: FakeApi) -> None:
    api.answers = [(202, {"projection": "items", "streams": []})]

    result = esctl("projections", "resume", "items")

    assert result.exit_code == 0
    assert "No stream of items is halted" in result.stderr


def test_skipping_asks_first(esctl: Esctl, api: FakeApi) -> None:
    command = ("projections", "skip", "items", "--stream-id", STREAM, "--event-id", "7")

    declined = esctl(*command, stdin="n\n", terminal=True)
    unattended = esctl(*command)

    assert (declined.exit_code, unattended.exit_code) == (0, 2)
    assert "Nothing was skipped" in declined.stderr
    assert api.calls == []


def test_skipping_skips_the_event_and_waits(esctl: Esctl, api: FakeApi) -> None:
    api.answers = [SKIPPED, described()]

    result = esctl("projections", "skip", "items", "--stream-id", STREAM, "--event-id", "7", "--yes", "-o", "json")

    assert result.exit_code == 0
    assert api.calls[0].body == {"streamId": STREAM, "eventId": 7}
    assert result.json["changed"] == [{"streamId": STREAM, "eventId": 7}]
    assert result.json["streams"][0]["checkpoint"] == 9


def test_skipping_another_event_than_the_halted_one_is_a_conflict(esctl: Esctl, api: FakeApi) -> None:
    api.answers = [(409, {"title": "Conflict", "detail": "stream 's-1' is halted at event 7, not 3"})]

    result = esctl("projections", "skip", "items", "--stream-id", STREAM, "--event-id", "3", "--yes")

    assert result.exit_code == 5
    assert "halted at event 7" in result.stderr


def test_the_hint_quotes_any_stream_id(esctl: Esctl, api: FakeApi) -> None:
    odd = "it's; $(odd)"
    halted = described("halted", checkpoint=6, halted=HALT)
    halted[1]["projections"][0]["streams"][0]["streamId"] = odd
    api.answers = [halted, AGE]

    result = esctl("projections")

    assert "skip items --stream-id 'it'\"'\"'s; $(odd)' --event-id 7" in result.stderr
