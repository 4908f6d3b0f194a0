"""Judging and showing how a stack is doing."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cli.client.http import Answer
from cli.client.records import Compared, Halt, ProjectionStatus, StreamStatus
from cli.client.service import Service
from cli.config.targets import AwsTarget
from cli.errors import NotFoundError
from cli.operate.health import (
    coverage,
    document,
    faults,
    headline,
    sections,
    state_text,
    stream_section,
    unchecked,
)
from cli.operate.resources import Queue, Resources, find_resources, function_named, queues_of
from cli.operate.status import (
    ApiHealth,
    FunctionStatus,
    QueueStatus,
    Snapshot,
    age_of_event,
    function_statuses,
    looked_at_again,
    queue_status,
    with_ages,
)
from cli.terminal.text import duration

NOW = datetime(2026, 11, 23, 6, 0, tzinfo=UTC)
TARGET = AwsTarget("esctl", "eu-central-1", account="123456789012")
LIVE = StreamStatus("items", "s", "live", head=9, checkpoint=9, lag=0)
HALTED = replace(LIVE, state="halted", checkpoint=6, lag=3, lag_s=75.0, halted=Halt(7, "KeyError: 'a'", "…"))
ITEMS = ProjectionStatus("items", (LIVE,), follows=("s",))
WELL = Snapshot("CREATE_COMPLETE", ApiHealth(True, 12.0), (ITEMS,), queues=(QueueStatus("items", 0, 0, None, 0),))


def with_streams(*streams: StreamStatus, **more: Any) -> Snapshot:
    return replace(WELL, projections=(replace(ITEMS, streams=streams, **more),))


def kinds(snapshot: Snapshot, max_lag: int = 100) -> list[str]:
    return [fault.kind for fault in faults(snapshot, max_lag)]


def test_a_healthy_stack_has_no_faults() -> None:
    assert kinds(WELL) == []


def test_the_resume_command_quotes_any_stream_id() -> None:
    [fault] = faults(with_streams(replace(HALTED, stream_id="it's; a $stream")), max_lag=100)

    assert shlex.split(fault.hint)[-1] == "it's; a $stream"


def test_a_halted_stream_is_a_fault_with_its_resume_command() -> None:
    [fault] = faults(with_streams(HALTED), max_lag=100)

    assert "halted at event 7: KeyError: 'a'" in fault.what
    assert fault.hint == "esctl projections resume items --stream-id s"


@pytest.mark.parametrize(("max_lag", "found"), [(3, []), (2, ["lag"]), (0, ["lag"])])
def test_a_lag_is_a_fault_beyond_the_limit(max_lag: int, found: list[str]) -> None:
    behind = replace(LIVE, state="behind", checkpoint=6, lag=3)

    assert kinds(with_streams(behind), max_lag) == found


@pytest.mark.parametrize(("age_s", "found"), [(None, []), (299.0, []), (301.0, ["lag"])])
def test_a_stream_that_stays_behind_is_a_fault_however_few_its_events(age_s: float | None, found: list[str]) -> None:
    behind = replace(LIVE, state="behind", checkpoint=8, lag=1, lag_s=age_s)

    assert kinds(with_streams(behind)) == found


def test_a_stream_that_was_never_projected_is_reported_as_such() -> None:
    [fault] = faults(with_streams(replace(LIVE, state="behind", checkpoint=-1, lag=10, lag_s=3600.0)), max_lag=100)

    assert "10 events behind for 1 h 0 min, and was never projected" in fault.what


@pytest.mark.parametrize(
    ("halted", "more", "said"),
    [(1, False, None), (7, False, "7 streams are"), (100, True, "more than 100 streams are")],
)
def test_halted_streams_that_are_not_listed_are_counted(halted: int, more: bool, said: str | None) -> None:
    found = faults(with_streams(HALTED, halted=halted, more_halted=more), max_lag=100)

    assert [fault.what for fault in found[1:]] == (
        [] if said is None else [f"items: {said} halted, 1 of them listed here"]
    )


# -- many streams --------------------------------------------------------------------------------------------------------

ROUND = Compared("2026-11-23T10:02:00.000Z", "2026-11-23T10:40:00.000Z", 12_345, 0, 0, {})
ORDERS = ProjectionStatus("orders", (LIVE,), more=True, compared=ROUND)


def recently(**more: Any) -> Compared:
    finished = datetime.now(UTC) - timedelta(minutes=1)
    started = finished - timedelta(minutes=38)
    return replace(ROUND, started_at=timestamp(started), finished_at=timestamp(finished), **more)


def timestamp(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def test_it_says_which_streams_were_compared_and_when() -> None:
    directly = (
        "orders: compared 1 stream directly; the reconciler compared 12,345 streams "
        "between 2026-11-23 10:02 and 2026-11-23 10:40 UTC"
    )

    assert coverage(ORDERS) == directly
    assert stream_section([ORDERS]).note == directly
    assert coverage(ITEMS) == "items: compared 1 stream"


@pytest.mark.parametrize(
    ("projection", "said"),
    [
        (ITEMS, []),
        (replace(ORDERS, compared=recently()), []),
        (ORDERS, ["orders: the reconciler has not compared its streams since 2026-11-23 10:40 UTC"]),
        (
            replace(ORDERS, compared=None),
            ["orders: compared 1 stream; the reconciler has not compared all streams yet"],
        ),
        # All listed streams are all that were ever projected, not all that should be.
        (
            replace(ORDERS, more=False, compared=None),
            ["orders: compared 1 stream; the reconciler has not compared all streams yet"],
        ),
    ],
)
def test_what_was_not_checked_is_said(projection: ProjectionStatus, said: list[str]) -> None:
    snapshot = replace(WELL, projections=(projection,))

    assert unchecked(snapshot) == said
    assert document(TARGET, snapshot, [])["unchecked"] == said


@pytest.mark.parametrize(
    ("lagging", "lag", "found"), [(1, 500, []), (11, 100, []), (11, 101, ["lag"]), (5_000, 2_000, ["lag"])]
)
def test_streams_that_were_behind_and_are_not_compared_again_are_a_fault(
    lagging: int, lag: int, found: list[str]
) -> None:
    worst = {f"s{number}": lag for number in range(min(10, lagging))}
    projection = replace(ORDERS, compared=recently(lagging=lagging, lag=lag, worst=worst))

    assert kinds(replace(WELL, projections=(projection,))) == found


@pytest.mark.parametrize(
    ("queue", "found", "said"),
    [
        (QueueStatus("orders", 0, 0, None, 0), [], []),
        (QueueStatus("orders", 5, 0, 20.0, 0), [], []),
        (QueueStatus("orders", 5, 0, 400.0, 0), ["waiting"], []),
        (QueueStatus("orders", 5, 0, None, 0, moving=False), ["waiting"], []),
        (QueueStatus("orders", 5, 2, None, 0, moving=True), [], []),
        (
            QueueStatus("orders", 5_818, 2, None, 0, moving=True),
            [],
            ["5,818 messages wait in the queue of orders, and are being processed"],
        ),
    ],
)
def test_waiting_messages_that_are_not_processed_are_a_fault(
    queue: QueueStatus, found: list[str], said: list[str]
) -> None:
    snapshot = replace(WELL, queues=(queue,))

    assert kinds(snapshot) == found
    assert unchecked(snapshot) == said


class Sqs:
    """One queue, whose numbers of waiting and processed messages change from look to look."""

    def __init__(self, *looks: tuple[int, int]) -> None:
        self._looks = list(looks)

    def get_queue_attributes(self, QueueUrl: str, AttributeNames: list[str]) -> Any:  # noqa: N803
        waiting, in_flight = (0, 0) if "dead" in QueueUrl else self._looks.pop(0)
        return {"Attributes": dict(zip(AttributeNames, (str(waiting), str(in_flight)), strict=True))}


@pytest.mark.parametrize(
    ("looks", "moving"),
    [
        ([(5, 0), (5, 0)], False),
        ([(5, 0), (4, 0)], True),
        ([(5, 0), (0, 0)], True),
        ([(5, 3), (5, 3)], True),  # new ones come in
        ([(500, 3), (501, 3)], False),
        ([(500, 3), (400, 3)], True),
    ],
)
def test_a_queue_is_looked_at_twice_if_messages_wait(looks: list[tuple[int, int]], moving: bool) -> None:
    sqs: Any = Sqs(*looks)
    slept: list[float] = []
    queue = Queue("orders", "projection", "u/orders", "u/orders-dead")

    [found] = looked_at_again(sqs, [queue], [queue_status(sqs, queue, None)], slept.append)

    assert (found.waiting, found.moving) == (looks[1][0], moving)
    assert len(slept) == 1


def test_an_empty_queue_is_looked_at_once() -> None:
    sqs: Any = Sqs((0, 0))
    queue = Queue("orders", "projection", "u/orders", "u/orders-dead")

    [found] = looked_at_again(sqs, [queue], [queue_status(sqs, queue, None)], lambda seconds: pytest.fail("slept"))

    assert found.moving is None


def test_dead_letters_are_a_fault() -> None:
    assert kinds(replace(WELL, queues=(QueueStatus("items", 0, 0, None, 2),))) == ["dead-letters"]


def test_an_api_that_does_not_answer_is_a_fault() -> None:
    assert kinds(replace(WELL, api=ApiHealth(False, error="away"))) == ["api"]


@pytest.mark.parametrize(
    ("status", "found"),
    [
        ("UPDATE_COMPLETE", []),
        ("UPDATE_IN_PROGRESS", []),
        ("UPDATE_ROLLBACK_COMPLETE", []),
        ("UPDATE_ROLLBACK_FAILED", ["stack"]),
        ("DELETE_IN_PROGRESS", ["stack"]),
        (None, []),
    ],
)
def test_a_bad_stack_status_is_a_fault(status: str | None, found: list[str]) -> None:
    assert kinds(replace(WELL, stack_status=status)) == found


def test_the_worst_streams_come_first_and_the_rest_is_counted() -> None:
    streams = [replace(LIVE, stream_id=f"s{number}") for number in range(20)]

    section = stream_section([replace(ITEMS, streams=(*streams, HALTED))], shown=3)

    assert [row[1] for row in section.rows] == ["s", "s0", "s1"]
    assert section.note == "and 18 more, none worse than these"


def test_states_are_shown_in_words() -> None:
    assert state_text(LIVE) == "✓ live"
    assert state_text(replace(LIVE, state="behind")) == "… behind"
    assert state_text(HALTED) == "✗ halted at 7"


def test_unknown_values_are_shown_as_unknown() -> None:
    unknown = replace(WELL, stack_status=None, unknown={"functions": "not allowed"})

    assert "state n/a" in headline(TARGET, unknown)
    assert sections(unknown)[2].note == "n/a: not allowed"
    assert document(TARGET, unknown, [])["functions"] is None


def test_idle_functions_are_only_counted() -> None:
    functions = (FunctionStatus("A", 3, 1, None), FunctionStatus("B", 0, 0, 0))

    section = sections(replace(WELL, functions=functions))[2]

    assert list(section.rows) == [("A", 3, 1, "n/a")]
    assert section.note == "1 function had no invocations"


def test_the_document_is_complete_and_uses_the_apis_names() -> None:
    written = document(TARGET, with_streams(HALTED), faults(with_streams(HALTED), 0))

    assert written["healthy"] is False
    assert written["streams"][0]["lagSeconds"] == 75.0
    assert written["streams"][0]["streamId"] == "s"
    assert written["queues"][0] == {
        "name": "items",
        "waiting": 0,
        "inFlight": 0,
        "oldestSeconds": None,
        "deadLetters": 0,
        "moving": None,
    }


def test_durations_have_a_suitable_unit() -> None:
    seconds = [0.4, 12, 75, 7300, 200_000]

    assert [duration(each) for each in seconds] == ["0.4 s", "12 s", "1 min 15 s", "2 h 1 min", "2 d 7 h"]


class Api:
    """Knows one stream's events by number; everything else is not there."""

    def __init__(self, **stored_at: datetime) -> None:
        self._stored_at = {int(name.removeprefix("event_")): at for name, at in stored_at.items()}

    def post(self, path: str, body: object, *, idempotency_key: str | None = None) -> Answer:
        raise NotImplementedError

    def get(self, path: str, **query: object) -> Answer:
        at = self._stored_at.get(int(str(query["from"])))
        if at is None:
            raise NotFoundError("no such stream")
        return Answer(
            200, {"events": [{"timeStamp": at.isoformat(timespec="milliseconds").replace("+00:00", "Z")}]}, {}
        )


