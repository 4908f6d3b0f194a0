"""The read model on DynamoDB: a state table and a rows table.

Requires, depending on the function, dynamodb:GetItem, dynamodb:PutItem, dynamodb:UpdateItem, dynamodb:DeleteItem,
dynamodb:Query, dynamodb:Scan (states) and dynamodb:BatchWriteItem (sweep).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Context, Decimal
from typing import Any

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from botocore.exceptions import ClientError

from handlers.core.dynamodb import BATCH_WRITE_ITEMS, NUMBER_DIGITS
from handlers.core.events import StreamId
from handlers.projection.definition import PARTITION_ATTRIBUTE, Row
from handlers.projection.port import MAX_COMMIT_ROWS, OutdatedError, RowPage, Snapshot
from handlers.projection.rows import check_number
from handlers.projection.state import DEFAULTS, Document, StreamState
from handlers.projection.transitions import StateChange

_CONFLICTS = {"ConditionalCheckFailed", "TransactionConflict"}
_PLAIN_INTEGER = re.compile(r"-?\d+")


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


class DynamoDbReadModel:
    """A `ReadModel` on two tables; ``key``, the projection's key, is the rows table's sort key."""

    def __init__(self, client: Any, *, state_table: str, rows_table: str, key: str) -> None:
        self._client = client
        self._states = state_table
        self._rows = rows_table
        self._key = key

    def load(self, stream_id: StreamId, keys: Sequence[str] = (), generation: int = 0) -> Snapshot:
        if not keys:
            answer = self._client.get_item(
                TableName=self._states, Key={"streamId": {"S": stream_id}}, ConsistentRead=True
            )
            return Snapshot(self._state(stream_id, answer.get("Item")), {}, generation)
        # A transaction, not a batch: a batch reads each item at a different instant, and a row older than its state would
        # pass the condition on that state.
        gets = [{"Get": {"TableName": self._states, "Key": {"streamId": {"S": stream_id}}}}]
        gets += [{"Get": {"TableName": self._rows, "Key": self._row_key(stream_id, generation, key)}} for key in keys]
        try:
            responses = self._client.transact_get_items(TransactItems=gets)["Responses"]
        except ClientError as error:
            if len(keys) > 1 and _is_invalid(error):
                return self._load_halves(stream_id, keys, generation)
            raise self._outdated(error) from error
        rows = {key: self._row(found.get("Item")) for key, found in zip(keys, responses[1:], strict=True)}
        return Snapshot(self._state(stream_id, responses[0].get("Item")), rows, generation)

    def _load_halves(self, stream_id: StreamId, keys: Sequence[str], generation: int) -> Snapshot:
        """Read rows that together exceed the 4 MB of a transaction.

        Rows change only with the state item: rows read with the same state are of the same instant.
        """
        middle = len(keys) // 2
        one, other = (self.load(stream_id, half, generation) for half in (keys[:middle], keys[middle:]))
        if one.state != other.state:
            raise OutdatedError("the state changed between two reads")
        return Snapshot(other.state, {**one.rows, **other.rows}, generation)

    def commit(self, change: StateChange, rows: Mapping[str, Row | None] | None = None, generation: int = 0) -> None:
        if rows and len(rows) > MAX_COMMIT_ROWS:
            raise ValueError(f"a commit holds at most {MAX_COMMIT_ROWS} rows, not {len(rows)}")
        update = _update(self._states, change)
        try:
            if not rows:
                self._client.update_item(**update)
                return
            writes: list[dict[str, Any]] = [{"Update": update}]
            for key, row in rows.items():
                writes.append(self._write(change.stream_id, generation, key, row))
            self._client.transact_write_items(TransactItems=writes)
        except ClientError as error:
            raise self._outdated(error) from error

    def page(
        self, stream_id: StreamId, generation: int, *, after: str | None = None, limit: int | None = None
    ) -> RowPage:
        names = {"#partition": PARTITION_ATTRIBUTE}
        values = {":partition": {"S": _partition(stream_id, generation)}}
        condition = "#partition = :partition"
        if after is not None:
            names["#key"] = self._key
            values[":after"] = {"S": after}
            condition += " AND #key > :after"
        query: dict[str, Any] = {
            "TableName": self._rows,
            "KeyConditionExpression": condition,
            "ExpressionAttributeNames": names,
            "ExpressionAttributeValues": values,
            "ConsistentRead": True,
        }
        if limit is not None:
            query["Limit"] = limit
        answer = self._client.query(**query)
        rows = tuple((item[self._key]["S"], self._row(item) or {}) for item in answer["Items"])
        last = answer.get("LastEvaluatedKey")
        return RowPage(rows, last[self._key]["S"] if last else None)

    def sweep(self, stream_id: StreamId, generation: int) -> bool:
        found = self._client.query(
            TableName=self._rows,
            KeyConditionExpression="#partition = :partition",
            ExpressionAttributeNames={"#partition": PARTITION_ATTRIBUTE, "#key": self._key},
            ExpressionAttributeValues={":partition": {"S": _partition(stream_id, generation)}},
            ProjectionExpression="#partition, #key",
            ConsistentRead=True,
        )
        items = found["Items"]
        for start in range(0, len(items), BATCH_WRITE_ITEMS):
            requests = [{"DeleteRequest": {"Key": item}} for item in items[start : start + BATCH_WRITE_ITEMS]]
            answer = self._client.batch_write_item(RequestItems={self._rows: requests})
            if answer.get("UnprocessedItems"):
                return False  # throttled: the next call deletes them
        return "LastEvaluatedKey" not in found

    def states(self) -> Iterator[StreamState]:
        scan: dict[str, Any] = {"TableName": self._states, "ConsistentRead": True}
        while True:
            answer = self._client.scan(**scan)
            for item in answer["Items"]:
                yield self._state(StreamId(item["streamId"]["S"]), item)
            if "LastEvaluatedKey" not in answer:
                return
            scan["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    # -- items ---------------------------------------------------------------------------------------------------------

    def _row_key(self, stream_id: StreamId, generation: int, key: str) -> dict[str, Any]:
        return {PARTITION_ATTRIBUTE: {"S": _partition(stream_id, generation)}, self._key: {"S": key}}

    def _row(self, item: Mapping[str, Any] | None) -> Row | None:
        if item is None:
            return None
        hidden = (PARTITION_ATTRIBUTE, self._key)
        return {name: deserialize(value) for name, value in item.items() if name not in hidden}

    def _write(self, stream_id: StreamId, generation: int, key: str, row: Row | None) -> dict[str, Any]:
        item = self._row_key(stream_id, generation, key)
        if row is None:
            return {"Delete": {"TableName": self._rows, "Key": item}}
        return {
            "Put": {
                "TableName": self._rows,
                "Item": item | {name: serialize(value) for name, value in row.items()},
            }
        }

    @staticmethod
    def _state(stream_id: StreamId, item: Mapping[str, Any] | None) -> StreamState:
        document: Document = {name: deserialize(value) for name, value in (item or {}).items()}
        return StreamState.from_document(stream_id, document)

    @staticmethod
    def _outdated(error: ClientError) -> Exception:
        """Return an `OutdatedError` for a lost race; other errors unchanged."""
        code = error.response["Error"]["Code"]
        lost = code in {
            "ConditionalCheckFailedException",
            "TransactionConflictException",
            "TransactionInProgressException",
        }
        if code == "TransactionCanceledException":
            reasons: Any = error.response.get("CancellationReasons", [])
            lost = {reason.get("Code") for reason in reasons} - {"None", None} <= _CONFLICTS
        return OutdatedError("the state was changed by another writer") if lost else error


def _is_invalid(error: ClientError) -> bool:
    """Tell whether DynamoDB rejects a read transaction; ours can only have too many bytes."""
    reasons: Any = error.response.get("CancellationReasons", [])
    return error.response["Error"]["Code"] == "ValidationException" or any(
        reason.get("Code") == "ValidationError" for reason in reasons
    )


def _partition(stream_id: StreamId, generation: int) -> str:
    return f"{stream_id}#{generation}"


def _update(table: str, change: StateChange) -> dict[str, Any]:
    """Return a change as the arguments of an UpdateItem."""
    names: dict[str, str] = {}
    values: dict[str, Any] = {}

    def name(path: str) -> str:
        parts = []
        for part in path.split("."):
            names[f"#{part}"] = part
            parts.append(f"#{part}")
        return ".".join(parts)

    def value(content: Any) -> str:
        placeholder = f":v{len(values)}"
        values[placeholder] = serialize(content)
        return placeholder

    conditions = []
    for path, expected in change.expect.items():
        if expected is None:
            conditions.append(f"attribute_not_exists({name(path)})")
        elif DEFAULTS.get(path) == expected:
            conditions.append(f"(attribute_not_exists({name(path)}) OR {name(path)} = {value(expected)})")
        else:
            conditions.append(f"{name(path)} = {value(expected)}")
    clauses = []
    if change.put:
        clauses.append("SET " + ", ".join(f"{name(each)} = {value(content)}" for each, content in change.put.items()))
    if change.remove:
        clauses.append("REMOVE " + ", ".join(map(name, change.remove)))
    update: dict[str, Any] = {
        "TableName": table,
        "Key": {"streamId": {"S": change.stream_id}},
        "UpdateExpression": " ".join(clauses),
        "ExpressionAttributeNames": names,
    }
    if conditions:
        update["ConditionExpression"] = " AND ".join(conditions)
    if values:
        update["ExpressionAttributeValues"] = values
    return update
