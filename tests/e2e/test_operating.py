"""The operator's day on a deployed stack: a poison event, what it looks like, and how to recover."""

from __future__ import annotations

import json
import subprocess
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from handlers.core.clock import rfc3339
from handlers.core.events import Event, EventId, StreamId
from handlers.store.items import event_item
from tests.e2e.support import Stack, wait_until

PROJECTION = "test-items"
# The projector shortens the delay of retries to 2, 4 and 8 seconds; a message is dead after three deliveries.
DEAD_WITHIN_S = 60


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack of these tests' own: a poison event in the shared one would halt the others' stream."""
    stack = Stack(tmp_path_factory.mktemp("clinic"))
    try:
        stack.deploy()
        yield stack
    finally:
        stack.stop()


def status(stack: Stack) -> Any:
    return stack.esctl("status", "-o", "json").json


def stream_of(stack: Stack) -> dict[str, Any]:
    """How the projected stream stands."""
    [stream] = stack.esctl("projections", "-o", "json").ok().json["streams"]
    found: dict[str, Any] = stream
    return found


def poison(stack: Stack) -> int:
    """Write an event past the API: an item without an amount, which the API would have refused."""
    event_id = int(stream_of(stack)["head"]) + 1
    event = Event(
        StreamId(stack.projected_stream),
        EventId(event_id),
        "ITEM_CREATED",
        '{"itemId":"poison"}',
        rfc3339(datetime.now(UTC)),
    )
    stack.client("dynamodb").put_item(
        TableName=stack.outputs["EventsTable"],
        Item=event_item(event, uuid.uuid4().hex),
        ConditionExpression="attribute_not_exists(eventId)",
    )
    return event_id


def create_item(stack: Stack) -> tuple[str, int]:
    item = stack.fresh_item()
    return item, stack.append(stack.projected_stream, "ITEM_CREATED", {"itemId": item, "amount": 1})


def halted_at(stack: Stack) -> int | None:
    halted = stream_of(stack)["halted"]
    return None if halted is None else int(halted["eventId"])


def dead_letters(stack: Stack) -> list[Any]:
    queues = stack.esctl("dead-letters", PROJECTION, "-o", "json").ok().json
    letters: list[Any] = queues[0]["letters"]
    return letters


@pytest.fixture
def halted(clinic: Stack) -> Iterator[int]:
    """The stream stands before a poison event, whose message is a dead letter, and an item waits behind it."""
    event_id = poison(clinic)
    wait_until(lambda: halted_at(clinic) == event_id, "the stream halts")
    wait_until(lambda: len(dead_letters(clinic)) == 1, "the dead letter", timeout_s=DEAD_WITHIN_S)
    yield event_id
    if halted_at(clinic) is not None:
        where = ("--stream-id", clinic.projected_stream, "--event-id", str(halted_at(clinic)))
        clinic.esctl("projections", "skip", PROJECTION, *where, "--yes").ok()
    clinic.esctl("dead-letters", "purge", PROJECTION, "--yes").ok()


def test_a_healthy_stack_has_status_zero(clinic: Stack) -> None:
    item, _ = create_item(clinic)
    clinic.wait_for_item(item, 1)

    found = clinic.esctl("status", "-o", "json").ok().json

    assert found["healthy"] is True
    assert found["api"]["ok"] is True
    assert found["stackStatus"] == "CREATE_COMPLETE"
    [stream] = found["streams"]
    assert (stream["state"], stream["lag"]) == ("live", 0)
    assert {queue["name"]: queue["deadLetters"] for queue in found["queues"]} == {
        "test-items": 0,
        "replays": 0,
        "publisher": 0,
    }
    assert next(each for each in found["functions"] if each["name"] == "AddEvent")["invocations"] >= 1


def test_a_poison_event_halts_its_stream_and_becomes_one_dead_letter(clinic: Stack, halted: int) -> None:
    # when more events come, they are stored, and their messages are acknowledged unread
    item, event_id = create_item(clinic)
    wait_until(lambda: stream_of(clinic)["head"] == event_id, "the event is stored")
    wait_until(lambda: all(not each["waiting"] for each in status(clinic)["queues"]), "nothing piles up")

    result = clinic.esctl("status")

    assert result.exit_code == 7
    assert f"halted at {halted}" in result.stdout
    assert "KeyError: 'amount'" in result.stderr
    assert "1 dead letter of test-items" in result.stderr
    [letter] = dead_letters(clinic)
    assert (letter["streamId"], letter["eventId"]) == (clinic.projected_stream, halted)
    assert "KeyError: 'amount'" in letter["why"]
    assert item not in clinic.items()


def test_skipping_goes_on_without_the_event_and_redriving_deletes_the_letter(clinic: Stack, halted: int) -> None:
    item, event_id = create_item(clinic)
    where = ("--stream-id", clinic.projected_stream, "--event-id", str(halted))

    skipped = clinic.esctl("projections", "skip", PROJECTION, *where, "--yes").ok()
    redriven = clinic.esctl("dead-letters", "redrive", "-o", "json").ok().json

    assert f"event {halted}" in skipped.stdout
    assert clinic.items()[item] == 1
    assert stream_of(clinic)["checkpoint"] >= event_id
    assert stream_of(clinic)["skipped"] >= 1
    assert next(each for each in redriven if each["queue"] == PROJECTION)["done"] >= 1
    assert clinic.esctl("status").exit_code == 0
    assert clinic.esctl("doctor").exit_code == 0


def test_resuming_before_the_cause_is_fixed_halts_again(clinic: Stack, halted: int) -> None:
    result = clinic.esctl("projections", "resume", PROJECTION)

    assert result.exit_code == 7
    assert f"halted at event {halted}" in result.stderr
    assert f"--event-id {halted}" in result.stderr


def test_redriving_recovers_what_was_fixed_meanwhile(clinic: Stack, halted: int) -> None:
    """The event's data is corrected in the table (as nobody should, but a new handler can't be deployed here)."""
    key = {"streamId": {"S": clinic.projected_stream}, "eventId": {"N": str(halted)}}
    kept = clinic.esctl("dead-letters", "redrive")
    assert kept.exit_code == 7
    assert "halted again" in kept.stderr
    clinic.client("dynamodb").update_item(
        TableName=clinic.outputs["EventsTable"],
        Key=key,
        UpdateExpression="SET #data = :data",
        ExpressionAttributeNames={"#data": "data"},
        ExpressionAttributeValues={":data": {"S": '{"itemId":"repaired","amount":3}'}},
    )

    clinic.esctl("dead-letters", "redrive").ok()

    assert clinic.items()["repaired"] == 3
    assert halted_at(clinic) is None
    wait_until(lambda: dead_letters(clinic) == [] or _redriven(clinic), "no letter is left")


def _redriven(stack: Stack) -> bool:
    """The previous attempt's trigger may have become another dead letter meanwhile."""
    return stack.esctl("dead-letters", "redrive").exit_code == 0