def test_the_lag_in_seconds_is_the_age_of_the_oldest_event_that_is_not_applied() -> None:
    service: Any = Service(Api(event_7=NOW - timedelta(seconds=75)))
    stream = replace(LIVE, state="behind", checkpoint=6, lag=3)

    [found] = with_ages(service, [replace(ITEMS, streams=(stream,))], NOW)

    assert found.streams[0].lag_s == 75


def test_a_stream_without_that_event_has_no_age() -> None:
    assert age_of_event(Service(Api()), "s", 0, NOW) is None


OUTPUTS = {
    "TestItemsQueueUrl": "u/items.fifo",
    "TestItemsDeadLetterQueueUrl": "u/items-dead.fifo",
    "ReplayQueueUrl": "u/replay.fifo",
    "ReplayDeadLetterQueueUrl": "u/replay-dead.fifo",
    "FailureQueueUrl": "u/failures",
}


def test_queues_are_found_in_the_outputs() -> None:
    found = [(queue.name, queue.kind, queue.url) for queue in queues_of(OUTPUTS)]

    assert found == [
        ("test-items", "projection", "u/items.fifo"),
        ("replays", "replays", "u/replay.fifo"),
        ("publisher", "publisher", None),
    ]


RESOURCES = Resources(
    "CREATE_COMPLETE",
    {
        "AWS::Lambda::Function": {"AddEvent": "f1", "ProjectorTestItems": "f2"},
        "AWS::Logs::LogGroup": {"AddEventLogs": "g1", "ProjectorTestItemsLogs": "g2", "ApiAccessLogs": "g3"},
    },
)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [("AddEvent", "AddEvent"), ("add-event", "AddEvent"), ("projector", "ProjectorTestItems"), ("api", "Api")],
)
def test_functions_are_found_by_prefix_in_any_case(wanted: str, found: str) -> None:
    assert function_named(RESOURCES, wanted) == found


