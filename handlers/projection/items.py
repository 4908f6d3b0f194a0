"""The items of read models in DynamoDB's notation: their keys, their attributes, and changes as expressions.

All projections share three tables: States (also control items and fences), Rows, and Jobs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from decimal import Context, Decimal
from typing import Any

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer

from handlers.core.clock import parse_rfc3339
from handlers.core.dynamodb import NUMBER_DIGITS
from handlers.projection.port import Change, RowChange, StoredRow
from handlers.projection.rows import check_number
from handlers.projection.state import ControlItem, Document, Item, JobItem, StateItem, shard_of

DynamoItem = dict[str, Any]
"""An item in DynamoDB's notation: ``{"name": {"S": "…"}}``."""

HALTED_INDEX, HALTED_IN = "halted", "haltedIn"
"""The sparse index of halted streams in the States table, and its partition key."""

RECENT_INDEX, JOB = "recent", "job"
"""The index of jobs by time, and the only value of its partition key ``kind``."""

# Jobs expire after 90 days (DynamoDB TTL).
JOB_TTL_S = 90 * 24 * 3600

_PLAIN_INTEGER = re.compile(r"-?\d+")


# -- values --------------------------------------------------------------------------------------------------------------


class _Deserializer(TypeDeserializer):
    """Reads whole numbers as ``int``, like JSON, and others as ``Decimal``."""

    def _deserialize_n(self, value: str) -> int | Decimal:
        return int(value) if _PLAIN_INTEGER.fullmatch(value) else Decimal(value)


class _Serializer(TypeSerializer):
    """Writes every number that `rows.check_number` accepts.

    boto3's context rejects some of them: trailing zeros beyond 38 digits, which DynamoDB does not count (10^40 has one
    digit), 38 digits close to 1e-130, a zero with an exponent.
    """

    def _serialize_n(self, value: int | Decimal) -> str:
        check_number(value)
        exact = Decimal(value)
        if not exact:
            return "0"
        return str(exact.normalize(_WIDE) if len(exact.as_tuple().digits) > NUMBER_DIGITS else exact)


# Wide enough for any number that `rows.check_number` accepts, so that normalizing only removes zeros.
_WIDE = Context(prec=5000)

serialize = _Serializer().serialize
deserialize = _Deserializer().deserialize


# -- keys ----------------------------------------------------------------------------------------------------------------


def generation_key(name: str, generation: int) -> str:
    """Return the partition key of a generation's rows, and of its halted streams in their index."""
    return f"{name}#{generation}"


def shard_key(name: str, generation: int, shard: int) -> str:
    """Return the partition key of a shard of a generation's states."""
    return f"{name}#{generation}#{shard:02d}"


def table_key(pk: str, sk: str) -> DynamoItem:
    """Return the key of an item in the States or the Rows table."""
    return {"pk": {"S": pk}, "sk": {"S": sk}}


def item_key(name: str, item: Item) -> DynamoItem:
    """Return the key of a projection's item in the States or the Jobs table."""
    if isinstance(item, JobItem):
        return {"replayId": {"S": item.replay_id}}
    if isinstance(item, StateItem):
        return table_key(shard_key(name, item.generation, shard_of(item.stream_id)), item.stream_id)
    return table_key(name, "control" if isinstance(item, ControlItem) else "reconciler")


def fence_key(name: str, shard: int) -> DynamoItem:
    """Return the key of a fence in the States table."""
    return table_key(f"{name}#{shard:02d}", "fence")


# -- documents -----------------------------------------------------------------------------------------------------------

# Keys, and attributes that only the tables need.
_HIDDEN = {"pk", "sk", HALTED_IN, "kind", "expiresAt"}


def document_from_item(item: Mapping[str, Any] | None) -> Document:
    """Return the document of an item of the States or Jobs table, a job's with its replayId; empty if there is no item."""
    return {name: deserialize(value) for name, value in (item or {}).items() if name not in _HIDDEN}


# -- rows ----------------------------------------------------------------------------------------------------------------


def row_from_item(item: Mapping[str, Any]) -> StoredRow:
    """Return the row of an item of the Rows table."""
    return StoredRow(item["version"]["S"], deserialize(item["row"]))


