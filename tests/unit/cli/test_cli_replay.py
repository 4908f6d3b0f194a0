"""`esctl replay`, `replays` and `list --as-of`, over the real API and projection code on models in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from cli.client.records import ReplayJob
from cli.errors import ExitCode
from cli.replay.run import describe
from handlers.core.events import StreamId
from handlers.domain.items import TEST_STREAM
from handlers.projection.port import Commit, Row, RowChange
from tests.unit.cli.cli_driver import Clock, Esctl
from tests.unit.cli.served_api import ServedApi, served

STREAM = StreamId(TEST_STREAM)


@dataclass
class ActingClock(Clock):
    """Something happens whenever somebody waits."""

    act: Callable[[], object]

    def __post_init__(self) -> None:
        super().__init__()

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        self.act()


@pytest.fixture
def api(esctl: Esctl) -> Iterator[ServedApi]:
    """A deployed stack; whenever a command waits, the replay worker works."""
    with served(esctl) as api:
        esctl.clock = ActingClock(lambda: api.model.work())
        yield api


def created(item_id: str, amount: object = 1) -> tuple[str, Mapping[str, Any]]:
    return "ITEM_CREATED", {"itemId": item_id, "amount": amount}


def tamper(api: ServedApi, key: str, row: Row | None, name: str = "test-items", generation: int = 0) -> None:
    """Change a row behind the system's back; None deletes it."""
    model = api.model.read_models[name]
    stored = model.load(generation, [], [key]).rows[key]
    change = RowChange(key, None if stored is None else stored.version, write=True, row=row, version="tampered")
    model.commit(Commit(rows=(change,), generation=generation))


def damage(api: ServedApi) -> None:
    """Three items, one of which is lost, one wrong, and one that never was."""
    api.model.given(created("lost", 1), created("wrong", 2), created("right", 3))
    tamper(api, "lost", None)
    tamper(api, "wrong", {"amount": 99})
    tamper(api, "stray", {"amount": 7})


REPAIRED = [
    {"itemId": "lost", "before": None, "after": {"amount": 1}},
    {"itemId": "stray", "before": {"amount": 7}, "after": None},
    {"itemId": "wrong", "before": {"amount": 99}, "after": {"amount": 2}},
]


# -- replay --------------------------------------------------------------------------------------------------------------


def test_replay_waits_and_reports_what_changed(esctl: Esctl, api: ServedApi) -> None:
    damage(api)

    result = esctl("replay", "-o", "json")

    document = result.json
    assert (result.exit_code, document["state"], document["eventsDone"]) == (0, "done", 3)
    assert (document["rowsBefore"], document["rowsAfter"], document["rowsDiffering"]) == (3, 3, 3)
    assert document["differences"] == REPAIRED
    assert document["seconds"] >= 0


def test_replay_shows_the_rows_that_differ(esctl: Esctl, api: ServedApi) -> None:
    damage(api)

    result = esctl("replay")

    assert result.lines[0].split() == ["itemId", "before", "after"]
    assert ["wrong", '{"amount":99}', '{"amount":2}'] in [line.split() for line in result.lines]
    assert "rows that differ  3" in result.stdout
    assert "time taken" in result.stdout
    assert "is done" in result.stderr


def test_changes_by_live_events_are_not_attributed_to_the_replay(esctl: Esctl, api: ServedApi) -> None:
    damage(api)
    api.before = lambda route: (
        api.model.given(created("new", 5))
        if route == "POST /triggerReplay" and api.model.store.head(STREAM) == 2
        else None
    )

    document = esctl("replay", "-o", "json").json

    assert document["differences"] == REPAIRED
    assert (document["rowsBefore"], document["rowsAfter"]) == (3, 4)


@pytest.mark.parametrize(
    ("state", "done", "rate", "said"),
    [
        ("running", 100, 50.0, "replay of test-items · 50 events/s · 18 s left"),
        ("running", 0, 0, "replay of test-items"),
        ("running", 1_010, 50.0, "replay of test-items · 50 events/s · 0.0 s left"),  # events came in meanwhile
        ("switching", 1_000, 50.0, "replay of test-items: switching · 50 events/s"),
    ],
)
def test_the_progress_bar_shows_rate_and_time_left(state: str, done: int, rate: float, said: str) -> None:
    counts = {"head": 999, "eventsDone": done, "eventsPerSecond": rate}

    assert describe(ReplayJob({"kind": "replay", "projection": "test-items", "state": state, **counts})) == said


def test_replay_joins_the_running_one(esctl: Esctl, api: ServedApi) -> None:
    api.model.given(created("1"))
    running = esctl("replay", "--no-wait", "-o", "json").json

    result = esctl("replay", "-o", "json")

    assert running["state"] == "running"
    assert result.json["replayId"] == running["replayId"]
    assert "is already running" in result.stderr


def test_two_replays_one_after_the_other_both_run(esctl: Esctl, api: ServedApi) -> None:
    api.model.given(created("1"))

    first, second = esctl("replay", "-o", "json").json, esctl("replay", "-o", "json").json

    assert first["replayId"] != second["replayId"]
    assert (first["state"], second["state"]) == ("done", "done")


