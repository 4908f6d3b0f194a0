"""Asking for replays and rollbacks, seeing how far they are, and recovering halted streams."""

from __future__ import annotations

from typing import Any

import pytest

from handlers.core.events import StreamId
from handlers.domain.items import TEST_STREAM, items
from handlers.projection import Projection, transitions
from handlers.projection.port import OutdatedError
from handlers.projection.state import StreamState
from tests.support.ports import Interrupted
from tests.unit.api.driver import Answer, Api

NAME = {"name": "test-items"}
STREAM = StreamId(TEST_STREAM)
AT = "2026-11-23T10:15:30.123Z"


def created(item_id: str) -> tuple[str, dict[str, Any]]:
    return "ITEM_CREATED", {"itemId": item_id, "amount": 1}


def replay(api: Api, replay_id: str) -> Any:
    return api.call("GET /replays/{replayId}", path={"replayId": replay_id}).json


def halt(api: Api, event_id: int) -> None:
    api.commit(transitions.halt(api.state(), event_id, "ValueError: no", AT))


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
    assert (done["segments"], done["events"], done["generation"]) == ({"done": 2, "total": 2}, 2, 1)
    assert api.call("GET /replays").json["replays"] == [done]


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
    api.replay()
    answer = post(api, "rollback", {"streamId": TEST_STREAM})
    assert (answer.status, answer.json["kind"]) == (202, "rollback")
    api.work()
    assert replay(api, answer.json["replayId"])["state"] == "done"


def test_a_running_replay_is_cancelled_and_the_rows_stay(api: Api) -> None:
    api.given(created("1"))
    replay_id = api.call("POST /triggerReplay").json["replayId"]

    answer = cancel(api, replay_id)

    assert (answer.status, answer.json["state"]) == (200, "cancelled")
    api.work()
    assert replay(api, replay_id) == answer.json
    assert [row["itemId"] for row in api.call("GET /listTestItems").json["items"]] == ["1"]
    assert cancel(api, replay_id).status == 409
    assert cancel(api, "nothing").status == 404


def cancel(api: Api, replay_id: str) -> Answer:
    return api.call("POST /replays/{replayId}/cancel", path={"replayId": replay_id})


def test_a_rollback_of_one_of_several_streams_is_refused() -> None:
    api = Api(projections={"all": Projection("all", key="k", streams=["a", "b"])})
    answer = post(api, "rollback", {"streamId": "a"}, name="all")
    assert (answer.status, answer.places) == (400, {"/streamId"})
    assert post(api, "rollback", {"streamId": "c"}, name="all").status == 404


# -- recovery ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [None, {}, {"streamId": TEST_STREAM}])
def test_resume_sets_a_halted_stream_going_again(api: Api, body: object) -> None:
    api.given(created("1"), created("2"))
    halt(api, 2)
    answer = post(api, "resume", body)
    assert answer.status == 202
    assert answer.json == {"projection": "test-items", "streams": [{"streamId": TEST_STREAM, "eventId": 2}]}
    assert api.triggered == [("test-items", STREAM, 1)]
    assert not api.state().is_halted


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
    assert list(api.state().skipped) == ["1"]
    assert post(api, "skip", {"streamId": TEST_STREAM, "eventId": 1}).status == 409
    assert len(api.triggered) == 1


def test_skip_says_what_it_lacks(api: Api) -> None:
    assert post(api, "skip").places == {"/streamId", "/eventId"}
    assert post(api, "skip", {"streamId": 5, "eventId": -1, "x": 1}).places == {"/streamId", "/eventId", "/x"}


def test_an_event_is_not_skipped_while_a_replay_is_ahead(api: Api) -> None:
    # given a halted stream that a replay has joined
    api.given(created("1"))
    replay_id = api.call("POST /triggerReplay").json["replayId"]
    api.commit(transitions.follow(api.state(), StreamState(STREAM, 1, checkpoint=0)))
    halt(api, 1)

    # then the replay must be ended first
    answer = post(api, "skip", {"streamId": TEST_STREAM, "eventId": 1})
    assert (answer.status, answer.json["replayId"]) == (409, replay_id)
    assert replay_id in answer.json["detail"]
    assert not api.triggered
    cancel(api, replay_id)
    assert post(api, "skip", {"streamId": TEST_STREAM, "eventId": 1}).status == 200
    assert (api.state().checkpoint, api.state().ahead) == (1, None)


def test_many_halted_streams_are_resumed_a_hundred_at_a_time() -> None:
    api = Api(projections={"all": Projection("all", key="k")})
    for number in range(250):
        halted = transitions.halt(StreamState(StreamId(f"s{number:03}"), 0), 0, "ValueError: no", AT)
        api.commit(halted, name="all")

    answers = [post(api, "resume", name="all").json for _ in range(4)]

    assert [len(answer["streams"]) for answer in answers] == [100, 100, 50, 0]
    assert [answer.get("more", False) for answer in answers] == [True, True, False, False]
    assert len({stream for _, stream, _ in api.triggered}) == 250


def test_streams_of_the_active_generation_are_resumed(api: Api) -> None:
    api.given(created("1"))
    halt(api, 1)
    api.replay()
    assert post(api, "resume").json["streams"] == []
    halt(api, 1)
    assert len(post(api, "resume").json["streams"]) == 1


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
    assert not api.state().is_halted


def _repeated() -> None:
    raise OutdatedError("the condition does not hold any more: the change is there")
