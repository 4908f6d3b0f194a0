"""The composition root of the functions: from the environment to adapters.

The one place in `handlers` that makes boto3 clients or reads environment variables. Each function below makes its thing
once per container and imports what it needs when it is first asked, so that a function pays only for what it uses.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aws_lambda_powertools import Logger, Metrics

    from handlers.projection import Projection
    from handlers.projection.port import ReadModel
    from handlers.store import EventStore


@dataclass(frozen=True, slots=True)
class ProjectionResources:
    """Where a projection lives: table names and its queue's URL (empty where the function may not use it)."""

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
    """Return the one boto3 client of a service: short timeouts, since every call here is small."""
    from botocore.config import Config

    # A call of ours answers in milliseconds; 2 s to connect and 5 s to read leave a function time for its retries.
    config = Config(connect_timeout=2, read_timeout=5, retries={"mode": "standard", "max_attempts": 4})
    return session().client(service, config=config)


@cache
def event_store() -> EventStore:
    """Return the event store on the Events table (and the Idempotency table where the function has it)."""
    from handlers.store.dynamodb import DynamoDbEventStore

    return DynamoDbEventStore(
        client("dynamodb"),
        events_table=os.environ["EVENTS_TABLE"],
        idempotency_table=os.environ.get("IDEMPOTENCY_TABLE"),
    )


@cache
def resources() -> Mapping[str, ProjectionResources]:
    """Return the projections that this function may touch, by name."""
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


def projection(name: str) -> Projection:
    """Return a projection of the registry.

    Raises
    ------
    NotFound
        No projection has that name.
    """
    from handlers.errors import NotFound
    from handlers.projections import registry

    try:
        return registry()[name]
    except KeyError:
        raise NotFound(f"there is no projection {name!r}") from None


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
    """Tell whether a boolean variable of the environment is set to true."""
    return os.environ.get(name, "").lower() in {"1", "true"}
