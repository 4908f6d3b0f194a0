"""Dead letters: read without taking them away, redriven, and deleted only when their work is done. SQS is moto's."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cli.client.http import Answer
from cli.client.service import Service
from cli.errors import CliError, ConflictError
from cli.operate.dead_letters import DeadLetter, DeadLetterQueue, plan
from cli.operate.recovery import Redrive, Redriven, reconcile
from cli.operate.resources import Queue, QueueKind
from tests.unit.cli.cli_driver import Esctl

HEAD = 9


@dataclass
class Stack:
    """A projection ``items`` behind the API: its streams by id, and everything that was done to it.

    Attributes
    ----------
    checkpoints
        By stream; the head is always 9.
    halted
        The event at which a stream is halted.
    broken
        Streams that halt again when they are resumed.
    stuck
        Streams that nothing moves.
    racing
        Somebody else resumes first.
    """

    checkpoints: dict[str, int] = field(default_factory=dict)
    halted: dict[str, int] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    stuck: set[str] = field(default_factory=set)
    racing: bool = False
    did: list[str] = field(default_factory=list)

    def get(self, path: str, **query: Any) -> Answer:
        if path != "/projections":  # the age of an event
            return Answer(200, {"events": [], "nextToken": None}, {})
        stream_id = query["streamId"]
        streams = [self._stream(stream_id)] if stream_id in self.checkpoints else []
        return Answer(200, {"projections": [{"name": "items", "streams": streams}]}, {})

    def post(self, path: str, body: Any, *, idempotency_key: str | None = None) -> Answer:
        assert path == "/projections/items/resume"
        stream_id = body["streamId"]
        self.did.append(f"resume {stream_id}")
        if stream_id not in self.broken:
            del self.halted[stream_id]
            self._move(stream_id)
        if self.racing:
            raise ConflictError("not halted")
        return Answer(202, {"streams": [{"streamId": stream_id, "eventId": 7}]}, {})

    def reconcile(self) -> None:
        self.did.append("reconcile")
        for stream_id in self.checkpoints:
            self._move(stream_id)

    def _move(self, stream_id: str) -> None:
        if stream_id not in self.halted and stream_id not in self.stuck:
            self.checkpoints[stream_id] = HEAD

    def _stream(self, stream_id: str) -> dict[str, Any]:
        checkpoint, at = self.checkpoints[stream_id], self.halted.get(stream_id)
        stream = {"streamId": stream_id, "head": HEAD, "checkpoint": checkpoint, "lag": HEAD - checkpoint}
        if at is not None:
            return {**stream, "state": "halted", "halted": {"eventId": at, "error": "KeyError: 'a'", "at": ""}}
        return {**stream, "state": "live" if checkpoint == HEAD else "behind"}


class Queues:
    """A queue with its dead-letter queue, in moto."""

    def __init__(self, client: Any, name: str, kind: QueueKind) -> None:
        self.client = client
        urls = [
            client.create_queue(QueueName=f"{name}{suffix}.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"]
            for suffix in ("", "-dead")
        ]
        self.url, self.dead_url = urls
        self.dead = DeadLetterQueue(client, Queue(name, kind, *urls))
        self._sent = 0

    def given(self, *bodies: object) -> None:
        for body in bodies:
            self._sent += 1
            group = body.get("streamId", "none") if isinstance(body, dict) else "none"
            self.client.send_message(
                QueueUrl=self.dead_url,
                MessageBody=body if isinstance(body, str) else json.dumps(body),
                MessageGroupId=str(group),
                MessageDeduplicationId=str(self._sent),
            )

    def dead_bodies(self) -> list[Any]:
        """The visible dead letters."""
        return [each.content or each.body for each in self.dead.peek(100)]

    def sent_bodies(self) -> list[Any]:
        answer = self.client.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10)
        return [json.loads(each["Body"]) for each in answer.get("Messages", [])]


def hint(event_id: int, stream_id: str = "s") -> dict[str, Any]:
    return {"streamId": stream_id, "eventId": event_id}


@pytest.fixture
def queues(moto_client: Callable[[str], Any]) -> Callable[..., Queues]:
    client = moto_client("sqs")

    def make(kind: QueueKind = "projection") -> Queues:
        return Queues(client, "items" if kind == "projection" else kind, kind)

    return make


@pytest.fixture
def run(tmp_path: Path) -> Callable[[Queues, Stack], Redriven]:
    """Redrive, on a clock of the test's own."""
    environment = Esctl(tmp_path).environment()

    def redrive(queues: Queues, stack: Stack) -> Redriven:
        return Redrive(Service(stack), environment, stack.reconcile, 60).run(queues.dead)

    return redrive


Run = Callable[[Queues, Stack], Redriven]
Make = Callable[..., Queues]


def test_a_halted_stream_is_resumed_and_its_dead_letters_deleted_when_it_has_caught_up(queues: Make, run: Run) -> None:
    items, stack = queues(), Stack({"s": 6}, halted={"s": 7})
    items.given(hint(7), hint(8))

    result = run(items, stack)

    assert (result.done, result.kept, result.resumed) == (2, [], ["s"])
    assert stack.did == ["resume s"]
    assert items.dead.count() == 0


