"""The composition root of the functions: from the environment to adapters.

Only this module makes boto3 clients and reads environment variables. Its functions make their objects once per
container, and import what they need on first use, so that a Lambda function pays only for what it uses.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache, wraps
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aws_lambda_powertools import Logger, Metrics

    from handlers.core.dynamodb import Usage
    from handlers.core.events import StreamId
    from handlers.projection import Projection
    from handlers.projection.engine import Code, Projector
    from handlers.projection.port import ReadModel
    from handlers.replay.jobs import ReplayJobs
    from handlers.replay.requests import Replays
    from handlers.replay.worker import ReplayWorker
    from handlers.store import EventStore


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
def read_model(projection_name: str) -> ReadModel:
    """Return the read model of a projection, in the tables that all share."""
    from handlers.projection.dynamodb import DynamoDbReadModel

    return DynamoDbReadModel(
        client("dynamodb"),
        name=projection(projection_name).name,
        states_table=setting("STATES_TABLE"),
        # Not every function has rows or jobs to do with.
        rows_table=os.environ.get("ROWS_TABLE", ""),
        jobs_table=os.environ.get("JOBS_TABLE", ""),
    )


@cache
def code(projection_name: str) -> Code:
    """Return the code of a projection, by fingerprint: the deployed one, and what older generations need (G10)."""
    from handlers.older_code import older
    from handlers.projection.engine import Code

    return Code(projection(projection_name), lambda: older(projection_name))


def projector(projection_name: str) -> Projector:
    """Return a new projector with empty caches."""
    from handlers.core.clock import SystemClock, pause
    from handlers.projection.engine import Projector

    return Projector(code(projection_name), event_store(), read_model(projection_name), SystemClock(), pause=pause)


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
        SystemClock(),
        send=lambda replay_id: send_replay(projection_name, replay_id),
        new_id=lambda: str(uuid.uuid4()),
        has_code=lambda fingerprint: code(projection_name).find(fingerprint) is not None,
    )


def replay_worker(projection_name: str) -> ReplayWorker:
    """Return a new worker for the replays of a projection."""
    from handlers.core.clock import SystemClock, pause
    from handlers.replay.worker import ReplayWorker

    return ReplayWorker(
        projector(projection_name),
        event_store(),
        read_model(projection_name),
        SystemClock(),
        send=lambda replay_id, segment: send_replay(projection_name, replay_id, segment),
        pause=pause,
    )


def send_replay(projection_name: str, replay_id: str, segment: int | None = None) -> None:
    """Send the message for a task of a replay."""
    from handlers.core import messages

    entry = messages.replay_entry(projection_name, replay_id, segment)
    client("sqs").send_message(QueueUrl=setting("REPLAY_QUEUE_URL"), **entry)


def send_sweep(projection_name: str, generation: int, *, salt: str = "") -> None:
    """Send the message for deleting an abandoned generation; without a ``salt`` at most once in five minutes."""
    from handlers.core import messages

    entry = messages.sweep_entry(projection_name, generation, salt=salt)
    client("sqs").send_message(QueueUrl=setting("REPLAY_QUEUE_URL"), **entry)


def trigger_projection(projection_name: str, stream_id: StreamId, head: int) -> None:
    """Send a hint that makes a projector catch up with a stream."""
    import uuid

    from handlers.core import messages

    entry = messages.trigger_entry(stream_id, head, uuid.uuid4().hex)
    client("sqs").send_message(QueueUrl=queue_url(projection_name), **entry)


def queue_url(projection_name: str) -> str:
    """Return the URL of a projection's queue: those of all projections differ in their names only (`stack.queues`)."""
    return setting("PROJECTION_QUEUES").replace("*", projection(projection_name).pascal_name)


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
