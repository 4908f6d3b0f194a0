"""States and rows that a process keeps between calls: a commit's conditions show whether they are current (G1)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from handlers.core.events import StreamId
from handlers.projection.port import StoredRow
from handlers.projection.state import StreamState

MAX_STATES = 10_000
# Only small rows are kept, so that all of them take at most some 160 MB (R5).
MAX_ROWS = 20_000
MAX_ROW_BYTES = 8_192


class Cache:
    """The most recently used states and rows of a projection's generations."""

    def __init__(self, *, max_states: int = MAX_STATES, max_rows: int = MAX_ROWS) -> None:
        self._max_states = max_states
        self._max_rows = max_rows
        self._states: OrderedDict[StreamId, dict[int, StreamState]] = OrderedDict()
        self._rows: OrderedDict[tuple[int, str], StoredRow | None] = OrderedDict()

    def state(self, generation: int, stream_id: StreamId) -> StreamState | None:
        """Return a state; None if it is not known."""
        found = self._states.get(stream_id)
        return None if found is None else found.get(generation)

    def row(self, generation: int, key: str) -> StoredRow | None:
        """Return a row; None if it is not known, or known not to exist: see `missing`."""
        return self._rows.get((generation, key))

    def missing(self, generation: int, keys: Iterable[str]) -> Sequence[str]:
        """Return the keys of which nothing is known."""
        return [key for key in keys if (generation, key) not in self._rows]

    def put(
        self,
        generation: int,
        states: Iterable[StreamState],
        rows: Mapping[str, StoredRow | None],
        sizes: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        """Keep states and rows as they were read or written, except large rows; ``sizes`` in bytes, if known."""
        for state in states:
            self._states.setdefault(state.stream_id, {})[generation] = state
            self._states.move_to_end(state.stream_id)
        while len(self._states) > self._max_states:
            self._states.popitem(last=False)
        for key, row in rows.items():
            place = (generation, key)
            if row is not None and (sizes[key] if key in sizes else len(repr(row.row))) > MAX_ROW_BYTES:
                self._rows.pop(place, None)
                continue
            self._rows[place] = row
            self._rows.move_to_end(place)
        while len(self._rows) > self._max_rows:
            self._rows.popitem(last=False)

    def forget_stream(self, stream_id: StreamId) -> None:
        """Forget a stream's states in all generations."""
        self._states.pop(stream_id, None)

    def forget_rows(self, places: Iterable[tuple[int, str]]) -> None:
        """Forget rows, each by its generation and key."""
        for place in places:
            self._rows.pop(place, None)