def test_a_dead_letter_is_kept_if_the_stream_halts_again(queues: Make, run: Run) -> None:
    items, stack = queues(), Stack({"s": 6}, halted={"s": 7}, broken={"s"})
    items.given(hint(5), hint(7))

    result = run(items, stack)

    assert result.done == 1  # event 5 is in the read model
    assert [(each.event_id, why) for each, why in result.kept] == [(7, "halted again at event 7: KeyError: 'a'")]
    assert [each.stream_id for each in result.halted] == ["s"]
    assert items.dead_bodies() == [hint(7)]
    assert stack.did == ["resume s"]


def test_a_stream_that_halts_again_is_a_problem_even_if_its_dead_letter_is_yet_to_come(queues: Make, run: Run) -> None:
    items, stack = queues(), Stack({"s": 6}, halted={"s": 7}, broken={"s"})
    items.given(hint(5))  # from an earlier halt

    result = run(items, stack)

    assert (result.done, result.kept) == (1, [])
    assert result.problems == ["items: stream s: halted again at event 7: KeyError: 'a'"]


def test_a_stream_that_only_lags_is_triggered(queues: Make, run: Run) -> None:
    items, stack = queues(), Stack({"s": 6})
    items.given(hint(8))

    assert run(items, stack).done == 1
    assert stack.did == ["reconcile"]


def test_a_stream_that_does_not_catch_up_in_time_keeps_its_dead_letters(queues: Make, run: Run) -> None:
    items, stack = queues(), Stack({"s": 6, "t": 6}, stuck={"s"})
    items.given(hint(8), hint(8, "t"))

    result = run(items, stack)

    assert (result.done, [why for _, why in result.kept]) == (1, ["still 3 events behind"])
    assert items.dead_bodies() == [hint(8)]


def test_dead_letters_of_a_caught_up_stream_are_just_deleted(queues: Make, run: Run) -> None:
    items, stack = queues(), Stack({"s": HEAD})
    items.given(hint(8))

    assert run(items, stack).done == 1
    assert stack.did == []


def test_more_dead_letters_of_one_stream_than_sqs_returns_at_once_are_all_done(queues: Make, run: Run) -> None:
    items, stack = queues(), Stack({"s": HEAD})
    items.given(*(hint(number % HEAD) for number in range(12)))

    assert run(items, stack).done == 12
    assert items.dead.count() == 0


def test_a_dead_letter_of_a_stream_that_is_no_longer_followed_is_done(queues: Make, run: Run) -> None:
    items = queues()
    items.given(hint(8, "gone"))

    assert run(items, Stack()).done == 1


def test_a_concurrently_resumed_stream_is_waited_for(queues: Make, run: Run) -> None:
    items, stack = queues(), Stack({"s": 6}, halted={"s": 7}, racing=True)
    items.given(hint(7))

    assert run(items, stack).done == 1


@pytest.mark.parametrize("body", ["nonsense", "[]", {"streamId": 1, "eventId": 2}, {"streamId": "s"}])
def test_a_foreign_message_is_kept(queues: Make, run: Run, body: object) -> None:
    items = queues()
    items.given(body)

    result = run(items, Stack({"s": HEAD}))

    assert (result.done, items.dead.count()) == (0, 1)
    assert "unreadable" in result.kept[0][1]


def test_messages_of_replays_are_sent_again(queues: Make, run: Run) -> None:
    replays, stack = queues("replays"), Stack()
    good = {"projection": "items", "replayId": "r-1", "streamId": "s"}
    replays.given(good, "nonsense")

    result = run(replays, stack)

    assert (result.done, len(result.kept)) == (1, 1)
    assert replays.sent_bodies() == [good]
    assert replays.dead_bodies() == ["nonsense"]


def test_events_that_the_publisher_failed_to_publish_are_found_by_the_reconciler(queues: Make, run: Run) -> None:
    publisher, stack = queues("publisher"), Stack()
    publisher.given({}, "nonsense")

    assert run(publisher, stack).done == 2
    assert stack.did == ["reconcile"]
    assert publisher.dead.count() == 0


def test_a_message_to_delete_a_generation_is_sent_again(queues: Make, run: Run) -> None:
    replays = queues("replays")
    message = {"projection": "items", "sweep": 2}
    replays.given(message)

    assert run(replays, Stack()).done == 1
    assert replays.sent_bodies() == [message]


class Lambda:
    """Records what it is invoked with; the stack has a reconciler."""

    def __init__(self) -> None:
        self.payloads: list[Any] = []

    def client(self, name: str) -> Any:
        return self

    def describe_stacks(self, **_: Any) -> Any:
        return {"Stacks": [{"StackStatus": "CREATE_COMPLETE"}]}

    def get_paginator(self, _: str) -> Any:
        return self

    def paginate(self, **_: Any) -> Any:
        function = {"ResourceType": "AWS::Lambda::Function", "LogicalResourceId": "Reconciler"}
        return [{"StackResourceSummaries": [{**function, "PhysicalResourceId": "f"}]}]

    def invoke(self, **request: Any) -> Any:
        self.payloads.append(json.loads(request["Payload"]))
        return {}


