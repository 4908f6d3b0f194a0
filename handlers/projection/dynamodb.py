"""The read model on DynamoDB, in tables that all projections share.

Requires, depending on the function, dynamodb:GetItem, dynamodb:BatchGetItem, dynamodb:Query, dynamodb:PutItem,
dynamodb:UpdateItem, dynamodb:DeleteItem, dynamodb:ConditionCheckItem and dynamodb:BatchWriteItem (sweep).
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from botocore.exceptions import ClientError

from handlers.core.clock import attempts
from handlers.core.dynamodb import (
    BATCH_READ_ITEMS,
    BATCH_WRITE_ITEMS,
    TRANSACTION_ITEMS,
    TRANSIENT,
    Retries,
    failure_reasons,
    is_transient,
    with_retries,
)
from handlers.core.errors import ContendedError
from handlers.core.events import StreamId
from handlers.projection.items import (
    HALTED_IN,
    HALTED_INDEX,
    DynamoItem,
    document_from_item,
    fence_check,
    fence_item,
    generation_key,
    item_key,
    row_from_item,
    row_write,
    shard_key,
    table_key,
    update,
)
from handlers.projection.port import Commit, OutdatedError, RowPage, RowQuery, Snapshot, StatePage
from handlers.projection.state import SHARDS, ControlItem, Document, Item, JobItem, StateItem, StreamState, shard_of

# 40 batches, about a second.
SWEEP_ITEMS = 1000


class DynamoDbReadModel:
    """A `ReadModel` of one projection.

    Parameters
    ----------
    client
        A boto3 DynamoDB client.
    name
        The projection's name, with which the keys of its items begin.
    rows_table, jobs_table
        Empty if the function does not use them.
    retries
        Yields once per attempt and waits in between.
    sweep_items
        The largest number of items that one call of `sweep` deletes.
    """

    def __init__(
        self,
        client: Any,
        *,
        name: str,
        states_table: str,
        rows_table: str = "",
        jobs_table: str = "",
        retries: Retries = attempts,
        sweep_items: int = SWEEP_ITEMS,
    ) -> None:
        self._client = client
        self._name = name
        self._states = states_table
        self._rows = rows_table
        self._jobs = jobs_table
        self._retries = retries
        self._sweep_items = sweep_items

    # -- reading -----------------------------------------------------------------------------------------------------

    def read(self, item: Item) -> Document:
        return document_from_item(self._get(self._table(item), item_key(self._name, item)))

    def load(self, generation: int, stream_ids: Sequence[StreamId], keys: Sequence[str] = ()) -> Snapshot:
        rows_pk = generation_key(self._name, generation)
        items = {stream_id: StateItem(generation, stream_id) for stream_id in stream_ids}
        wanted = [(self._states, item_key(self._name, item)) for item in items.values()]
        wanted += [(self._rows, table_key(rows_pk, key)) for key in dict.fromkeys(keys)]
        found = self._get_all(wanted)
        states = {}
        for stream_id, item in items.items():
            pk = shard_key(self._name, generation, shard_of(stream_id))
            document = document_from_item(found.get((self._states, pk, stream_id)))
            states[stream_id] = StreamState.from_document(item, document)
        rows = {key: found.get((self._rows, rows_pk, key)) for key in keys}
        return Snapshot(states, {key: row_from_item(item) if item else None for key, item in rows.items()})

    def rows(self, generation: int, query: RowQuery) -> RowPage:
        if _is_empty(query):
            return RowPage((), None)
        pk = generation_key(self._name, generation)
        names = ("pk", "sk") if query.slot is None else (f"index{query.slot}", f"sort{query.slot}")
        value = pk if query.slot is None else f"{pk}#{query.value}"
        request: dict[str, Any] = {
            "TableName": self._rows,
            **_key_condition(*names, value, query),
            "ScanIndexForward": not query.descending,
            "Limit": query.limit + 1,  # one more tells whether this page is the last one
        }
        if query.slot is None:
            request["ConsistentRead"] = True
        else:
            request["IndexName"] = names[0]
        if query.after is not None:
            request["ExclusiveStartKey"] = _start_key(pk, names, value, query)
        answer = self._call(self._client.query, **request)
        items = answer["Items"][: query.limit]
        last = items[-1] if len(answer["Items"]) > query.limit else answer.get("LastEvaluatedKey")
        position = last and _position(last, names[1], query)
        if query.slot is not None:
            items = [item for item in self._rows_of(items) if _is_within(item, names, value, query)]
        return RowPage(tuple((item["sk"]["S"], row_from_item(item).row) for item in items), position)

    def states(self, generation: int, shard: int, *, after: StreamId | None = None) -> StatePage:
        pk = shard_key(self._name, generation, shard)
        request = _partition(self._states, pk)
        if after is not None:
            request["ExclusiveStartKey"] = table_key(pk, after)
        answer = self._call(self._client.query, **request)
        states = []
        for item in answer["Items"]:
            name = StateItem(generation, StreamId(item["sk"]["S"]))
            states.append(StreamState.from_document(name, document_from_item(item)))
        last = answer.get("LastEvaluatedKey")
        return StatePage(tuple(states), StreamId(last["sk"]["S"]) if last else None)

    def halted(self, generation: int, *, limit: int = 100, after: StreamId | None = None) -> Sequence[StreamId]:
        condition = f"{HALTED_IN} = :value" + (" AND sk > :after" if after else "")
        values = {":value": {"S": generation_key(self._name, generation)}, ":after": {"S": after}}
        if not after:
            del values[":after"]
        answer = self._call(
            self._client.query,
            TableName=self._states,
            IndexName=HALTED_INDEX,
            KeyConditionExpression=condition,
            ExpressionAttributeValues=values,
            Limit=limit,
        )
        return [StreamId(item["sk"]["S"]) for item in answer["Items"]]

    # -- writing -----------------------------------------------------------------------------------------------------

    def commit(self, commit: Commit) -> None:
        actions = self._actions(commit)
        if len(actions) > TRANSACTION_ITEMS:
            raise ValueError(f"a commit holds at most {TRANSACTION_ITEMS} items, not {len(actions)}")
        try:
            if len(actions) == 1 and "Update" in actions[0][1]:
                self._call(self._client.update_item, **actions[0][1]["Update"])
            elif actions:
                writes = [action for _, action in actions]
                # The token makes a repeated call the same transaction.
                token = str(uuid.uuid4())
                self._call(self._client.transact_write_items, TransactItems=writes, ClientRequestToken=token)
        except ClientError as error:
            outdated = _outdated([what for what, _ in actions], error)
            if outdated is None:
                raise
            raise outdated from error

    def sweep(self, generation: int) -> bool:
        left = self._sweep_items
        partitions = [(self._states, shard_key(self._name, generation, shard)) for shard in range(SHARDS)]
        for table, pk in [*partitions, (self._rows, generation_key(self._name, generation))]:
            while True:
                if not left:
                    return False
                answer = self._call(
                    self._client.query, **_partition(table, pk), ProjectionExpression="pk, sk", Limit=left
                )
                self._delete(table, answer["Items"])
                left -= len(answer["Items"])
                if "LastEvaluatedKey" not in answer:
                    break
        return True

    def _actions(self, commit: Commit) -> list[tuple[Item | str, dict[str, Any]]]:
        """Return the actions of a commit's transaction, each with the item or the row's key that it is about."""
        actions: list[tuple[Item | str, dict[str, Any]]] = []
        for change in commit.changes:
            arguments = update(self._table(change.item), self._name, change)
            kind = "Update" if "UpdateExpression" in arguments else "ConditionCheck"
            actions.append((change.item, {kind: arguments}))
        pk = generation_key(self._name, commit.generation)
        actions += [(row.key, row_write(self._rows, pk, row)) for row in commit.rows]
        births = commit.births
        for shard in range(SHARDS):
            check = fence_check(self._states, self._name, shard, commit.born_at or 0) if shard in births else {}
            if commit.fences is not None:
                check.pop("Key", None)
                item = fence_item(self._name, shard, commit.fences)
                actions.append((ControlItem(), {"Put": {"TableName": self._states, **check, "Item": item}}))
            elif check:
                actions.append((ControlItem(), {"ConditionCheck": check}))
        return actions

    # -- calls -------------------------------------------------------------------------------------------------------

    def _call(self, operation: Callable[..., Any], **request: Any) -> Any:
        return with_retries(operation, self._retries, **request)

    def _table(self, item: Item) -> str:
        return self._jobs if isinstance(item, JobItem) else self._states

    def _get(self, table: str, key: DynamoItem) -> DynamoItem | None:
        item: DynamoItem | None
        item = self._call(self._client.get_item, TableName=table, Key=key, ConsistentRead=True).get("Item")
        return item

    def _get_all(self, wanted: Sequence[tuple[str, DynamoItem]]) -> dict[tuple[str, str, str], DynamoItem]:
        """Return the items that exist of some tables' keys, by table, pk and sk."""
        if len(wanted) == 1:
            ((table, key),) = wanted
            item = self._get(table, key)
            return {(table, key["pk"]["S"], key["sk"]["S"]): item} if item else {}
        found = {}
        for start in range(0, len(wanted), BATCH_READ_ITEMS):
            for table, item in self._batch_get(wanted[start : start + BATCH_READ_ITEMS]):
                found[table, item["pk"]["S"], item["sk"]["S"]] = item
        return found

    def _batch_get(self, wanted: Sequence[tuple[str, DynamoItem]]) -> Iterable[tuple[str, DynamoItem]]:
        requests: dict[str, Any] = {}
        for table, key in wanted:
            requests.setdefault(table, {"Keys": [], "ConsistentRead": True})["Keys"].append(key)
        retries = self._retries(TRANSIENT)
        next(retries)
        left = len(wanted)
        while requests:
            answer = self._call(self._client.batch_get_item, RequestItems=requests)
            for table, items in answer["Responses"].items():
                yield from ((table, item) for item in items)
            requests = answer.get("UnprocessedKeys") or {}
            before, left = left, sum(len(each["Keys"]) for each in requests.values())
            # An answer holds 16 MB, and 1 MB per partition. No progress at all means throttling.
            if left == before and next(retries, None) is None:
                raise ContendedError("DynamoDB kept throttling a batch of reads")

    def _rows_of(self, entries: Sequence[DynamoItem]) -> list[DynamoItem]:
        """Return the rows of an index's entries, in their order."""
        keys = [table_key(entry["pk"]["S"], entry["sk"]["S"]) for entry in entries]
        found = self._get_all([(self._rows, key) for key in keys])
        items = (found.get((self._rows, key["pk"]["S"], key["sk"]["S"])) for key in keys)
        return [item for item in items if item is not None]

    def _delete(self, table: str, keys: Sequence[DynamoItem]) -> None:
        for start in range(0, len(keys), BATCH_WRITE_ITEMS):
            requests = {table: [{"DeleteRequest": {"Key": key}} for key in keys[start : start + BATCH_WRITE_ITEMS]]}
            for _ in self._retries(TRANSIENT):
                answer = self._call(self._client.batch_write_item, RequestItems=requests)
                requests = answer.get("UnprocessedItems") or {}
                if not requests:
                    break
            else:
                raise ContendedError("DynamoDB kept throttling a batch of deletions")