def test_an_unknown_function_is_refused_with_the_known_names() -> None:
    with pytest.raises(Exception, match="no such function") as caught:
        function_named(RESOURCES, "nothing")

    assert "AddEvent, ProjectorTestItems, Api" in caught.value.hint  # type: ignore[attr-defined]


def test_metrics_of_the_last_hour_are_summed_up(moto_client: Callable[[str], Any]) -> None:
    """On moto: the emulator keeps metrics of direct calls only."""
    client = moto_client("cloudwatch")
    now = datetime.now(UTC)
    for metric, value, minutes in (("Invocations", 3, 5), ("Invocations", 4, 50), ("Errors", 1, 5), ("Errors", 9, 90)):
        datum = {
            "MetricName": metric,
            "Value": value,
            "Timestamp": now - timedelta(minutes=minutes),
            "Dimensions": [{"Name": "FunctionName", "Value": "f1"}],
        }
        client.put_metric_data(Namespace="AWS/Lambda", MetricData=[datum])

    assert function_statuses(client, {"A": "f1", "B": "f2"}) == [
        FunctionStatus("A", 7, 1, 0),
        FunctionStatus("B", 0, 0, 0),
    ]


def test_queues_are_counted_with_their_dead_letters(moto_client: Callable[[str], Any]) -> None:
    client = moto_client("sqs")
    urls = {name: client.create_queue(QueueName=name)["QueueUrl"] for name in ("work", "dead")}
    client.send_message(QueueUrl=urls["work"], MessageBody="a")
    client.send_message(QueueUrl=urls["dead"], MessageBody="b")
    [queue] = queues_of({"ItemsQueueUrl": urls["work"], "ItemsDeadLetterQueueUrl": urls["dead"]})

    assert queue_status(client, queue, None) == QueueStatus("items", 1, 0, None, 1)


def test_resources_come_from_cloudformation(moto_client: Callable[[str], Any]) -> None:
    client = moto_client("cloudformation")
    group = {"Type": "AWS::Logs::LogGroup", "Properties": {"LogGroupName": "g"}}
    client.create_stack(StackName="esctl", TemplateBody=json.dumps({"Resources": {"ALogs": group}}))

    class Clients:
        def client(self, service: str) -> Any:
            return client

    clients: Any = Clients()

    found = find_resources(clients, "esctl")

    assert found.status == "CREATE_COMPLETE"
    assert found.by_type["AWS::Logs::LogGroup"] == {"ALogs": "g"}
