"""what a replay keeps in memory between pages (R5)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from handlers.core.events import StreamId
from handlers.projection import Projection
from handlers.projection.port import Snapshot
from handlers.replay.caches import MAX_CACHED_ROW_BYTES
from tests.unit.replay.system import STREAM, System

KEYS, PAGE, EVENTS = 10, 20, 60


class CountingReads:
    """A read model that counts the rows it is asked for."""

    def __init__(self, read_model: Any) -> None:
        self._read_model = read_model
        self.rows_read = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._read_model, name)

    def load(self, stream_id: StreamId, keys: Sequence[str] = (), generation: int = 0) -> Snapshot:
        self.rows_read += len(keys)
        snapshot: Snapshot = self._read_model.load(stream_id, keys, generation)
        return snapshot


def counting(text_bytes: int) -> Projection:
    projection = Projection("wide", key="k")

    @projection.on("COUNTED")
    def counted(row: Any, data: Any) -> Any:
        return {"n": (row["n"] if row else 0) + 1, "text": "x" * text_bytes}

    return projection


@pytest.mark.parametrize(
    ("text_bytes", "read_again"), [(10, 0), (2 * MAX_CACHED_ROW_BYTES, (EVENTS // PAGE - 1) * KEYS)]
)
def test_small_rows_are_held_and_large_ones_read_again(text_bytes: int, read_again: int) -> None:
    system = System(counting(text_bytes), page_events=PAGE)
    system.history(EVENTS, KEYS)
    replay_id = system.replays().trigger(STREAM).replay_id
    reads = CountingReads(system.read_model)

    assert system.worker(read_model=reads).work(STREAM, replay_id, lambda: True)

    assert {row["n"] for row in system.rows(generation=1).values()} == {EVENTS // KEYS}
    assert reads.rows_read == read_again