def _partition(table: str, pk: str) -> dict[str, Any]:
    """Return the arguments of a query for all items of a partition."""
    return {
        "TableName": table,
        "KeyConditionExpression": "pk = :pk",
        "ExpressionAttributeValues": {":pk": {"S": pk}},
        "ConsistentRead": True,
    }


def _key_condition(partition: str, sort: str, value: str, query: RowQuery) -> dict[str, Any]:
    """Return the arguments for a query of one partition within the prefix or the bounds."""
    condition = f"{partition} = :value"
    bounds = {":value": value}
    if query.prefix:
        condition += f" AND begins_with({sort}, :prefix)"
        bounds[":prefix"] = query.prefix
    elif query.low and query.high is not None:
        condition += f" AND {sort} BETWEEN :low AND :high"
        bounds |= {":low": query.low, ":high": query.high}
    elif query.low:
        condition += f" AND {sort} >= :low"
        bounds[":low"] = query.low
    elif query.high is not None:
        condition += f" AND {sort} <= :high"
        bounds[":high"] = query.high
    values = {name: {"S": text} for name, text in bounds.items()}
    return {"KeyConditionExpression": condition, "ExpressionAttributeValues": values}


def _is_empty(query: RowQuery) -> bool:
    """Tell whether no row can be within the bounds; DynamoDB rejects these."""
    return query.high is not None and (not query.high or (query.low or "") > query.high)


