"""The tables of the event store and of projections, made for one test with names of their own."""

import uuid
from dataclasses import dataclass
from typing import Any

from handlers.projection.definition import PARTITION_ATTRIBUTE
from handlers.replay.jobs_dynamodb import RECENT_INDEX
from handlers.store.items import STREAM_INDEX


@dataclass(frozen=True, slots=True)
class EventTables:
    """Names of an event store's tables."""

    events: str
    idempotency: str


@dataclass(frozen=True, slots=True)
class ProjectionTables:
    """Names of a projection's tables."""

    state: str
    rows: str


def make_event_tables(dynamodb: Any) -> EventTables:
    suffix = uuid.uuid4().hex[:12]
    tables = EventTables(f"events-{suffix}", f"idempotency-{suffix}")
    index = {
        "IndexName": STREAM_INDEX,
        "KeySchema": _keys("streamShard", "streamId"),
        "Projection": {"ProjectionType": "KEYS_ONLY"},
    }
    _make(dynamodb, tables.events, {"streamId": "S", "eventId": "N"}, {"streamShard": "S"}, [index])
    _make(dynamodb, tables.idempotency, {"idempotencyKey": "S"})
    return tables


def make_projection_tables(dynamodb: Any, key: str) -> ProjectionTables:
    suffix = uuid.uuid4().hex[:12]
    tables = ProjectionTables(f"state-{suffix}", f"rows-{suffix}")
    _make(dynamodb, tables.state, {"streamId": "S"})
    _make(dynamodb, tables.rows, {PARTITION_ATTRIBUTE: "S", key: "S"})
    return tables


def make_jobs_table(dynamodb: Any) -> str:
    name = f"jobs-{uuid.uuid4().hex[:12]}"
    index = {
        "IndexName": RECENT_INDEX,
        "KeySchema": _keys("kind", "startedAt"),
        "Projection": {"ProjectionType": "ALL"},
    }
    _make(dynamodb, name, {"replayId": "S", "part": "S"}, {"kind": "S", "startedAt": "S"}, [index])
    return name


def _make(
    dynamodb: Any,
    name: str,
    keys: dict[str, str],
    more_attributes: dict[str, str] | None = None,
    indexes: list[dict[str, Any]] | None = None,
) -> None:
    attributes = keys | (more_attributes or {})
    dynamodb.create_table(
        TableName=name,
        KeySchema=_keys(*keys),
        AttributeDefinitions=[{"AttributeName": each, "AttributeType": kind} for each, kind in attributes.items()],
        BillingMode="PAY_PER_REQUEST",
        **({"GlobalSecondaryIndexes": indexes} if indexes else {}),
    )


def _keys(*names: str) -> list[dict[str, str]]:
    return [{"AttributeName": name, "KeyType": kind} for name, kind in zip(names, ("HASH", "RANGE"), strict=False)]
