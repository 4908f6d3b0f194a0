"""The tables of the event store and of read models, made for one test with names of their own."""

import uuid
from dataclasses import dataclass
from typing import Any

from handlers.projection.items import HALTED_IN, HALTED_INDEX, RECENT_INDEX
from handlers.projection.port import INDEX_SLOTS
from handlers.store.items import STREAM_INDEX


@dataclass(frozen=True, slots=True)
class EventTables:
    """Names of an event store's tables."""

    events: str
    idempotency: str


@dataclass(frozen=True, slots=True)
class ReadModelTables:
    """Names of the tables that all projections share."""

    states: str
    rows: str
    jobs: str


def make_event_tables(dynamodb: Any) -> EventTables:
    suffix = uuid.uuid4().hex[:12]
    tables = EventTables(f"events-{suffix}", f"idempotency-{suffix}")
    _make(dynamodb, tables.events, {"streamId": "S", "eventId": "N"}, {STREAM_INDEX: ("streamShard", "streamId")})
    _make(dynamodb, tables.idempotency, {"idempotencyKey": "S"})
    return tables


def make_read_model_tables(dynamodb: Any) -> ReadModelTables:
    suffix = uuid.uuid4().hex[:12]
    tables = ReadModelTables(f"states-{suffix}", f"rows-{suffix}", f"jobs-{suffix}")
    slots = {f"index{slot}": (f"index{slot}", f"sort{slot}") for slot in range(1, INDEX_SLOTS + 1)}
    _make(dynamodb, tables.states, {"pk": "S", "sk": "S"}, {HALTED_INDEX: (HALTED_IN, "sk")})
    _make(dynamodb, tables.rows, {"pk": "S", "sk": "S"}, slots)
    _make(dynamodb, tables.jobs, {"replayId": "S"}, {RECENT_INDEX: ("kind", "startedAt")}, projected="ALL")
    return tables


def _make(
    dynamodb: Any,
    name: str,
    keys: dict[str, str],
    indexes: dict[str, tuple[str, str]] | None = None,
    *,
    projected: str = "KEYS_ONLY",
) -> None:
    """Make a table; all key attributes of its indexes, by index, are strings."""
    attributes = {each: "S" for index in (indexes or {}).values() for each in index} | keys
    more = [
        {"IndexName": index, "KeySchema": _keys(*names), "Projection": {"ProjectionType": projected}}
        for index, names in (indexes or {}).items()
    ]
    dynamodb.create_table(
        TableName=name,
        KeySchema=_keys(*keys),
        AttributeDefinitions=[{"AttributeName": each, "AttributeType": kind} for each, kind in attributes.items()],
        BillingMode="PAY_PER_REQUEST",
        **({"GlobalSecondaryIndexes": more} if more else {}),
    )


def _keys(*names: str) -> list[dict[str, str]]:
    return [{"AttributeName": name, "KeyType": kind} for name, kind in zip(names, ("HASH", "RANGE"), strict=False)]
