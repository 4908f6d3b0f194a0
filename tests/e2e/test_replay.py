"""Replays of the deployed stack: healing, rolling back, failing, following, and what is refused."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.e2e.support import Stack

NOBODY = "00000000-0000-4000-8000-000000000000"


def given_items(stack: Stack, *amounts: int) -> list[str]:
    """Items of a test's own, in the read model."""
    names = [stack.fresh_item() for _ in amounts]
    for name, amount in zip(names, amounts, strict=True):
        stack.append(stack.projected_stream, "ITEM_CREATED", {"itemId": name, "amount": amount})
    stack.wait_for_item(names[-1], amounts[-1])
    return names


# -- healing -------------------------------------------------------------------------------------------------------------


def test_a_replay_heals_what_was_done_to_the_read_model(stack: Stack) -> None:
    lost, wrong, right = given_items(stack, 1, 2, 3)
    stray = stack.fresh_item()
    stack.change_row(lost, None)
    stack.change_row(wrong, 99)
    stack.change_row(stray, 7)
    audit = stack.esctl("replay", "--dry-run", "-o", "json")
    assert audit.exit_code == 7
    assert {each["itemId"] for each in audit.json["streams"][0]["differences"]} == {lost, wrong, stray}

    replayed = stack.esctl("replay", "-o", "json").ok().json

    items = stack.items()
    assert (items[lost], items[wrong], items[right]) == (1, 2, 3)
    assert stray not in items
    assert {each["itemId"] for each in replayed["differences"]} == {lost, wrong, stray}
    assert stack.esctl("replay", "--dry-run").exit_code == 0


def test_live_events_go_on_after_a_replay(stack: Stack) -> None:
    [item] = given_items(stack, 1)
    stack.esctl("replay").ok()

    stack.append(stack.projected_stream, "ITEM_AMOUNT_CHANGED", {"itemId": item, "amount": 2})

    stack.wait_for_item(item, 2)


# -- two at a time, one after the other ------------------------------------------------------------------------------


def test_two_replays_one_right_after_the_other_both_run(stack: Stack) -> None:
    given_items(stack, 1)

    first = stack.api("POST", "/triggerReplay", {}).body["replayId"]
    one = stack.ended(first)
    second = stack.api("POST", "/triggerReplay", {"streamId": stack.projected_stream, "fromEventId": 0}).body[
        "replayId"
    ]
    two = stack.ended(second)

    assert first != second
    assert (one["state"], two["state"]) == ("done", "done")
    assert one["eventsDone"] == two["eventsDone"] == one["head"] + 1
    listed = [each["replayId"] for each in stack.esctl("replays", "-o", "json").ok().json["replays"]]
    assert listed[:2] == [second, first]


def test_a_trigger_while_one_runs_answers_with_the_running_one(stack: Stack) -> None:
    given_items(stack, 1)
    with stack.replays_held():
        first = stack.api("POST", "/triggerReplay", {})
        second = stack.api("POST", "/triggerReplay", {})
        followed = stack.popen("replay", "-o", "json")

    assert (first.status, second.status) == (202, 202)
    assert first.body["replayId"] == second.body["replayId"]
    out, _ = followed.communicate(timeout=60)
    assert followed.returncode == 0
    assert first.body["replayId"] in out or stack.ended(first.body["replayId"])["state"] == "done"


# -- failing -------------------------------------------------------------------------------------------------------------


@contextmanager
def unfoldable(stack: Stack, event_id: int) -> Iterator[None]:
    """An event that was applied long ago can't be folded any more: its amount is gone."""
    table, key = (
        stack.outputs["EventsTable"],
        {"streamId": {"S": stack.projected_stream}, "eventId": {"N": str(event_id)}},
    )
    client = stack.client("dynamodb")
    before = client.get_item(TableName=table, Key=key, ConsistentRead=True)["Item"]
    client.put_item(TableName=table, Item=before | {"data": {"S": '{"itemId":"broken"}'}})
    try:
        yield
    finally:
        client.put_item(TableName=table, Item=before)


def test_a_replay_that_fails_leaves_the_old_read_model_serving_and_updated(stack: Stack) -> None:
    [item] = given_items(stack, 1)
    broken = stack.append(stack.projected_stream, "ITEM_CREATED", {"itemId": stack.fresh_item(), "amount": 5})
    last = stack.append(stack.projected_stream, "ITEM_AMOUNT_CHANGED", {"itemId": item, "amount": 2})
    stack.wait_for_item(item, 2)
    before = stack.items()

    with unfoldable(stack, broken):
        result = stack.esctl("replay")
        failed = stack.ended(stack.esctl("replays", "-o", "json").ok().json["replays"][0]["replayId"])
        served = stack.items()
        stack.append(stack.projected_stream, "ITEM_AMOUNT_CHANGED", {"itemId": item, "amount": 3})
        stack.wait_for_item(item, 3)

    assert result.exit_code == 1
    assert f"event {broken} of stream {stack.projected_stream}: KeyError" in result.stderr
    assert failed["state"] == "failed"
    assert failed["error"] == {"streamId": stack.projected_stream, "eventId": broken, "error": "KeyError: 'amount'"}
    assert failed["head"] >= last
    assert served == before
    assert stack.esctl("replay").exit_code == 0  # repaired