def row_write(table: str, pk: str, change: RowChange) -> dict[str, Any]:
    """Return a row's change as an action of a transaction."""
    condition: dict[str, Any] = {"ConditionExpression": "attribute_not_exists(pk)"}
    if change.before is not None:
        condition = {
            "ConditionExpression": "#version = :before",
            "ExpressionAttributeNames": {"#version": "version"},
            "ExpressionAttributeValues": {":before": {"S": change.before}},
        }
    key = table_key(pk, change.key)
    if not change.write:
        return {"ConditionCheck": {"TableName": table, "Key": key, **condition}}
    if change.row is None:
        return {"Delete": {"TableName": table, "Key": key, **condition}}
    item = {**key, "version": {"S": change.version}, "row": serialize(change.row)}
    for entry in change.entries:
        item[f"index{entry.slot}"] = {"S": f"{pk}#{entry.value}"}
        item[f"sort{entry.slot}"] = {"S": entry.sort}
    return {"Put": {"TableName": table, "Item": item, **condition}}


# -- changes of states, control items and jobs ---------------------------------------------------------------------------


def fence_check(table: str, name: str, shard: int, version: int) -> dict[str, Any]:
    """Return the check that a fence has a version, as the arguments of a ConditionCheck (G3)."""
    check: dict[str, Any] = {"TableName": table, "Key": fence_key(name, shard)}
    if version == 0:
        return {**check, "ConditionExpression": "attribute_not_exists(pk)"}
    return {
        **check,
        "ConditionExpression": "#version = :version",
        "ExpressionAttributeNames": {"#version": "version"},
        "ExpressionAttributeValues": {":version": serialize(version)},
    }


def fence_item(name: str, shard: int, version: int) -> DynamoItem:
    """Return a fence as an item of the States table."""
    return {**fence_key(name, shard), "version": serialize(version)}


def update(table: str, name: str, change: Change[Any]) -> dict[str, Any]:
    """Return a change as the arguments of an UpdateItem."""
    expressions = _Expressions()
    put, remove = dict(change.put), list(change.remove)
    if isinstance(change.item, StateItem):
        if "halted" in put:
            put[HALTED_IN] = generation_key(name, change.item.generation)
        elif "halted" in remove:
            remove.append(HALTED_IN)
    if isinstance(change.item, JobItem):
        put.pop("replayId", None)  # the item's key
        if "startedAt" in put:
            put |= {"kind": JOB, "expiresAt": int(parse_rfc3339(put["startedAt"]).timestamp()) + JOB_TTL_S}
    arguments: dict[str, Any] = {"TableName": table, "Key": item_key(name, change.item)}
    clauses = []
    if put:
        clauses.append("SET " + ", ".join(f"{expressions.path(each)} = {expressions.value(put[each])}" for each in put))
    if remove:
        clauses.append("REMOVE " + ", ".join(map(expressions.path, remove)))
    if clauses:
        arguments["UpdateExpression"] = " ".join(clauses)
    if change.expect:
        arguments["ConditionExpression"] = " AND ".join(expressions.conditions(change.expect))
    if expressions.names:
        arguments["ExpressionAttributeNames"] = expressions.names
    if expressions.values:
        arguments["ExpressionAttributeValues"] = expressions.values
    return arguments


class _Expressions:
    """Placeholders for the names and values of an update's expressions."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self.values: DynamoItem = {}
        self._placeholders: dict[str, str] = {}

    def path(self, path: str) -> str:
        return ".".join(map(self._name, path.split(".")))

    def value(self, content: Any) -> str:
        placeholder = f":v{len(self.values)}"
        self.values[placeholder] = serialize(content)
        return placeholder

    def conditions(self, expect: Mapping[str, Any]) -> Iterable[str]:
        for path, expected in expect.items():
            if expected is None:
                yield f"attribute_not_exists({self.path(path)})"
            else:
                yield f"{self.path(path)} = {self.value(expected)}"

    def _name(self, name: str) -> str:
        if name not in self._placeholders:
            self._placeholders[name] = f"#n{len(self.names)}"
            self.names[self._placeholders[name]] = name
        return self._placeholders[name]
