"""A projection's storage in memory: the contract's model, and what tests run on."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator, Mapping, Sequence

from handlers.core.events import StreamId
from handlers.projection.definition import Row
from handlers.projection.port import MAX_COMMIT_ROWS, OutdatedError, RowPage, Snapshot
from handlers.projection.state import Document, StreamState, value_at
from handlers.projection.transitions import StateChange

# Less than a test's rows, so that sweeping one generation takes several calls, as with DynamoDB.
SWEEP_ROWS = 25


class MemoryReadModel:
    """A `ReadModel` of plain dictionaries; safe to share between threads."""

    def __init__(self) -> None:
        self.documents: dict[StreamId, Document] = {}
        self.rows: dict[tuple[StreamId, int], dict[str, Row]] = {}
        self._lock = threading.Lock()

    def load(self, stream_id: StreamId, keys: Sequence[str] = (), generation: int = 0) -> Snapshot:
        with self._lock:
            state = StreamState.from_document(stream_id, copy.deepcopy(self.documents.get(stream_id, {})))
            stored = self.rows.get((stream_id, generation), {})
            return Snapshot(state, {key: copy.deepcopy(stored.get(key)) for key in keys}, generation)

    def commit(self, change: StateChange, rows: Mapping[str, Row | None] | None = None, generation: int = 0) -> None:
        if rows and len(rows) > MAX_COMMIT_ROWS:
            raise ValueError(f"a commit holds at most {MAX_COMMIT_ROWS} rows, not {len(rows)}")
        with self._lock:
            document = self.documents.get(change.stream_id, {})
            for path, expected in change.expect.items():
                if value_at(document, path) != expected:
                    raise OutdatedError(f"{path} of stream {change.stream_id!r} is not {expected!r} any more")
            kept = {name: value for name, value in document.items() if name not in change.remove}
            self.documents[change.stream_id] = copy.deepcopy({**kept, **change.put})
            stored = self.rows.setdefault((change.stream_id, generation), {})
            for key, row in (rows or {}).items():
                if row is None:
                    stored.pop(key, None)
                else:
                    stored[key] = copy.deepcopy(row)

    def page(
        self, stream_id: StreamId, generation: int, *, after: str | None = None, limit: int | None = None
    ) -> RowPage:
        with self._lock:
            stored = self.rows.get((stream_id, generation), {})
            # DynamoDB orders string keys by their UTF-8 bytes.
            keys = sorted(
                (key for key in stored if after is None or key.encode() > after.encode()), key=lambda key: key.encode()
            )
            chosen = keys[: limit or len(keys)]
            rows = tuple((key, copy.deepcopy(stored[key])) for key in chosen)
            return RowPage(rows, chosen[-1] if len(keys) > len(chosen) else None)

    def sweep(self, stream_id: StreamId, generation: int) -> bool:
        with self._lock:
            stored = self.rows.get((stream_id, generation), {})
            for key in list(stored)[:SWEEP_ROWS]:
                del stored[key]
            return not stored

    def states(self) -> Iterator[StreamState]:
        with self._lock:
            documents = copy.deepcopy(self.documents)
        for stream_id, document in documents.items():
            yield StreamState.from_document(stream_id, document)