# -- back ----------------------------------------------------------------------------------------------------------------


def test_a_rollback_goes_back_to_the_generation_before_and_catches_up(stack: Stack) -> None:
    wrong, right = given_items(stack, 1, 2)
    stack.change_row(wrong, 99)
    stack.esctl("replay").ok()
    stack.append(stack.projected_stream, "ITEM_AMOUNT_CHANGED", {"itemId": right, "amount": 3})
    stack.wait_for_item(right, 3)

    back = stack.esctl("replay", "--rollback", "-o", "json").ok().json

    items = stack.items()
    assert (back["kind"], back["state"]) == ("rollback", "done")
    assert (items[wrong], items[right]) == (99, 3)
    stack.esctl("replay").ok()
    assert stack.items()[wrong] == 1


def test_a_replay_from_an_event_repairs_what_came_after_it(stack: Stack) -> None:
    early, late = given_items(stack, 1, 2)
    stack.change_row(early, 98)
    stack.change_row(late, 99)
    head = stack.events(stack.projected_stream)[-1]["eventId"]

    done = stack.esctl("replay", "--from-event-id", str(head), "-o", "json").ok().json

    items = stack.items()
    assert (done["kind"], done["state"], done["eventsDone"]) == ("rewind", "done", 1)
    assert (items[early], items[late]) == (98, 2)
    stack.esctl("replay").ok()
    assert stack.items()[early] == 1


# -- following -----------------------------------------------------------------------------------------------------------


def test_interrupting_leaves_the_replay_running(stack: Stack) -> None:
    given_items(stack, 1)
    with stack.replays_held():
        watched = stack.popen("replay")
        assert watched.stderr is not None
        assert "replay of test-items" in watched.stderr.readline()
        running = stack.esctl("replays", "-o", "json").ok().json["replays"][0]
        watched.send_signal(signal.SIGINT)
        _, told = watched.communicate(timeout=60)

    assert watched.returncode == 130
    assert "esctl replays" in told
    assert running["state"] in ("running", "switching")
    assert stack.ended(running["replayId"])["state"] == "done"


def test_what_does_not_exist_is_not_found(stack: Stack) -> None:
    given_items(stack, 1)

    assert stack.api("GET", f"/replays/{NOBODY}").status == 404
    assert stack.api("POST", "/triggerReplay", {"streamId": stack.fresh_stream()}).status == 404
    assert stack.esctl("replays", NOBODY).exit_code == 3
    assert stack.esctl("replay", "--stream-id", stack.fresh_stream()).exit_code == 3


# -- time travel ---------------------------------------------------------------------------------------------------------


def test_as_of_is_the_read_model_as_it_was(stack: Stack) -> None:
    item = stack.fresh_item()
    created = stack.append(stack.projected_stream, "ITEM_CREATED", {"itemId": item, "amount": 225})
    changed = stack.append(stack.projected_stream, "ITEM_AMOUNT_CHANGED", {"itemId": item, "amount": 500})
    deleted = stack.append(stack.projected_stream, "ITEM_DELETED", {"itemId": item})
    stack.wait_for_item(item, None)
    at = stack.events(stack.projected_stream)[changed]["timeStamp"]

    def amount(as_of: str) -> Any:
        document = stack.esctl("list", "--as-of", as_of, "-o", "json").ok().json
        return {each["itemId"]: each["amount"] for each in document["items"]}.get(item)

    assert [amount(str(event_id)) for event_id in (created - 1, created, changed, deleted)] == [None, 225, 500, None]
    assert amount(at) in (500, None)  # within the same millisecond the deletion counts
    assert stack.esctl("list", "--as-of", str(deleted + 1_000_000)).exit_code == 3


# -- another fold --------------------------------------------------------------------------------------------------------


def built_by_another_fold(stack: Stack) -> None:
    stack.client("dynamodb").update_item(
        TableName=stack.outputs["StatesTable"],
        Key={"pk": {"S": "test-items"}, "sk": {"S": "control"}},
        UpdateExpression="SET fingerprint = :other",
        ExpressionAttributeValues={":other": {"S": "0123456789abcdef"}},
    )


@pytest.mark.timeout(240)
def test_deploy_notices_another_fold_and_replays_when_asked_to(stack: Stack) -> None:
    given_items(stack, 1)
    assert "code of test-items" not in stack.esctl("deploy", "--local", "--yes").ok().stderr
    built_by_another_fold(stack)

    noticed = stack.esctl("deploy", "--local", "--yes").ok()
    replayed = stack.esctl("deploy", "--local", "--yes", "--replay").ok()
    after = stack.esctl("deploy", "--local", "--yes").ok()

    assert "the code of test-items has changed" in noticed.stderr
    assert "esctl replay" in noticed.stderr
    assert "replayed test-items" in replayed.stderr
    assert "code of test-items" not in after.stderr
