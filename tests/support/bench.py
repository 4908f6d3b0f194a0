"""What the tests of the engine work at: a store, a read model, and projectors over them."""

from collections.abc import Callable
from typing import Any

from handlers.core.events import Event, EventId, StreamId
from handlers.core.messages import Hint
from handlers.projection.engine import Projector
from handlers.projection.port import ReadModel
from handlers.projection.state import StreamState
from handlers.store import EventStore
from tests.support.ports import Interrupted
from tests.support.projections import FixedClock, expected_rows, ledger
from tests.support.stores import whole_stream

STREAM, OTHER = "orders-1", "orders-2"


class Bench:
    """A store, a read model and what tests do to them."""

    def __init__(self, store: EventStore, read_model: ReadModel) -> None:
        self.store = Interrupted(store)
        self.read_model = Interrupted(read_model)
        self._raw_read_model = read_model

    def projector(self, *, fixed: bool = False) -> Projector:
        """As a fresh process has one."""
        return Projector(ledger(fixed=fixed), self.store, self.read_model, FixedClock())

    def append(self, *events: Any) -> list[Event]:
        return [event for each in events for event in self.store.append([each]).events]

    def state(self, stream_id: str = STREAM) -> StreamState:
        return self._raw_read_model.load(StreamId(stream_id)).state

    def rows(self, stream_id: str = STREAM, generation: int | None = None) -> dict[str, Any]:
        chosen = self.state(stream_id).active_generation if generation is None else generation
        rows: dict[str, Any] = {}
        after = None
        while True:
            page = self._raw_read_model.page(StreamId(stream_id), chosen, after=after)
            rows |= page.rows
            after = page.next_after
            if after is None:
                return rows

    def is_at_head(self, stream_id: str = STREAM) -> bool:
        events = whole_stream(self.store, stream_id)
        return self.state(stream_id).checkpoint == len(events) - 1 and self.rows(stream_id) == expected_rows(events)

    def written(self, act: Callable[[], object]) -> list[dict[str, Any]]:
        """Return the rows of every commit that happens meanwhile."""
        batches: list[dict[str, Any]] = []
        inner = self.read_model._inner

        class Noting:
            def __getattr__(self, name: str) -> Any:
                return getattr(inner, name)

            def commit(self, change: Any, rows: Any = None, generation: int = 0) -> None:
                batches.append(dict(rows or {}))
                inner.commit(change, rows, generation)

        self.read_model._inner = Noting()
        try:
            act()
        finally:
            self.read_model._inner = inner
        return batches


def hint(event_id: int, event: Event | None = None, stream_id: str = STREAM, *, fresh: bool = False) -> Hint:
    return Hint(StreamId(stream_id), EventId(event_id), event, fresh)


def carrying(*events: Event) -> list[Hint]:
    return [Hint(event.stream_id, event.event_id, event) for event in events]
