"""What the event store promises, through the deployed API: concurrent writers, versions, large events, metadata."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from handlers.core.lossless_json import dumps
from handlers.store import limits
from tests.e2e.support import Answer, Stack, wait_until

WRITERS, EACH = 16, 50
# "No writer is refused for conflicts alone within a few seconds."
PATIENCE_S = 5.0


def padded(size_bytes: int) -> dict[str, Any]:
    """Data of exactly so many bytes as JSON."""
    empty = len(dumps({"text": ""}).encode())
    return {"text": "x" * (size_bytes - empty)}


def data_bytes_left(stream_id: str, event_type: str, metadata: dict[str, Any]) -> int:
    """How large the data of an event may be."""
    rest = sum(len(text.encode()) for text in (stream_id, event_type, dumps(metadata)))
    return limits.MAX_EVENT_BYTES - limits._ITEM_OVERHEAD_BYTES - rest


# 74 to 127 seconds on two cores that did much else at the same time (load 4 to 9).
@pytest.mark.timeout(600)
def test_16_writers_on_one_stream_leave_no_gap_and_no_double(stack: Stack) -> None:
    stream = stack.fresh_stream()
    answers: dict[str, Answer] = {}

    def patiently(event: dict[str, Any]) -> Answer:
        """Append; whoever is refused after some seconds may try again, whoever is refused sooner has lost."""
        while True:
            started = time.monotonic()
            answer = stack.api("POST", "/addEvent", event)
            if answer.status != 503 or time.monotonic() - started < PATIENCE_S:
                return answer

    def write(writer: int) -> None:
        for number in range(EACH):
            mark = f"{writer}-{number}"
            answers[mark] = patiently({"streamId": stream, "type": "MARKED", "data": {"mark": mark}})

    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(write, range(WRITERS)))

    assert Counter(answer.status for answer in answers.values()) == {201: WRITERS * EACH}
    events = stack.events(stream)
    assert [event["eventId"] for event in events] == list(range(WRITERS * EACH))
    assert {event["data"]["mark"]: event["eventId"] for event in events} == {
        mark: answer.body["eventId"] for mark, answer in answers.items()
    }
    for writer in range(WRITERS):
        own = [event["data"]["mark"] for event in events if event["data"]["mark"].startswith(f"{writer}-")]
        assert own == [f"{writer}-{number}" for number in range(EACH)]


def test_an_expected_version_beyond_the_head_makes_no_gap(stack: Stack) -> None:
    stream = stack.fresh_stream()
    event = {"streamId": stream, "type": "PING", "data": {}}

    new = stack.api("POST", "/addEvent", {**event, "expectedVersion": 3})
    stack.append(stream, "PING", {}, expectedVersion=-1)
    beyond = stack.api("POST", "/addEvent", {**event, "expectedVersion": 1})
    behind = stack.api("POST", "/addEvent", {**event, "expectedVersion": -1})

    assert (new.status, new.body["head"]) == (409, -1)
    assert (beyond.status, beyond.body["head"]) == (409, 0)
    assert (behind.status, behind.body["head"]) == (409, 0)
    assert [event["eventId"] for event in stack.events(stream)] == [0]


def test_of_writers_who_expect_the_same_version_one_wins(stack: Stack) -> None:
    stream = stack.fresh_stream()
    event = {"streamId": stream, "type": "PING", "data": {}, "expectedVersion": -1}

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: stack.api("POST", "/addEvent", event).status, range(8)))

    assert Counter(answers) == {201: 1, 409: 7}


def test_a_repeat_answers_the_same_and_stores_nothing(stack: Stack) -> None:
    stream = stack.fresh_stream()
    event = {"streamId": stream, "type": "PING", "data": {"n": 1}}
    key = {"Idempotency-Key": f"key-{stream}"}

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: stack.api("POST", "/addEvent", event, key), range(8)))
    other = stack.api("POST", "/addEvent", {**event, "data": {"n": 2}}, key)

    assert {dumps(answer.body) for answer in answers} == {dumps(answers[0].body)}
    assert Counter(answer.headers.get("idempotent-replayed") for answer in answers) == {"true": 7, None: 1}
    assert other.status == 422
    assert len(stack.events(stream)) == 1


def test_events_of_several_streams_are_stored_together_or_not_at_all(stack: Stack) -> None:
    one, two = stack.fresh_stream(), stack.fresh_stream()
    events = [
        {"streamId": one, "type": "PING", "data": {}, "expectedVersion": -1},
        {"streamId": two, "type": "PING", "data": {}, "expectedVersion": 7},
    ]

    refused = stack.api("POST", "/addEvents", {"events": events})
    events[1]["expectedVersion"] = -1
    stored = stack.api("POST", "/addEvents", {"events": events})

    assert (refused.status, refused.body["streamId"]) == (409, two)
    assert stored.status == 201
    assert (len(stack.events(one)), len(stack.events(two))) == (1, 1)


def test_a_large_event_passes_the_whole_pipeline(stack: Stack) -> None:
    large, small = stack.fresh_item(), stack.fresh_item()
    data = {"itemId": large, "amount": 1, "note": "x" * 300_000}

    at = stack.append(stack.projected_stream, "ITEM_CREATED", data)
    stack.append(stack.projected_stream, "ITEM_CREATED", {"itemId": small, "amount": 2})

    stack.wait_for_item(large, 1)
    stack.wait_for_item(small, 2)
    page = stack.api("GET", f"/streams/{stack.projected_stream}/events?from={at}&limit=1")
    assert page.body["events"][0]["data"] == data


def test_large_events_elsewhere_hold_nothing_up(stack: Stack) -> None:
    other, item = stack.fresh_stream(), stack.fresh_item()
    for _ in range(5):
        stack.append(other, "BLOB", padded(300_000))

    stack.append(stack.projected_stream, "ITEM_CREATED", {"itemId": item, "amount": 3})

    stack.wait_for_item(item, 3)
    assert len(stack.events(other)) == 5


def test_at_the_limit_an_event_is_stored_and_above_it_refused_with_both_sizes(stack: Stack) -> None:
    stream, metadata = stack.fresh_stream(), {"correlationId": "c-1"}
    most = data_bytes_left(stream, "BLOB", metadata)
    # With an actor the caller's identity would be added; here nobody signs.
    event = {"streamId": stream, "type": "BLOB", "metadata": metadata}

    above = stack.api("POST", "/addEvent", {**event, "data": padded(most + 1)})
    unborn = stack.events(stream)
    at = stack.api("POST", "/addEvent", {**event, "data": padded(most)})

    assert above.status == 413
    assert (above.body["size"], above.body["limit"]) == (limits.MAX_EVENT_BYTES + 1, limits.MAX_EVENT_BYTES)
    assert unborn == []
    assert at.status == 201
    assert stack.events(stream)[0]["data"] == padded(most)


def test_a_refused_event_stores_nothing_of_its_call(stack: Stack) -> None:
    stream = stack.fresh_stream()
    events = [
        {"streamId": stream, "type": "PING", "data": {}},
        {"streamId": stream, "type": "BLOB", "data": padded(410_000)},
    ]

    answer = stack.api("POST", "/addEvents", {"events": events})

    assert answer.status == 413
    assert "event 1" in answer.body["detail"]
    assert stack.events(stream) == []


def test_metadata_is_completed_and_shown(stack: Stack) -> None:
    stream = stack.fresh_stream()
    stack.append(stream, "PING", {})
    stack.append(stream, "PING", {"n": 1}, metadata={"correlationId": "c-1", "causationId": "e-7"})

    first, second = stack.events(stream)
    shown = stack.esctl("events", stream).ok().stdout

    assert len(first["metadata"]["correlationId"]) >= 16
    assert second["metadata"] == {"correlationId": "c-1", "causationId": "e-7"}
    assert f"correlationId {first['metadata']['correlationId']}" in shown
    assert "correlationId c-1 · causationId e-7" in shown


def test_a_new_stream_is_listed_and_its_events_are_followed(stack: Stack) -> None:
    stream = stack.fresh_stream()
    following = stack.popen("events", stream, "--follow", "--limit", "2", "--interval", "0.1", "-o", "jsonl")
    try:
        stack.append(stream, "PING", {"n": 1})
        wait_until(lambda: stream in stack.esctl("streams").ok().stdout.split(), f"stream {stream} in the list")
        stack.append(stream, "PING", {"n": 2})
        out, _ = following.communicate(timeout=30)
    finally:
        following.kill()
        following.wait()

    assert [line.count('"PING"') for line in out.splitlines()] == [1, 1]
