"""Queries that look only at what they ask for.

For every page the emulator sorts the whole partition, parses the key condition for each of its items and evaluates it: 20 ms
per thousand events of a stream, in which nothing else is answered. Here the emulator's own query is given a table that
holds no more than the page can, where the sort key is a whole number and the key condition a plain comparison; and an
expression is parsed once.
"""

from __future__ import annotations

import functools
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping
from types import FunctionType
from typing import Any

# hash = :value [AND range <relation> :value]
_FORM = re.compile(r"\s*(#?\w+)\s*=\s*(:\w+)\s*(?:AND\s+(#?\w+)\s*(=|<=|<|>=|>)\s*(:\w+)\s*)?", re.IGNORECASE)
# Below that there is nothing to gain.
_SMALL = 64
_MAX_EXPRESSIONS = 1000

Query = Callable[[dict[str, Any]], Any]
Table = dict[str, Any]


def adapt_queries() -> None:
    """Make the queries of this process's emulator take no longer than their pages."""
    from ministack.services import dynamodb

    module: Any = dynamodb
    module._query = narrow_query(module)
    for parse in ("_tokenize", "_condition_syntax_error"):
        setattr(module, parse, functools.lru_cache(_MAX_EXPRESSIONS)(getattr(module, parse)))


def narrow_query(module: Any) -> Query:
    """Return the query of the emulator's DynamoDB, that looks only at what it asks for where that can be told."""
    whole = module._query

    def query(data: dict[str, Any]) -> Any:
        table = _narrowed(module, data)
        if table is None:
            return whole(data)
        # The same code in a world that has one table.
        return FunctionType(whole.__code__, vars(module) | {"_tables": _OneTable(table)})(data)

    return query


class _OneTable:
    def __init__(self, table: Table) -> None:
        self._table = table

    def get(self, _name: str, _default: Any = None) -> Table:
        return self._table


def _narrowed(module: Any, data: Mapping[str, Any]) -> Table | None:
    """Return the table with the items only that the page may hold and one more; None where the emulator has to look.

    That is also where something is wrong with the request, so that it is the emulator that says so.
    """
    form = _FORM.fullmatch(data.get("KeyConditionExpression") or "")
    table: Table | None = module._tables.get(module._normalize_table_name(data.get("TableName")))
    if form is None or table is None or data.get("IndexName") or data.get("ExclusiveStartKey"):
        return None
    names, values = data.get("ExpressionAttributeNames") or {}, data.get("ExpressionAttributeValues") or {}
    hash_name, hash_value, range_name, relation, range_value = form.groups()
    if names.get(hash_name, hash_name) != table["pk_name"] or module._get_attr_type(table, table["sk_name"]) != "N":
        return None
    if range_name and names.get(range_name, range_name) != table["sk_name"]:
        return None
    partition_key = module._extract_key_val(values.get(hash_value))
    partition = table["items"].get(partition_key, {})
    if len(partition) < _SMALL:
        return None
    try:
        keys = sorted(partition, key=int)
        if range_name:
            keys = _in_range(keys, relation, int(values[range_value]["N"]))
        limit = int(data["Limit"]) if "Limit" in data else None
    except (KeyError, TypeError, ValueError):
        return None
    if not data.get("ScanIndexForward", True):
        keys.reverse()
    kept = _page(keys, partition, module) if limit is None else keys[: max(0, limit) + 1]
    return table | {"items": {partition_key: {key: partition[key] for key in kept}}}


def _in_range(keys: list[str], relation: str, bound: int) -> list[str]:
    below, up_to = bisect_left(keys, bound, key=int), bisect_right(keys, bound, key=int)
    first, end = {
        "=": (below, up_to),
        "<": (0, below),
        "<=": (0, up_to),
        ">": (up_to, len(keys)),
        ">=": (below, len(keys)),
    }[relation]
    return keys[first:end]


def _page(keys: Iterable[str], partition: Mapping[str, Any], module: Any) -> list[str]:
    """Return the keys of the items that one page holds, and of one more."""
    kept = []
    size_bytes = 0
    for key in keys:
        kept.append(key)
        if size_bytes > module._DDB_PAGE_SIZE_BYTES:
            break
        size_bytes += module._item_size_bytes(partition[key])
    return kept
