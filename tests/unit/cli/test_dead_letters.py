"""Dead letters: read without taking them away, and deleted only when they are done."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pytest

from cli.mending.letters import Letter, SqsLetterBox
from cli.mending.redrive import plan, redrive
from cli.observe.model import StreamStatus
from cli.observe.resources import Queue

ITEMS = Queue("items", "projection", "u/items", "u/items-dead")
REPLAYS = Queue("replays", "replays", "u/replays", "u/replays-dead")
PUBLISHER = Queue("publisher", "publisher", None, "u/failures")
LIVE = StreamStatus("items", "s", "live", head=9, checkpoint=9, lag=0)
HALTED = replace(LIVE, state="halted", checkpoint=6, lag=3, halted={"eventId": 7, "error": "KeyError: 'a'", "at": ""})


def letter(body: object, identifier: str = "1", queue: str = "items") -> Letter:
    text = body if isinstance(body, str) else json.dumps(body)
    return Letter(queue, identifier, datetime(2026, 11, 23, tzinfo=UTC), 4, text, f"receipt-{identifier}")


def hint(event_id: int, stream_id: str = "s") -> Letter:
    return letter({"streamId": stream_id, "eventId": event_id}, f"{stream_id}-{event_id}")


@dataclass
class Box:
    """A dead-letter queue in memory."""

    letters: list[Letter]

    def count(self) -> int:
        return len(self.letters)

    def peek(self, limit: int) -> list[Letter]:
        return self.letters[:limit]

    def delete_where(self, done: Callable[[Letter], bool]) -> tuple[int, list[Letter]]:
        kept = [each for each in self.letters if not done(each)]
        deleted = len(self.letters) - len(kept)
        self.letters = kept
        return deleted, kept


@dataclass
class Stack:
    """What redriving does to the system, and where the streams stand before and after."""

    before: list[StreamStatus] = field(default_factory=list)
    after: list[StreamStatus] = field(default_factory=list)
    did: list[str] = field(default_factory=list)

    def streams(self, projection: str | None, stream_ids: Sequence[str] | None) -> list[StreamStatus]:
        return self.before

    def resume(self, projection: str, stream_id: str) -> None:
        self.did.append(f"resume {stream_id}")

    def reconcile(self) -> None:
        self.did.append("reconcile")

    def caught_up(self, projection: str | None, stream_ids: Sequence[str] | None) -> list[StreamStatus]:
        self.did.append("wait")
        return self.after

    def send_again(self, each: Letter) -> None:
        self.did.append(f"send {each.replay_id}")


def test_a_halted_stream_is_resumed_and_its_letter_deleted_when_it_has_caught_up() -> None:
    box, stack = Box([hint(7), hint(8)]), Stack([HALTED], [LIVE])

    result = redrive(ITEMS, box, stack)

    assert (result.done, result.kept, result.resumed) == (2, [], ["s"])
    assert stack.did == ["resume s", "wait"]


def test_a_letter_stays_where_the_stream_halts_again() -> None:
    box, stack = Box([hint(5), hint(7)]), Stack([HALTED], [HALTED])

    result = redrive(ITEMS, box, stack)

    assert result.done == 1  # event 5 is in the read model
    assert [(each.event_id, why) for each, why in result.kept] == [(7, "halted again at event 7: KeyError: 'a'")]
    assert result.halted == [HALTED]
    assert [each.event_id for each in box.letters] == [7]


def test_a_stream_that_only_lags_is_nudged() -> None:
    behind = replace(LIVE, state="behind", checkpoint=6, lag=3)
    stack = Stack([behind], [LIVE])

    assert redrive(ITEMS, Box([hint(8)]), stack).done == 1
    assert stack.did == ["reconcile", "wait"]


def test_a_stream_that_has_caught_up_needs_nothing_but_the_deletion() -> None:
    stack = Stack([LIVE], [LIVE])

    assert redrive(ITEMS, Box([hint(8)]), stack).done == 1
    assert stack.did == ["wait"]


def test_a_letter_of_a_stream_that_is_not_followed_any_more_is_done() -> None:
    assert redrive(ITEMS, Box([hint(8, "gone")]), Stack()).done == 1


def test_a_letter_that_arrives_meanwhile_stays() -> None:
    class Growing(Box):
        def delete_where(self, done: Callable[[Letter], bool]) -> tuple[int, list[Letter]]:
            self.letters.append(hint(3, "new"))
            return super().delete_where(done)

    result = redrive(ITEMS, Growing([hint(8)]), Stack([LIVE], [LIVE]))

    assert result.done == 1
    assert [each.stream_id for each, _ in result.kept] == ["new"]


@pytest.mark.parametrize("body", ["nonsense", "[]", {"streamId": 1, "eventId": 2}, {"streamId": "s"}])
def test_a_letter_that_is_no_message_of_ours_stays(body: object) -> None:
    box = Box([letter(body)])

    result = redrive(ITEMS, box, Stack([LIVE], [LIVE]))

    assert (result.done, len(box.letters)) == (0, 1)
    assert "unreadable" in result.kept[0][1]


def test_slices_of_replays_are_sent_again() -> None:
    good = letter({"projection": "items", "replayId": "r-1", "streamId": "s"}, queue="replays")
    box, stack = Box([good, letter("nonsense", "2", "replays")]), Stack()

    result = redrive(REPLAYS, box, stack)

    assert (result.done, len(result.kept)) == (1, 1)
    assert stack.did == ["send r-1"]


def test_what_was_not_announced_is_found_by_reconciling() -> None:
    box, stack = Box([letter({}, queue="publisher")]), Stack(after=[LIVE, HALTED])

    assert redrive(PUBLISHER, box, stack).done == 1
    assert stack.did == ["reconcile", "wait"]


def test_letters_of_the_publisher_stay_while_anything_is_behind() -> None:
    behind = replace(LIVE, state="behind", checkpoint=6, lag=3)
    box = Box([letter({}, queue="publisher")])

    result = redrive(PUBLISHER, box, Stack(after=[behind]))

    assert (result.done, len(box.letters)) == (0, 1)
    assert "3 events behind" in result.kept[0][1]


def test_an_empty_queue_needs_nothing() -> None:
    stack = Stack()

    assert redrive(ITEMS, Box([]), stack).done == 0
    assert stack.did == []


def test_the_plan_names_every_stream_once() -> None:
    assert plan(ITEMS, [hint(7), hint(8), hint(1, "t")]) == [
        "catch up stream s of items from the store",
        "catch up stream t of items from the store",
        "then delete the letters of items that are done",
    ]


def test_letters_say_what_they_are_about() -> None:
    batch = {"DDBStreamBatchInfo": {"batchSize": 3, "approximateArrivalOfFirstRecord": "2026-11-23T06:00:00Z"}}

    assert hint(7).about == "event 7 of stream s"
    assert "replay r-1 of items, stream s" in letter({"projection": "items", "replayId": "r-1", "streamId": "s"}).about
    assert "3 events from 2026-11-23T06:00:00Z on were not announced" in letter(batch).about
    assert "unreadable" in letter("x").about


class TestInSqs:
    """The adapter, on moto; the emulator runs it in the end-to-end tests."""

    @pytest.fixture
    def client(self, moto_client: Callable[[str], Any]) -> Any:
        return moto_client("sqs")

    @pytest.fixture
    def box(self, client: Any) -> SqsLetterBox:
        url = client.create_queue(QueueName="dead.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"]
        for number in range(25):
            body = json.dumps({"streamId": f"s{number}", "eventId": number})
            client.send_message(
                QueueUrl=url, MessageBody=body, MessageGroupId=f"g{number}", MessageDeduplicationId=str(number)
            )
        return SqsLetterBox(client, Queue("items", "projection", None, url))

    def test_looking_leaves_every_letter_where_it_is(self, box: SqsLetterBox) -> None:
        first = [each.event_id for each in box.peek(100)]

        assert sorted(each for each in first if each is not None) == list(range(25))
        assert len(box.peek(100)) == 25
        assert box.count() == 25

    def test_looking_at_some_is_enough(self, box: SqsLetterBox) -> None:
        assert len(box.peek(12)) == 12

    def test_only_what_is_done_is_deleted(self, box: SqsLetterBox) -> None:
        deleted, kept = box.delete_where(lambda each: each.event_id is not None and each.event_id < 20)

        assert deleted == 20
        assert sorted(each.event_id or 0 for each in kept) == [20, 21, 22, 23, 24]
        assert len(box.peek(100)) == 5
