"""A projection's storage in memory: the contract's model, and what tests run on."""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from handlers.core.dynamodb import TRANSACTION_ITEMS
from handlers.core.events import StreamId
from handlers.projection.port import (
    Change,
    Commit,
    IndexEntry,
    OutdatedError,
    Row,
    RowChange,
    RowPage,
    RowQuery,
    Snapshot,
    StatePage,
    StoredRow,
)
from handlers.projection.state import (
    SHARDS,
    ControlItem,
    Document,
    Item,
    StateItem,
    StreamState,
    shard_of,
    value_at,
)

# Less than a test's rows, so that sweeping one generation takes several calls, as with DynamoDB.
SWEEP_ITEMS = 25

Place = tuple[str, str]
"""Where a row is in an index, and its key. Characters compare like their UTF-8 bytes, by which DynamoDB orders."""


class _Stored:
    """A row, its version, and its places in the indexes."""

    __slots__ = ("entries", "row", "version")

    def __init__(self, version: str, row: Row, entries: tuple[IndexEntry, ...]) -> None:
        self.version = version
        self.row = row
        self.entries = entries


class _Generation:
    """The rows of one generation and its streams; sorted when they are next listed, so that a commit is fast."""

    def __init__(self) -> None:
        self.rows: dict[str, _Stored] = {}
        self.streams: dict[StreamId, None] = {}
        self.halted: set[StreamId] = set()
        self._indexes: dict[tuple[int, str], set[Place]] = {}
        self._places: dict[tuple[int, str] | None, list[Place]] = {}
        self._shards: list[list[StreamId]] | None = None

    def write(self, change: RowChange) -> None:
        old = self.rows.pop(change.key, None) if change.row is None else self.rows.get(change.key)
        for entry in old.entries if old is not None else ():
            self._indexes[entry.slot, entry.value].discard((entry.sort, change.key))
            self._places.pop((entry.slot, entry.value), None)
        if change.row is not None:
            self.rows[change.key] = _Stored(change.version, change.row, change.entries)
            for entry in change.entries:
                self._indexes.setdefault((entry.slot, entry.value), set()).add((entry.sort, change.key))
                self._places.pop((entry.slot, entry.value), None)
        if old is None or change.row is None:
            self._places.pop(None, None)

    def places(self, query: RowQuery) -> list[Place]:
        """Return all rows, or those in an index's value, in their order."""
        index = None if query.slot is None else (query.slot, query.value)
        if index not in self._places:
            found = ((key, key) for key in self.rows) if index is None else self._indexes.get(index, ())
            self._places[index] = sorted(found)
        return self._places[index]

    def add_stream(self, stream_id: StreamId) -> None:
        if stream_id not in self.streams:
            self.streams[stream_id] = None
            self._shards = None

    def drop_stream(self, stream_id: StreamId) -> None:
        del self.streams[stream_id]
        self.halted.discard(stream_id)
        self._shards = None

    def shard(self, shard: int) -> list[StreamId]:
        if self._shards is None:
            self._shards = [[] for _ in range(SHARDS)]
            for stream_id in sorted(self.streams):
                self._shards[shard_of(stream_id)].append(stream_id)
        return self._shards[shard]