def test_a_failed_replay_is_an_error_with_its_event(esctl: Esctl, api: ServedApi) -> None:
    api.model.given(created("1"))
    api.model.store.append([_broken()])

    result = esctl("replay")
    as_json = esctl("replay", "-o", "json")

    assert result.exit_code == ExitCode.FAILED
    assert "event 1" in result.stderr
    assert "KeyError" in result.stderr
    assert as_json.exit_code == ExitCode.FAILED
    assert as_json.json["state"] == "failed"
    assert as_json.json["error"]["eventId"] == 1


def test_an_error_while_waiting_is_not_hidden_by_the_display(esctl: Esctl, api: ServedApi) -> None:
    api.model.given(created("1"))
    esctl.clock = ActingClock(lambda: api.model.read_models["test-items"].documents.clear())  # the job is lost

    result = esctl("replay", terminal=True)

    assert result.exit_code == ExitCode.NOT_FOUND
    assert "there is no replay" in result.stderr


def test_interrupting_leaves_the_replay_running_and_says_how_to_follow_it(esctl: Esctl, api: ServedApi) -> None:
    api.model.given(created("1"))

    def interrupt() -> None:
        raise KeyboardInterrupt

    esctl.clock = ActingClock(interrupt)
    result = esctl("replay")

    assert result.exit_code == ExitCode.INTERRUPTED
    assert "the replay continues" in result.stderr
    assert "esctl replays" in result.stderr
    esctl.clock = ActingClock(api.model.work)
    followed = esctl("replay", "-o", "json")
    assert followed.json["state"] == "done"
    assert len(esctl("replays", "-o", "json").json["replays"]) == 1


def test_waiting_times_out(esctl: Esctl, api: ServedApi) -> None:
    api.model.given(created("1"))
    esctl.clock = Clock()  # no worker runs

    result = esctl("replay", "--timeout", "60")

    assert result.exit_code == ExitCode.TIMED_OUT
    assert "no progress;" in result.stderr


def test_replay_from_an_event_repairs_in_place(esctl: Esctl, api: ServedApi) -> None:
    api.model.given(created("a", 1), created("b", 2))
    tamper(api, "b", {"amount": 99})

    result = esctl("replay", "--from-event-id", "1", "--no-wait", "-o", "json")

    assert result.json["kind"] == "rewind"
    api.model.project()
    assert esctl("list", "-o", "json").json["items"][1] == {"itemId": "b", "amount": 2}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--stream-id", "nobody"], ExitCode.NOT_FOUND),
        (["--projection", "nobody"], ExitCode.NOT_FOUND),
        (["--from-event-id", "99"], ExitCode.FAILED),
        (["--from-event-id", "-1"], ExitCode.USAGE),
        (["--dry-run", "--rollback"], ExitCode.USAGE),
        (["--dry-run", "--no-wait"], ExitCode.USAGE),
        (["--rollback", "--from-event-id", "1"], ExitCode.USAGE),
    ],
)
def test_an_impossible_replay_is_refused(esctl: Esctl, api: ServedApi, arguments: list[str], code: ExitCode) -> None:
    api.model.given(created("1"))

    result = esctl("replay", *arguments)

    assert result.exit_code == code
    assert result.stderr.startswith("error:") or "error:" in result.stderr
    assert not api.model.messages


# -- rollback ------------------------------------------------------------------------------------------------------------


def test_rollback_restores_the_previous_generation_and_catches_up(esctl: Esctl, api: ServedApi) -> None:
    damage(api)
    esctl("replay")
    api.model.given(created("new", 5))

    result = esctl("replay", "--rollback", "-o", "json")

    assert (result.json["kind"], result.json["state"]) == ("rollback", "done")
    listed = {item["itemId"]: item["amount"] for item in esctl("list", "-o", "json").json["items"]}
    assert listed == {"new": 5, "right": 3, "stray": 7, "wrong": 99}


def test_rollback_without_a_previous_generation_is_an_error(esctl: Esctl, api: ServedApi) -> None:
    api.model.given(created("1"))

    result = esctl("replay", "--rollback")

    assert result.exit_code == ExitCode.FAILED
    assert "cannot roll back" in result.stderr


def test_rollback_during_a_replay_is_refused(esctl: Esctl, api: ServedApi) -> None:
    api.model.given(created("1"))
    esctl("replay")
    esctl("replay", "--no-wait")

    result = esctl("replay", "--rollback")

    assert result.exit_code == ExitCode.CONFLICT
    assert "a replay is running" in result.stderr


# -- audit ---------------------------------------------------------------------------------------------------------------


def test_dry_run_shows_what_differs_and_writes_nothing(esctl: Esctl, api: ServedApi) -> None:
    damage(api)

    result, text = esctl("replay", "--dry-run", "-o", "json"), esctl("replay", "--dry-run")

    assert (result.exit_code, text.exit_code) == (ExitCode.DEGRADED, ExitCode.DEGRADED)
    assert result.json["streams"][0]["differences"] == [
        {"itemId": "lost", "is": None, "shouldBe": {"amount": 1}},
        {"itemId": "stray", "is": {"amount": 7}, "shouldBe": None},
        {"itemId": "wrong", "is": {"amount": 99}, "shouldBe": {"amount": 2}},
    ]
    assert "3 rows differ" in text.stderr
    assert not [route for route, _ in api.calls if route.startswith("POST")]