def test_skipping_an_event_that_is_not_the_halted_one_is_a_conflict(clinic: Stack) -> None:
    where = ("--stream-id", clinic.projected_stream, "--event-id", "0")

    result = clinic.esctl("projections", "skip", PROJECTION, *where, "--yes")

    assert result.exit_code == 5
    assert "not halted" in result.stderr


def test_recovery_asks_before_it_skips_or_purges(clinic: Stack) -> None:
    where = ("--stream-id", clinic.projected_stream, "--event-id", "0")

    assert clinic.esctl("projections", "skip", PROJECTION, *where).exit_code == 2


def test_letters_of_the_replay_queue_are_sent_again(clinic: Stack) -> None:
    create_item(clinic)
    replay = clinic.api("POST", "/triggerReplay", {}).body
    body = {"projection": PROJECTION, "replayId": replay["replayId"], "streamId": clinic.projected_stream}
    unique = uuid.uuid4().hex
    clinic.client("sqs").send_message(
        QueueUrl=clinic.outputs["ReplayDeadLetterQueueUrl"],
        MessageBody=json.dumps(body),
        MessageGroupId=unique,
        MessageDeduplicationId=unique,
    )
    assert "send again" in clinic.esctl("dead-letters", "redrive", "replays", "--dry-run").ok().stdout

    [redriven] = clinic.esctl("dead-letters", "redrive", "replays", "-o", "json").ok().json

    assert (redriven["done"], redriven["kept"]) == (1, [])
    wait_until(lambda: clinic.api("GET", f"/replays/{replay['replayId']}").body["state"] == "done", "the replay ends")


