"""Asking for replays and rollbacks, seeing how far they are, and recovering halted streams."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from handlers.core.events import StreamId
from handlers.domain.items import TEST_STREAM, items
from handlers.projection import transitions
from handlers.projection.port import OutdatedError
from handlers.replay.jobs import REPLAY, ReplayJob
from tests.support.memory_replay_jobs import MemoryReplayJobs
from tests.support.ports import Interrupted
from tests.unit.api.driver import Answer, Api

NAME = {"name": "test-items"}
STREAM = StreamId(TEST_STREAM)


def created(item_id: str) -> tuple[str, dict[str, Any]]:
    return "ITEM_CREATED", {"itemId": item_id, "amount": 1}


def replay(api: Api, replay_id: str) -> Any:
    return api.call("GET /replays/{replayId}", path={"replayId": replay_id}).json


def halt(api: Api, event_id: int) -> None:
    model = api.read_models[items.name]
    model.commit(transitions.halt(model.load(STREAM).state, event_id, "ValueError: no", "2026-11-23T10:15:30.123Z"))


def post(api: Api, what: str, body: object = None, name: str = "test-items") -> Answer:
    return api.call(f"POST /projections/{{name}}/{what}", body, path={"name": name})


# -- replay --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body", [None, "", {}, {"streamId": TEST_STREAM, "fromEventId": 0}, {"projection": "test-items"}]
)
def test_a_replay_is_begun_done_and_reported(api: Api, body: object) -> None:
    api.given(created("1"), created("2"))
    answer = api.call("POST /triggerReplay", body)
    assert (answer.status, answer.json["state"]) == (202, "running")
    api.work()
    done = replay(api, answer.json["replayId"])
    assert (done["state"], done["eventsDone"], done["head"], done["kind"]) == ("done", 2, 1, "replay")
    assert done["finishedAt"] > done["startedAt"]
    assert api.call("GET /replays").json["replays"] == [{k: v for k, v in done.items() if k != "streams"}]


def test_a_job_that_expires_while_the_list_is_made_is_left_out_of_it(api: Api) -> None:
    class Expiring(MemoryReplayJobs):
        def recent(self, limit: int) -> Sequence[ReplayJob]:
            return [ReplayJob("gone", items.name, REPLAY, "2026-11-23T10:15:30.123Z"), *super().recent(limit)]

    api.jobs = Expiring()
    api.given(created("1"))
    replay_id = api.call("POST /triggerReplay").json["replayId"]

    answer = api.call("GET /replays")

    assert [job["replayId"] for job in answer.json["replays"]] == [replay_id]


def test_a_trigger_while_one_runs_answers_with_the_running_one(api: Api) -> None:
    api.given(created("1"))
    first, second = api.call("POST /triggerReplay"), api.call("POST /triggerReplay")
    assert first.json["replayId"] == second.json["replayId"]
    assert len(api.messages) == 1


@pytest.mark.parametrize(
    ("body", "places"),
    [
        ("null", {""}),
        ([], {""}),
        ("{", {""}),
        ({"streamId": "", "fromEventId": -1, "extra": 1}, {"/streamId", "/fromEventId", "/extra"}),
        ({"fromEventId": True}, {"/fromEventId"}),
        ({"fromEventId": 1.0}, {"/fromEventId"}),
        ({"fromEventId": "0"}, {"/fromEventId"}),
        ({"projection": "nothing"}, {"/projection"}),
        ({"projection": ["test-items"]}, {"/projection"}),
        ({"streamId": TEST_STREAM, "fromEventId": 99}, {"/fromEventId"}),
    ],
)
def test_a_bad_trigger_is_refused_with_every_fault(api: Api, body: object, places: set[str]) -> None:
    api.given(created("1"))
    answer = api.call("POST /triggerReplay", body)
    assert (answer.status, answer.places) == (400, places)
    assert not api.messages


def test_a_replay_of_an_unknown_stream_is_not_found(api: Api) -> None:
    assert api.call("POST /triggerReplay", {"streamId": "other"}).status == 404
    assert api.call("POST /triggerReplay", {"streamId": TEST_STREAM}).status == 404


@pytest.mark.parametrize("replay_id", ["nothing", "%C3%A4", "x" * 3000, "~YS9i"])
def test_an_unknown_replay_is_not_found(api: Api, replay_id: str) -> None:
    assert api.call("GET /replays/{replayId}", path={"replayId": replay_id}).status == 404


def test_an_oversized_trigger_is_refused(api: Api) -> None:
    assert api.call("POST /triggerReplay", " " * 100_000).status == 413


def test_a_rollback_needs_a_generation_to_go_back_to(api: Api) -> None:
    api.given(created("1"))
    assert post(api, "rollback").status == 409
    api.call("POST /triggerReplay")
    api.work()
    answer = post(api, "rollback", {"streamId": TEST_STREAM})
    assert (answer.status, answer.json["kind"]) == (202, "rollback")
    api.work()
    assert replay(api, answer.json["replayId"])["state"] == "done"


# -- recovery ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [None, {}, {"streamId": TEST_STREAM}])
def test_resume_sets_a_halted_stream_going_again(api: Api, body: object) -> None:
    api.given(created("1"), created("2"))
    halt(api, 2)
    answer = post(api, "resume", body)
    assert answer.status == 202
    assert answer.json == {"projection": "test-items", "streams": [{"streamId": TEST_STREAM, "eventId": 2}]}
    assert api.triggered == [("test-items", STREAM, 1)]
    assert not api.read_models[items.name].load(STREAM).state.is_halted


def test_resume_of_what_is_not_halted_changes_nothing(api: Api) -> None:
    api.given(created("1"))
    assert post(api, "resume").json["streams"] == []
    assert post(api, "resume", {"streamId": TEST_STREAM}).status == 409
    assert not api.triggered


def test_skip_steps_over_the_halted_event_and_no_other(api: Api) -> None:
    api.given(created("1"))
    halt(api, 1)
    wrong = post(api, "skip", {"streamId": TEST_STREAM, "eventId": 0})
    assert (wrong.status, wrong.json["eventId"]) == (409, 1)
    answer = post(api, "skip", {"streamId": TEST_STREAM, "eventId": 1})
    assert answer.json == {"projection": "test-items", "streamId": TEST_STREAM, "eventId": 1, "checkpoint": 1}
    assert list(api.read_models[items.name].load(STREAM).state.skipped) == ["1"]
    assert post(api, "skip", {"streamId": TEST_STREAM, "eventId": 1}).status == 409
    assert len(api.triggered) == 1


def test_skip_says_what_it_lacks(api: Api) -> None:
    assert post(api, "skip").places == {"/streamId", "/eventId"}
    assert post(api, "skip", {"streamId": 5, "eventId": -1, "x": 1}).places == {"/streamId", "/eventId", "/x"}


@pytest.mark.parametrize("what", ["resume", "skip", "rollback"])
def test_unknown_projections_and_streams_are_not_found(api: Api, what: str) -> None:
    body: dict[str, Any] = {"streamId": "other"} | ({"eventId": 0} if what == "skip" else {})
    assert post(api, what, body, name="nothing").status == 404
    assert post(api, what, body).status == 404


@pytest.mark.parametrize(("what", "status"), [("resume", 202), ("skip", 200)])
def test_a_change_whose_answer_was_lost_on_the_way_was_made_once_and_triggers(api: Api, what: str, status: int) -> None:
    # given a halted stream, and a boto3 that repeats a change that took effect already
    api.given(created("1"))
    halt(api, 1)
    inner = api.read_models[items.name]
    api.read_models[items.name] = Interrupted(inner).after("commit", _repeated)  # type: ignore[assignment]

    answer = post(api, what, {"streamId": TEST_STREAM} | ({"eventId": 1} if what == "skip" else {}))

    assert answer.status == status
    assert len(api.triggered) == 1
    assert not inner.load(STREAM).state.is_halted


def _repeated() -> None:
    raise OutdatedError("the condition does not hold any more: the change is there")