def test_dry_run_succeeds_if_nothing_differs(esctl: Esctl, api: ServedApi) -> None:
    for start in range(0, 2_500, 100):
        api.model.given(*(created(str(number), number) for number in range(start, start + 100)))

    result = esctl("replay", "--dry-run", "-o", "json")

    assert (result.exit_code, result.json["rowsDiffering"]) == (0, 0)
    assert result.json["streams"][0]["rowsExpected"] == 2_500
    assert api.called("GET /streams/{streamId}/events") == 3


def test_dry_run_compares_at_the_checkpoint_and_not_at_the_head(esctl: Esctl, api: ServedApi) -> None:
    api.model.given(created("1"))
    api.model.store.append([_broken()])  # not projected, and never will be

    assert esctl("replay", "--dry-run").exit_code == 0


def test_dry_run_of_a_stream_without_events(esctl: Esctl, api: ServedApi) -> None:
    assert esctl("replay", "--dry-run").exit_code == 0


# -- replays -------------------------------------------------------------------------------------------------------------


def test_replays_lists_the_newest_first(esctl: Esctl, api: ServedApi) -> None:
    api.model.given(created("1"))
    esctl("replay")
    esctl("replay")

    listed = esctl("replays", "-o", "json").json["replays"]

    assert [each["replayId"] for each in listed] == ["replay-2", "replay-1"]
    assert len(esctl("replays").lines) == 1 + 2
    assert len(esctl("replays", "--limit", "1").lines) == 1 + 1
    assert esctl("replays", "replay-1", "-o", "json").json["state"] == "done"
    assert "replay-1" in esctl("replays", "replay-1").stdout
    assert esctl("replays", "nobody").exit_code == ExitCode.NOT_FOUND


def test_no_replays_says_so_on_stderr(esctl: Esctl, api: ServedApi) -> None:
    result = esctl("replays")

    assert (result.exit_code, result.stdout) == (0, "")
    assert "no replays" in result.stderr


# -- time travel ---------------------------------------------------------------------------------------------------------


def travelled(esctl: Esctl, *arguments: str) -> list[tuple[str, object]]:
    return [
        (item["itemId"], item["amount"]) for item in esctl("list", "-o", "json", "--as-of", *arguments).json["items"]
    ]


def test_as_of_an_event_lists_the_rows_of_that_moment(esctl: Esctl, api: ServedApi) -> None:
    changed = ("ITEM_AMOUNT_CHANGED", {"itemId": "a", "amount": 2})
    api.model.given(created("a", 1), created("b", 1), changed, ("ITEM_DELETED", {"itemId": "a"}))

    assert travelled(esctl, "0") == [("a", 1)]
    assert travelled(esctl, "1") == [("a", 1), ("b", 1)]
    assert travelled(esctl, "2") == [("a", 2), ("b", 1)]
    assert travelled(esctl, "3") == [("b", 1)]
    assert travelled(esctl, "1", "--limit", "1") == [("a", 1)]
    assert not [route for route, _ in api.calls if route.startswith("POST")]


def test_as_of_a_time_is_the_list_at_that_time(esctl: Esctl, api: ServedApi) -> None:
    api.model.given(created("a"))
    api.model.given(created("b"))
    first, second = (event.time_stamp for event in api.model.store.read(STREAM).events)

    assert travelled(esctl, first) == [("a", 1)]
    assert travelled(esctl, second) == [("a", 1), ("b", 1)]
    assert travelled(esctl, second.removesuffix("Z")) == [("a", 1), ("b", 1)]
    assert travelled(esctl, "2020-01-01") == []


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["7"], ExitCode.NOT_FOUND),
        (["yesterday"], ExitCode.USAGE),
        (["1", "--watch"], ExitCode.USAGE),
        (["9" * 5000], ExitCode.USAGE),
        (["0001-01-01T00:00:00+23:00"], ExitCode.USAGE),
    ],
)
def test_as_of_a_nonexistent_moment_is_refused(
    esctl: Esctl, api: ServedApi, arguments: list[str], code: ExitCode
) -> None:
    api.model.given(created("a"), created("b"))

    assert esctl("list", "--as-of", *arguments).exit_code == code


def test_as_of_past_an_event_that_can_not_be_folded_says_which(esctl: Esctl, api: ServedApi) -> None:
    api.model.given(created("a"))
    api.model.store.append([_broken()])

    result = esctl("list", "--as-of", "1")

    assert result.exit_code == ExitCode.FAILED
    assert "event 1" in result.stderr


def _broken() -> Any:
    """An event that the API would have refused, and that the handler raises for."""
    from handlers.core.events import NewEvent

    return NewEvent(STREAM, "ITEM_CREATED", '{"itemId":"broken"}')