def test_what_the_publisher_could_not_announce_is_found_by_reconciling(clinic: Stack) -> None:
    batch = {"DDBStreamBatchInfo": {"batchSize": 2}, "requestContext": {"condition": "RetryAttemptsExhausted"}}
    clinic.client("sqs").send_message(QueueUrl=clinic.outputs["FailureQueueUrl"], MessageBody=json.dumps(batch))
    listed = clinic.esctl("dead-letters").ok()
    assert "2 events" in listed.stdout
    assert "RetryAttemptsExhausted" in listed.stdout

    clinic.esctl("dead-letters", "redrive", "publisher").ok()

    assert clinic.esctl("dead-letters", "publisher", "-o", "json").json[0]["count"] == 0


def test_purging_deletes_and_nothing_else(clinic: Stack) -> None:
    clinic.client("sqs").send_message(QueueUrl=clinic.outputs["FailureQueueUrl"], MessageBody="nonsense")
    [queue] = clinic.esctl("dead-letters", "publisher", "-o", "json").ok().json
    letter = queue["letters"][0]
    assert "nonsense" in clinic.esctl("dead-letters", "show", letter["id"][:8]).ok().stdout

    purged = clinic.esctl("dead-letters", "purge", "publisher", "--yes", "-o", "json").ok().json

    assert purged == {"queue": "publisher", "deleted": 1}


def test_an_event_is_followed_from_the_api_to_the_read_model(clinic: Stack) -> None:
    item, event_id = create_item(clinic)
    clinic.wait_for_item(item, 1)

    trace = clinic.esctl("tail-logs", "--event", str(event_id), "--trace", "-o", "json").ok().json

    assert trace["complete"] is True
    assert trace["projected"] == [PROJECTION]
    where = [step["where"] for step in trace["steps"]]
    assert where[0] == "AddEvent"
    assert where.index("Publisher") < where.index("ProjectorTestItems")
    assert all(step["sinceFirstMs"] >= 0 for step in trace["steps"])


def test_logs_of_one_event_name_the_same_correlation_id_in_every_function(clinic: Stack) -> None:
    item = clinic.fresh_item()
    event = {"itemId": item, "amount": 1}
    clinic.append(clinic.projected_stream, "ITEM_CREATED", event, metadata={"correlationId": f"corr-{item}"})
    clinic.wait_for_item(item, 1)

    def functions() -> set[str]:
        lines = clinic.esctl("tail-logs", "--request-id", f"corr-{item}", "-o", "json").ok().json
        return {line["function"] for line in lines}

    wait_until(lambda: functions() >= {"AddEvent", "Publisher", "ProjectorTestItems"}, "every function's lines")


def test_following_the_logs_misses_nothing_and_repeats_nothing(clinic: Stack) -> None:
    following = clinic.popen("tail-logs", "-f", "--filter", "followed", "--since", "1s", "-o", "jsonl")
    try:
        assert following.stderr is not None
        assert "Tailing" in following.stderr.readline()
        streams = [f"followed-{uuid.uuid4().hex[:8]}" for _ in range(12)]
        for stream in streams:
            clinic.append(stream, "OTHER", {})
        seen: list[str] = []
        assert following.stdout is not None
        while len(seen) < 2 * len(streams):  # one line of the append and one of the publisher each
            line = json.loads(following.stdout.readline())
            if line["kind"] == "log":
                seen.append(f"{line['function']} {line['fields']['streamId']}")
    finally:
        following.terminate()
        following.communicate(timeout=10)

    assert sorted(seen) == sorted(f"{name} {stream}" for name in ("AddEvent", "Publisher") for stream in streams)


def test_ctrl_c_ends_a_watch_at_once(clinic: Stack) -> None:
    import signal

    watching = clinic.popen("status", "--watch", "-o", "jsonl")
    assert watching.stdout is not None
    assert json.loads(watching.stdout.readline())["healthy"] in (True, False)

    watching.send_signal(signal.SIGINT)

    try:
        assert watching.wait(timeout=10) == 130
    except subprocess.TimeoutExpired:
        watching.kill()
        raise


def test_doctor_finds_a_read_model_that_was_tampered_with(clinic: Stack) -> None:
    item, _ = create_item(clinic)
    clinic.wait_for_item(item, 1)
    clinic.change_row(item, None)

    ill = clinic.esctl("doctor", "--read-only")
    clinic.esctl("replay").ok()
    healed = clinic.esctl("doctor", "--read-only")

    assert ill.exit_code == 7
    assert item in ill.stdout
    assert "esctl replay" in ill.stderr
    assert healed.exit_code == 0
