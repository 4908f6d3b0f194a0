"""The composition root of the functions: from the environment to adapters.

Only this module makes boto3 clients and reads environment variables. Its functions make their objects once per
container, and import what they need on first use, so that a Lambda function pays only for what it uses.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, wraps
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aws_lambda_powertools import Logger, Metrics

    from handlers.core.dynamodb import Usage
    from handlers.core.events import StreamId
    from handlers.projection import Projection
    from handlers.projection.engine import Projector
    from handlers.projection.port import ReadModel
    from handlers.replay.jobs import ReplayJobs
    from handlers.replay.requests import Replays
    from handlers.store import EventStore


@dataclass(frozen=True, slots=True)
class ProjectionResources:
    """A projection's table names and queue URL (empty if the function may not use it)."""

    state: str
    rows: str
    queue: str = ""


@cache
def session() -> Any:
    """Return the boto3 session."""
    import boto3

    return boto3.session.Session()


@cache
def client(service: str) -> Any:
    """Return the boto3 client of a service; its timeouts are short, since every call here is small."""
    from botocore.config import Config

    # Our calls take milliseconds; 2 s to connect and 5 s to read leave a function time for its retries.
    config = Config(connect_timeout=2, read_timeout=5, retries={"mode": "standard", "max_attempts": 4})
    return usage().watch(session().client(service, config=config))


@cache
def usage() -> Usage:
    """Return the counter of the clients' calls."""
    from handlers.core.dynamodb import Usage

    return Usage()


def used() -> dict[str, Any]:
    """Return the calls and capacity units used since the last call, as a log field; empty if there are none."""
    taken = usage().take() if usage.cache_info().currsize else {}
    return {"used": taken} if taken else {}


@cache
def event_store() -> EventStore:
    """Return the event store on the Events table (and the Idempotency table, if the function has it)."""
    from handlers.store.dynamodb import DynamoDbEventStore

    return DynamoDbEventStore(
        client("dynamodb"),
        events_table=os.environ["EVENTS_TABLE"],
        idempotency_table=os.environ.get("IDEMPOTENCY_TABLE"),
    )


@cache
def resources() -> Mapping[str, ProjectionResources]:
    """Return the projections that this function may access, by name."""
    described: dict[str, dict[str, str]] = json.loads(os.environ.get("PROJECTIONS", "{}"))
    return {name: ProjectionResources(**where) for name, where in described.items()}


@cache
def read_model(projection_name: str) -> ReadModel:
    """Return the read model of a projection.

    Raises
    ------
    KeyError
        The function has no access to that projection.
    """
    from handlers.projection.dynamodb import DynamoDbReadModel

    where = resources()[projection_name]
    return DynamoDbReadModel(
        client("dynamodb"), state_table=where.state, rows_table=where.rows, key=projection(projection_name).key
    )


def projector(projection_name: str) -> Projector:
    """Return a new projector with empty caches."""
    from handlers.core.clock import SystemClock, pause
    from handlers.projection.engine import Projector

    return Projector(
        projection(projection_name),
        event_store(),
        read_model(projection_name),
        SystemClock(),
        pause=pause,
    )


@cache
def replay_jobs() -> ReplayJobs:
    """Return the store of replay jobs."""
    from handlers.replay.jobs_dynamodb import DynamoDbReplayJobs

    return DynamoDbReplayJobs(client("dynamodb"), setting("JOBS_TABLE"))


@cache
def replays(projection_name: str) -> Replays:
    """Return the service that starts and describes replays of a projection."""
    import uuid

    from handlers.core.clock import SystemClock
    from handlers.replay.requests import Replays

    return Replays(
        projection(projection_name),
        event_store(),
        read_model(projection_name),
        replay_jobs(),
        SystemClock(),
        send=lambda stream_id, replay_id: send_replay(projection_name, replay_id, stream_id),
        new_id=lambda: str(uuid.uuid4()),
    )