def test_the_reconciler_runs_once_per_projection() -> None:
    clients: Any = Lambda()

    reconcile(clients, "esctl", ["items", "orders"])

    assert clients.payloads == [{"projection": "items"}, {"projection": "orders"}]


def test_an_empty_queue_is_left_alone(queues: Make, run: Run) -> None:
    stack = Stack()

    assert run(queues(), stack).done == 0
    assert stack.did == []


@pytest.mark.parametrize("kind", ["projection", "replays", "publisher"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, CliError])
def test_an_interrupted_redrive_loses_nothing_and_can_be_repeated(
    queues: Make, run: Run, kind: QueueKind, error: type[BaseException]
) -> None:
    class Breaking(Stack):
        def reconcile(self) -> None:
            raise error("broken off")

    class BreakingQueue(DeadLetterQueue):
        def send_again(self, letter: DeadLetter) -> None:
            super().send_again(letter)
            raise error("broken off")

    chosen = queues(kind)
    bodies = [{**hint(8), "replayId": "r-1"}, {**hint(8, "t"), "replayId": "r-1"}]
    chosen.given(*bodies)
    whole, chosen.dead = chosen.dead, BreakingQueue(chosen.client, chosen.dead.queue)
    with pytest.raises(error):
        run(chosen, Breaking({"s": 6, "t": 6}))
    assert sorted(each["streamId"] for each in chosen.dead_bodies()) == ["s", "t"]  # at once, not after a timeout

    chosen.dead = whole
    assert run(chosen, Stack({"s": 6, "t": 6})).done == 2
    assert run(chosen, Stack({"s": 6, "t": 6})).done == 0


def test_two_redrives_at_the_same_time_share_the_work(queues: Make, run: Run) -> None:
    items, other = queues(), Stack({"s": 6, "t": 6})
    items.given(hint(8), hint(8, "t"))
    inner: list[Redriven] = []

    class Meanwhile(Stack):
        def reconcile(self) -> None:
            inner.append(run(items, other))
            super().reconcile()

    outer = run(items, Meanwhile({"s": 6, "t": 6}))

    assert outer.done + inner[0].done == 2
    assert items.dead.count() == 0


def test_a_message_that_sqs_does_not_delete_is_reported(queues: Make, run: Run) -> None:
    class Refusing:
        def __init__(self, client: Any) -> None:
            self._client = client

        def __getattr__(self, name: str) -> Any:
            return getattr(self._client, name)

        def delete_message_batch(self, **request: Any) -> Any:
            return {"Failed": [{"Id": each["Id"]} for each in request["Entries"]]}

    items = queues()
    items.given(hint(8))
    client: Any = Refusing(items.client)
    items.dead = DeadLetterQueue(client, items.dead.queue)

    result = run(items, Stack({"s": HEAD}))

    assert (result.done, len(result.kept)) == (0, 1)
    assert "did not delete" in result.kept[0][1]


def letter(body: object) -> DeadLetter:
    text = body if isinstance(body, str) else json.dumps(body)
    return DeadLetter("items", "1", datetime(2026, 11, 23, tzinfo=UTC), 4, text, "receipt")


def test_the_plan_names_every_stream_once() -> None:
    items = Queue("items", "projection", "u/items", "u/items-dead")

    assert plan(items, [letter(hint(7)), letter(hint(8)), letter(hint(1, "t"))]) == [
        "catch up stream s of items from the store",
        "catch up stream t of items from the store",
        "then delete the dead letters of items whose streams have caught up",
    ]
    assert plan(items, []) == []


def test_dead_letters_describe_their_subject() -> None:
    batch = {"DDBStreamBatchInfo": {"batchSize": 3, "approximateArrivalOfFirstRecord": "2026-11-23T06:00:00Z"}}

    assert letter(hint(7)).about == "event 7 of stream s"
    assert "replay r-1 of items, segment 3" in letter({"projection": "items", "replayId": "r-1", "segment": 3}).about
    assert "deletion of generation 2 of items" in letter({"projection": "items", "sweep": 2}).about
    assert "3 events from 2026-11-23T06:00:00Z on were not published" in letter(batch).about
    assert "unreadable" in letter("x").about


def test_peeking_leaves_every_message_in_the_queue(queues: Make) -> None:
    items = queues()
    items.given(*(hint(number, f"s{number}") for number in range(25)))

    first = [each.event_id for each in items.dead.peek(100)]

    assert sorted(each for each in first if each is not None) == list(range(25))
    assert len(items.dead.peek(100)) == 25
    assert items.dead.count() == 25
    assert len(items.dead.peek(12)) == 12


def test_purging_deletes_everything(queues: Make) -> None:
    items = queues()
    items.given(*(hint(number) for number in range(12)))

    assert items.dead.purge() == 12
    assert items.dead.count() == 0