def _is_within(row: DynamoItem, names: tuple[str, str], value: str, query: RowQuery) -> bool:
    """Tell whether a row is still where the index had it: in the queried value, within the bounds."""
    if row.get(names[0]) != {"S": value}:
        return False
    # The order of characters is also that of their UTF-8 bytes, by which DynamoDB compares.
    sort = row[names[1]]["S"]
    return (not query.low or sort >= query.low) and (query.high is None or sort <= query.high)


def _position(item: DynamoItem, sort: str, query: RowQuery) -> str:
    """Return the position of an item in a page; in an index, its sort value's length, that value, and the key."""
    key: str = item["sk"]["S"]
    if query.slot is None:
        return key
    value = item[sort]["S"]
    return f"{len(value)}:{value}{key}"


def _start_key(pk: str, names: tuple[str, str], value: str, query: RowQuery) -> DynamoItem:
    if query.slot is None:
        return table_key(pk, query.after or "")
    length, _, rest = (query.after or "").partition(":")
    sort, key = rest[: int(length)], rest[int(length) :]
    return {**table_key(pk, key), names[0]: {"S": value}, names[1]: {"S": sort}}


def _outdated(about: Sequence[Item | str], error: ClientError) -> OutdatedError | None:
    """Return what a refused commit contradicts; None if it failed for another reason."""
    if not all(map(_may_be_outdated, failure_reasons(error))):
        return None
    reasons: Any = error.response.get("CancellationReasons")
    failed = [True] if reasons is None else [each.get("Code") == "ConditionalCheckFailed" for each in reasons]
    contradicted = list(itertools.compress(about, failed))
    keys = [each for each in contradicted if isinstance(each, str)]
    items = [each for each in contradicted if not isinstance(each, str)]
    return OutdatedError(f"{len(contradicted)} of {len(about)} items have changed", items, keys)


def _may_be_outdated(code: str) -> bool:
    return code.removesuffix("Exception") == "ConditionalCheckFailed" or is_transient(code)