class MemoryReadModel:
    """A `ReadModel` of plain dictionaries; safe to share between threads. Stored rows must not be modified."""

    def __init__(self, *, states_per_page: int = 1000) -> None:
        self.documents: dict[Item, Document] = {}
        self.fences = [0] * SHARDS
        self._generations: dict[int, _Generation] = {}
        self._states_per_page = states_per_page
        self._lock = threading.RLock()

    # -- reading -----------------------------------------------------------------------------------------------------

    def read(self, item: Item) -> Document:
        with self._lock:
            return _copy(self.documents.get(item, {}))

    def load(self, generation: int, stream_ids: Sequence[StreamId], keys: Sequence[str] = ()) -> Snapshot:
        with self._lock:
            states = {stream_id: self._state(generation, stream_id) for stream_id in stream_ids}
            stored = self._rows(generation)
            rows = {}
            for key in keys:
                found = stored.get(key)
                rows[key] = StoredRow(found.version, found.row) if found is not None else None
            return Snapshot(states, rows)

    def rows(self, generation: int, query: RowQuery) -> RowPage:
        with self._lock:
            places = self._generation(generation).places(query)
            first, end = _bounds(places, query)
            if query.descending:
                chosen = places[max(first, end - query.limit) : end][::-1]
            else:
                chosen = places[first : min(end, first + query.limit)]
            stored = self._rows(generation)
            rows = tuple((key, stored[key].row) for _, key in chosen)
            more = end - first > query.limit
            return RowPage(rows, _position(chosen[-1], query) if more else None)

    def states(self, generation: int, shard: int, *, after: StreamId | None = None) -> StatePage:
        with self._lock:
            streams = self._generation(generation).shard(shard)
            first = 0 if after is None else bisect_right(streams, after)
            page = streams[first : first + self._states_per_page]
            more = first + len(page) < len(streams)
            return StatePage(
                tuple(self._state(generation, stream_id) for stream_id in page), page[-1] if more else None
            )

    def halted(self, generation: int, *, limit: int = 100, after: StreamId | None = None) -> Sequence[StreamId]:
        with self._lock:
            return sorted(each for each in self._generation(generation).halted if after is None or each > after)[:limit]

    # -- writing -----------------------------------------------------------------------------------------------------

    def commit(self, commit: Commit) -> None:
        births = commit.births
        size = len(commit.changes) + len(commit.rows) + (SHARDS if commit.fences is not None else len(births))
        if size > TRANSACTION_ITEMS:
            raise ValueError(f"a commit holds at most {TRANSACTION_ITEMS} items, not {size}")
        with self._lock:
            self._check(commit, births)
            for change in commit.changes:
                if change.put or change.remove:
                    self._change(change)
            if commit.fences is not None:
                self.fences = [commit.fences] * SHARDS
            for each in commit.rows:
                if each.write:
                    self._generation(commit.generation).write(each)

    def sweep(self, generation: int) -> bool:
        with self._lock:
            swept = self._generation(generation)
            for stream_id in list(islice(swept.streams, SWEEP_ITEMS)):
                swept.drop_stream(stream_id)
                del self.documents[StateItem(generation, stream_id)]
            if swept.streams:
                return False
            for key in list(islice(swept.rows, SWEEP_ITEMS)):
                swept.write(RowChange(key, None, True))
            return not swept.rows

    def _check(self, commit: Commit, births: Iterable[int]) -> None:
        items: list[Item] = []
        for change in commit.changes:
            document = self.documents.get(change.item, {})
            if any(value_at(document, path) != value for path, value in change.expect.items()):
                items.append(change.item)
        if any(self.fences[shard] != commit.born_at for shard in births):
            items.append(ControlItem())
        stored = self._rows(commit.generation)
        keys = []
        for each in commit.rows:
            found = stored.get(each.key)
            if (found.version if found is not None else None) != each.before:
                keys.append(each.key)
        if items or keys:
            raise OutdatedError(f"{items or keys} changed", items, keys)

    def _change(self, change: Change[Any]) -> None:
        item = change.item
        document = _changed(self.documents.get(item, {}), change)
        self.documents[item] = document
        if isinstance(item, StateItem):
            generation = self._generation(item.generation)
            generation.add_stream(item.stream_id)
            if "halted" in document:
                generation.halted.add(item.stream_id)
            elif generation.halted:
                generation.halted.discard(item.stream_id)

    # -- what is stored ----------------------------------------------------------------------------------------------

    def _generation(self, generation: int) -> _Generation:
        found = self._generations.get(generation)
        if found is None:
            found = self._generations[generation] = _Generation()
        return found

    def _rows(self, generation: int) -> Mapping[str, _Stored]:
        return self._generation(generation).rows

    def _state(self, generation: int, stream_id: StreamId) -> StreamState:
        item = StateItem(generation, stream_id)
        return StreamState.from_document(item, self.documents.get(item, {}))


def _bounds(places: Sequence[Place], query: RowQuery) -> tuple[int, int]:
    """Return where the rows begin and end that a query may still return."""
    first, end = 0, len(places)
    if query.prefix:
        size = len(query.prefix)
        first = bisect_left(places, query.prefix, key=lambda place: place[0][:size])
        end = bisect_right(places, query.prefix, key=lambda place: place[0][:size])
    if query.low is not None:
        first = max(first, bisect_left(places, query.low, key=lambda place: place[0]))
    if query.high is not None:
        end = min(end, bisect_right(places, query.high, key=lambda place: place[0]))
    if query.after is not None:
        last = _place(query.after, query)
        if query.descending:
            end = min(end, bisect_left(places, last))
        else:
            first = max(first, bisect_right(places, last))
    return first, max(first, end)


def _position(place: Place, query: RowQuery) -> str:
    sort, key = place
    return key if query.slot is None else f"{len(sort)}:{sort}{key}"


def _place(position: str, query: RowQuery) -> Place:
    if query.slot is None:
        return position, position
    length, _, rest = position.partition(":")
    return rest[: int(length)], rest[int(length) :]


def _changed(document: Mapping[str, Any], change: Change[Any]) -> Document:
    """Return the changed document. As in DynamoDB, the map that a nested path leads into must exist."""
    changed = _copy(document)
    for path, value in change.put.items():
        _above(changed, path)[path.rpartition(".")[2]] = value
    for path in change.remove:
        _above(changed, path).pop(path.rpartition(".")[2], None)
    return changed


def _above(document: Document, path: str) -> Document:
    for name in path.split(".")[:-1]:
        document = document[name]
    return document


def _copy(document: Mapping[str, Any]) -> Document:
    return {name: _copy(value) if isinstance(value, Mapping) else value for name, value in document.items()}