def send_replay(
    projection_name: str, replay_id: str, stream_id: StreamId | None = None, *, after: str | None = None
) -> None:
    """Send the message for a task of a stream's replay, or for finding the next streams of a replay of all.

    Each message is its own group: concurrent workers of a stream are harmless (conditions enforce R1 to R4), whereas a
    message behind a dead worker of its group would wait for the whole visibility timeout.
    """
    import uuid

    message = {"projection": projection_name, "replayId": replay_id, "streamId": stream_id, "after": after}
    unique = uuid.uuid4().hex
    client("sqs").send_message(
        QueueUrl=setting("REPLAY_QUEUE_URL"),
        MessageBody=json.dumps({name: value for name, value in message.items() if value is not None}),
        MessageGroupId=unique,
        MessageDeduplicationId=unique,
    )


def trigger_projection(projection_name: str, stream_id: StreamId, head: int) -> None:
    """Send a hint that makes a projector catch up with a stream."""
    import uuid

    from handlers.core import messages

    entry = messages.trigger_entry(stream_id, head, uuid.uuid4().hex)
    client("sqs").send_message(QueueUrl=resources()[projection_name].queue, **entry)


def projection(name: str) -> Projection:
    """Return a projection of the registry.

    Raises
    ------
    NotFoundError
        No projection has that name.
    """
    from handlers.core.errors import NotFoundError
    from handlers.domain import registry

    try:
        return registry()[name]
    except KeyError:
        raise NotFoundError(f"there is no projection {name!r}") from None


@cache
def logger() -> Logger:
    """Return the structured logger (JSON lines on stdout)."""
    from aws_lambda_powertools import Logger

    return Logger()


@cache
def metrics() -> Metrics:
    """Return the metrics sink (EMF lines on stdout)."""
    from aws_lambda_powertools import Metrics

    return Metrics()


def flag(name: str) -> bool:
    """Tell whether a boolean environment variable is set to true."""
    return os.environ.get(name, "").lower() in {"1", "true"}


def setting(name: str) -> str:
    """Return a required environment variable; `KeyError` if the stack does not set it."""
    return os.environ[name]


def count(**amounts: int) -> None:
    """Add to counters of this invocation; does nothing if no metrics namespace is set."""
    for name, amount in amounts.items():
        if amount and metrics().namespace:
            metrics().add_metric(name=name, unit="Count", value=amount)


def rate(name: str, per_second: float) -> None:
    """Record a rate of this invocation."""
    if metrics().namespace:
        metrics().add_metric(name=name, unit="Count/Second", value=round(per_second, 1))


def gauge(projection_name: str, **values: int) -> None:
    """Record current values of one projection, with its name as a dimension."""
    from aws_lambda_powertools.metrics import MetricUnit, single_metric

    if not metrics().namespace:
        return
    for name, value in values.items():
        with single_metric(name=name, unit=MetricUnit.Count, value=value, namespace=metrics().namespace) as metric:
            metric.add_dimension(name="projection", value=projection_name)


def flush_metrics() -> None:
    """Write the metrics of this invocation, if any: Powertools logs a warning if there are none."""
    if metrics.cache_info().currsize and metrics().metric_set:
        metrics().flush_metrics()


def traced(handler: Callable[..., Any]) -> Callable[..., Any]:
    """Trace a Lambda handler with X-Ray if TRACING is on; only then is the Tracer imported, which costs 46 ms."""
    if not flag("TRACING"):
        return handler
    from aws_lambda_powertools import Tracer

    # Responses hold user data, which must stay out of the traces.
    wrapped: Callable[..., Any] = Tracer().capture_lambda_handler(handler, capture_response=False)
    return wrapped


def function(handler: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Make a handler that is not behind the API a Lambda entry point: with request id, usage, metrics and traces."""

    @wraps(handler)
    def run(event: Any, context: Any) -> Any:
        logger().append_keys(functionRequestId=getattr(context, "aws_request_id", ""))
        try:
            return handler(event, context)
        finally:
            spent = used()
            if spent:
                logger().info("used", extra=spent)
            flush_metrics()

    return traced(run)
