"""Batches at the projector and the publisher: whose message fails, whose is acknowledged, and what is logged (P5, P8)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from handlers.core import messages
from handlers.core.errors import PublishError
from handlers.core.events import Event, EventId, NewEvent, StreamId
from handlers.core.messages import Hint
from handlers.functions.projector import BatchResult, project, shorten_visibility
from handlers.functions.publisher import inserted, log_lines, publish
from handlers.projection import Projection, transitions
from handlers.projection.engine import Code, Projector
from handlers.projection.port import Change, Commit, read_control
from handlers.projection.state import Control, StreamState
from handlers.store.items import event_item
from tests.support.clients import client_error
from tests.support.memory_event_store import MemoryEventStore
from tests.support.memory_read_model import MemoryReadModel
from tests.support.projections import FixedClock, added, ledger

STREAM, OTHER = "orders-1", "orders-2"


@dataclass
class Log:
    """Keeps what is logged: text and fields."""

    lines: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)

    def info(self, text: str, extra: Mapping[str, Any]) -> None:
        self.lines.append((text, extra))

    error = exception = info


class Bench:
    """A projection over a store and a read model in memory."""

    def __init__(self, projection: Projection, *older: Projection) -> None:
        self.code = Code(projection, lambda: {each.fingerprint(): each for each in older})
        self.store, self.read_model = MemoryEventStore(), MemoryReadModel()

    def append(self, *events: NewEvent) -> None:
        for event in events:
            self.store.append([event])

    def projector(self) -> Projector:
        """As a fresh process has one."""
        return Projector(self.code, self.store, self.read_model, FixedClock())

    def state(self, stream_id: str = STREAM) -> StreamState:
        return self.read_model.load(self.control().active, [StreamId(stream_id)]).states[StreamId(stream_id)]

    def control(self) -> Control:
        return read_control(self.read_model)

    def commit(self, change: Change[Control]) -> None:
        self.read_model.commit(Commit((change,), fences=change.after.version))

    def is_at_head(self, stream_id: str = STREAM) -> bool:
        return self.state(stream_id).checkpoint == self.store.head(StreamId(stream_id))


@pytest.fixture
def bench() -> Bench:
    return Bench(ledger())


def record(event_id: int, stream_id: str = STREAM, *, count: int = 1, event: Event | None = None) -> dict[str, Any]:
    return {
        "messageId": f"{stream_id}/{event_id}",
        "receiptHandle": "r",
        "attributes": {"ApproximateReceiveCount": str(count)},
        "body": messages.encode(Hint(StreamId(stream_id), EventId(event_id), event)),
    }


def projected(
    bench: Bench, *records: dict[str, Any], projector: Projector | None = None
) -> tuple[list[str], BatchResult, Log]:
    log = Log()
    failed, tally = project(records, projector or bench.projector(), log)
    return failed, tally, log


def test_a_halted_stream_fails_one_message_and_takes_no_other_stream_with_it(bench: Bench) -> None:
    bench.append(added("a", stream_id=STREAM), added("b", stream_id=STREAM, type="BROKEN"))
    bench.append(added("c", stream_id=STREAM), added("a", stream_id=OTHER))

    failed, tally, log = projected(bench, *(record(number) for number in range(3)), record(0, OTHER))

    assert failed == [f"{STREAM}/1"]  # the poison event's own message
    assert tally.halted == 1
    assert bench.state().checkpoint == 0
    assert bench.is_at_head(OTHER)
    [halt] = [extra for text, extra in log.lines if text == "stream halted"]
    assert (halt["streamId"], halt["eventId"], halt["error"]) == (STREAM, 1, "RuntimeError: not this one")


def test_messages_behind_a_halt_are_acknowledged_and_its_own_fails_again(bench: Bench) -> None:
    bench.append(added("b", stream_id=STREAM, type="BROKEN"), added("c", stream_id=STREAM))
    projected(bench, record(0))

    behind, _, _ = projected(bench, record(1))
    retried, _, _ = projected(bench, record(0, count=2))

    assert behind == []
    assert retried == [f"{STREAM}/0"]


def test_a_message_that_is_none_of_ours_fails_alone(bench: Bench) -> None:
    bench.append(added("a", stream_id=STREAM))
    odd = {**record(7), "messageId": "odd", "body": "nonsense"}

    failed, _, _ = projected(bench, odd, record(0))

    assert failed == ["odd"]
    assert bench.is_at_head()


def test_messages_of_streams_that_are_not_followed_are_acknowledged_unread() -> None:
    bench = Bench(Projection("few", key="itemId", streams=[OTHER]))
    bench.append(added("a", stream_id=STREAM), added("a", stream_id=OTHER))

    failed, tally, log = projected(bench, record(0), record(0, OTHER))

    assert failed == []
    assert (tally.ignored, tally.applied) == (1, 1)
    assert not bench.state().exists
    assert bench.is_at_head(OTHER)
    assert [fields["streamId"] for _, fields in log.lines] == [OTHER]


def test_until_the_switch_the_streams_of_the_older_code_are_followed() -> None:
    older, newer = (Projection("few", key="itemId", streams=[name]) for name in (STREAM, OTHER))
    bench = Bench(newer, older)
    bench.append(added("a", stream_id=STREAM), added("a", stream_id=OTHER))
    bench.commit(transitions.adopt(bench.control(), older.fingerprint()))
    projector = bench.projector()

    projected(bench, record(0), record(0, OTHER), projector=projector)
    assert (bench.is_at_head(STREAM), bench.is_at_head(OTHER)) == (True, False)

    bench.commit(transitions.begin_replay(bench.control(), "r", newer.fingerprint()))
    bench.commit(transitions.switch(bench.control(), "now"))
    projected(bench, record(0, OTHER), projector=projector)  # before it knows of the switch

    assert bench.is_at_head(OTHER)


def test_a_stream_that_cannot_be_read_takes_no_other_stream_with_it(bench: Bench) -> None:
    bench.append(added("a", stream_id=STREAM), added("a", stream_id=OTHER))

    def unreachable(stream_id: str, first: int = 0, **_: Any) -> Any:
        raise ConnectionError(stream_id)

    bench.store.read = unreachable  # type: ignore[method-assign]
    whole = event(0)

    failed, _, log = projected(bench, record(0, OTHER), record(0, event=whole))

    assert failed == [f"{OTHER}/0"]
    assert bench.is_at_head()
    assert "redelivered" in log.lines[0][0]


def event(number: int, *, metadata: str | None = None) -> Event:
    return Event(
        StreamId(STREAM), EventId(number), "ADDED", '{"itemId":"a","v":1}', "2026-01-01T00:00:00.000Z", metadata
    )


@pytest.mark.parametrize("metadata", ["nonsense", "[]", "null", "1", '{"correlationId":7}', '{"correlationId":""}'])
def test_metadata_that_can_not_be_read_stops_neither_publisher_nor_projector(bench: Bench, metadata: str) -> None:
    """Written past the API: it has no correlation id, and nothing else is wrong with it."""
    odd = event(0, metadata=metadata)
    bench.append(added("a", stream_id=STREAM))

    failed, _, log = projected(bench, record(0, event=odd))

    assert failed == []
    assert log.lines[0][1]["correlationIds"] == []
    assert log_lines([odd]) == [{"streamId": STREAM, "eventIds": [0], "correlationIds": []}]


def test_the_publisher_logs_its_events_by_stream_with_their_correlation_ids() -> None:
    lines = log_lines([event(0, metadata='{"correlationId":"c-1"}'), event(1)])

    assert lines == [{"streamId": STREAM, "eventIds": [0, 1], "correlationIds": ["c-1"]}]


def test_the_publisher_takes_inserted_events_only() -> None:
    image = event_item(event(0), "w")
    records = [{"eventName": name, "dynamodb": {"NewImage": image}} for name in ("INSERT", "MODIFY", "REMOVE")]

    assert [each.event_id for each in inserted(records)] == [0]


def test_an_entry_that_is_refused_makes_the_whole_batch_come_again() -> None:
    class Sns:
        def publish_batch(self, **request: Any) -> dict[str, Any]:
            return {"Failed": [{"Id": "0", "Code": "InternalError"}]}

    with pytest.raises(PublishError, match="1 of 1 messages were refused: InternalError"):
        publish([event(0)], Sns(), "arn")


class Sqs:
    """Takes note of delays; refuses the first."""

    def __init__(self) -> None:
        self.delays: list[int] = []

    def change_message_visibility(self, **request: Any) -> None:
        self.delays.append(request["VisibilityTimeout"])
        if len(self.delays) == 1:
            raise client_error("ChangeMessageVisibility", "InvalidParameterValue")


def test_a_message_that_cannot_be_retried_sooner_does_not_fail_the_others() -> None:
    sqs, log = Sqs(), Log()

    shorten_visibility([record(0, count=1), record(0, OTHER, count=2)], sqs, "https://queue", log)

    assert sqs.delays == [2, 4]
    assert [fields["messageIds"] for _, fields in log.lines] == [[f"{STREAM}/0"]]
