"""Which streams the schedule looks at (P6)."""

from __future__ import annotations

import pytest

from handlers.core.events import StreamId
from handlers.projection.reconcile import lags
from tests.support.memory_event_store import MemoryEventStore
from tests.support.memory_read_model import MemoryReadModel
from tests.support.projections import added, ledger

NAMES = "abcde"


@pytest.mark.parametrize(("start", "first"), [(0.0, "a"), (0.5, "c"), (0.99, "e")])
def test_every_stream_is_looked_at_wherever_the_look_begins(start: float, first: str) -> None:
    store = MemoryEventStore()
    store.append([added("x", stream_id=name) for name in NAMES])

    looked_at = [lag.stream_id for lag in lags(ledger(), store, MemoryReadModel(), start=start)]

    assert looked_at[0] == StreamId(first)
    assert sorted(looked_at) == list(NAMES)
