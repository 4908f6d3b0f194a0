"""The functions that projections need, composed from their environment, on an AWS in memory."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from handlers import runtime
from handlers.core.errors import NotFoundError
from handlers.core.events import NewEvent
from handlers.domain import registry
from handlers.functions import projector, reconciler, replay_worker
from handlers.projection.port import RowQuery, read_control
from handlers.projection.state import Control
from tests.support.tables import make_event_tables, make_read_model_tables

[NAME] = registry()
[STREAM] = registry()[NAME].streams or ()


class Context:
    """A Lambda context with time enough."""

    aws_request_id = "1"

    def get_remaining_time_in_millis(self) -> int:
        return 60_000


class Stack:
    """Tables, queues, and the environment of functions."""

    def __init__(self, client: Callable[[str], Any], environment: pytest.MonkeyPatch) -> None:
        self.sqs = client("sqs")
        events, tables = make_event_tables(client("dynamodb")), make_read_model_tables(client("dynamodb"))
        self.queue, self.replays = self._queue("TestItemsQueue-1.fifo"), self._queue("ReplayQueue-1.fifo")
        for name, value in {
            "AWS_DEFAULT_REGION": "us-east-1",
            "EVENTS_TABLE": events.events,
            "IDEMPOTENCY_TABLE": events.idempotency,
            "STATES_TABLE": tables.states,
            "ROWS_TABLE": tables.rows,
            "JOBS_TABLE": tables.jobs,
            "PROJECTION": NAME,
            "PROJECTION_QUEUES": self.queue.replace("TestItems", "*"),
            "REPLAY_QUEUE_URL": self.replays,
        }.items():
            environment.setenv(name, value)

    def _queue(self, name: str) -> str:
        url: str = self.sqs.create_queue(QueueName=name, Attributes={"FifoQueue": "true"})["QueueUrl"]
        return url

    def append(self, count: int) -> None:
        data = [json.dumps({"itemId": str(number), "amount": 1}) for number in range(count)]
        runtime.event_store().append([NewEvent(STREAM, "ITEM_CREATED", each) for each in data])

    def invoke(self, module: ModuleType, event: Any) -> Any:
        return module.handler(event, Context())

    def reconcile(self) -> dict[str, Any]:
        report: dict[str, Any] = self.invoke(reconciler, {"projection": NAME})[NAME]
        return report

    def deliver(self, queue: str, module: ModuleType) -> list[Any]:
        """Pass all messages of a queue to a function, one by one; returns their bodies."""
        bodies = []
        while True:
            answer = self.sqs.receive_message(QueueUrl=queue, MessageSystemAttributeNames=["All"])
            for message in answer.get("Messages", ()):
                record = {
                    "messageId": message["MessageId"],
                    "receiptHandle": message["ReceiptHandle"],
                    "body": message["Body"],
                    "attributes": message["Attributes"],
                }
                assert self.invoke(module, {"Records": [record]}) == {"batchItemFailures": []}
                self.sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
                bodies.append(json.loads(message["Body"]))
            if "Messages" not in answer:
                return bodies

    def control(self) -> Control:
        return read_control(runtime.read_model(NAME))

    def rows(self) -> int:
        return len(runtime.read_model(NAME).rows(self.control().active, RowQuery(limit=1000)).rows)


@pytest.fixture
def stack(moto_client: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> Stack:
    return Stack(moto_client, monkeypatch)


@pytest.fixture(autouse=True)
def _as_new() -> Iterator[None]:
    """Clear the caches before each test: a container keeps them."""

    def forget() -> None:
        for each in (runtime.session, runtime.client, runtime.event_store, runtime.read_model, runtime.code):
            each.cache_clear()
        runtime.replay_jobs.cache_clear()
        runtime.replays.cache_clear()
        projector._projector.cache_clear()
        replay_worker._worker.cache_clear()

    forget()
    yield
    forget()


def test_an_event_whose_message_was_lost_is_projected_within_a_run(stack: Stack) -> None:
    stack.reconcile()
    stack.append(3)

    report = stack.reconcile()
    stack.deliver(stack.queue, projector)

    assert (report["lag"], report["triggered"]) == (3, 1)
    assert stack.rows() == 3
    assert stack.reconcile()["lag"] == 0


def test_the_history_of_a_new_projection_is_replayed(stack: Stack) -> None:
    stack.append(5)

    reports = [stack.reconcile(), stack.reconcile()]
    stack.deliver(stack.replays, replay_worker)

    assert [report["backfill"] for report in reports] == [False, True]
    assert stack.control().active == 1
    assert stack.rows() == 5


def test_an_abandoned_generation_is_swept(stack: Stack) -> None:
    stack.reconcile()
    stack.append(5)
    for _ in range(2):
        runtime.replays(NAME).trigger()
        stack.deliver(stack.replays, replay_worker)
    assert stack.control().sweep == (0,)

    stack.reconcile()
    [message] = stack.deliver(stack.replays, replay_worker)

    assert message == {"projection": NAME, "sweep": 0}
    assert stack.control().sweep == ()


def test_a_message_of_the_replay_queue_that_cannot_be_read_is_redelivered() -> None:
    records = [{"messageId": "odd", "body": "nonsense"}, {"messageId": "other", "body": '{"projection":"?"}'}]

    answer = replay_worker.handler({"Records": records}, Context())

    assert [each["itemIdentifier"] for each in answer["batchItemFailures"]] == ["odd", "other"]


def test_without_a_name_all_projections_are_reconciled(stack: Stack) -> None:
    assert list(stack.invoke(reconciler, {})) == list(registry())


def test_only_projections_of_the_registry_are_served() -> None:
    for ask in (runtime.read_model, runtime.code, runtime.replays, runtime.projector, runtime.replay_worker):
        with pytest.raises(NotFoundError):
            ask("no-such-thing")


def test_a_function_without_rows_and_jobs_is_composed_without_them(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ROWS_TABLE")
    monkeypatch.delenv("JOBS_TABLE")

    assert stack.control() == Control()


def test_functions_make_no_client_when_they_are_imported() -> None:
    for module in (projector, reconciler, replay_worker):
        importlib.reload(module)

    assert runtime.client.cache_info().currsize == 0
