"""What the tests of the engine work with: a store, a read model, and projectors over them."""

from collections.abc import Callable, Iterable
from typing import Any

from handlers.core.events import Event, EventId, StreamId
from handlers.core.messages import Hint
from handlers.projection import Projection
from handlers.projection.engine import CatchUp, Code, Projector
from handlers.projection.port import Commit, ReadModel, read_control
from handlers.projection.state import Control, StreamState
from handlers.store import EventStore
from tests.support.ports import Interrupted
from tests.support.projections import FixedClock, expected_rows, ledger
from tests.support.read_models import all_rows
from tests.support.stores import whole_stream

STREAM, OTHER = "orders-1", "orders-2"


class Bench:
    """A store, a read model and what tests do to them.

    Attributes
    ----------
    seconds
        What processes take for the time: tests let it pass.
    """

    def __init__(self, store: EventStore, read_model: ReadModel) -> None:
        self.store = Interrupted(store)
        self.read_model = Interrupted(read_model)
        self.raw_read_model = read_model
        self.seconds = 0.0

    def projector(self, projection: Projection | None = None, *, fixed: bool = False) -> Projector:
        """A projector of `ledger`, or another projection, in a new process."""
        code = Code(projection or ledger(fixed=fixed))
        return Projector(code, self.store, self.read_model, FixedClock(), monotonic=lambda: self.seconds)

    def append(self, *events: Any) -> list[Event]:
        return [event for each in events for event in self.store.append([each]).events]

    # -- what is stored ------------------------------------------------------------------------------------------------

    def control(self) -> Control:
        return read_control(self.raw_read_model)

    def state(self, stream_id: str = STREAM, generation: int | None = None) -> StreamState:
        chosen = self.control().active if generation is None else generation
        return self.raw_read_model.load(chosen, [StreamId(stream_id)]).states[StreamId(stream_id)]

    def rows(self, generation: int | None = None) -> dict[str, Any]:
        return all_rows(self.raw_read_model, self.control().active if generation is None else generation)

    def is_at_head(self, *stream_ids: str) -> bool:
        """Tell whether the rows of `ledger` are those of some streams, each with keys of its own, at their heads."""
        expected: dict[str, Any] = {}
        for stream_id in stream_ids or (STREAM,):
            events = whole_stream(self.store, stream_id)
            if self.state(stream_id).checkpoint != len(events) - 1:
                return False
            expected |= expected_rows(events)
        return self.rows() == expected

    # -- changes -------------------------------------------------------------------------------------------------------

    def change(self, *changes: Any, fences: int | None = None, born_at: int | None = None) -> None:
        self.raw_read_model.commit(Commit(changes, fences=fences, born_at=born_at))

    def change_control(self, change: Any, *others: Any) -> Control:
        """Change the control item, and the fences with it."""
        self.change(change, *others, fences=change.after.version)
        return self.control()

    def written(self, act: Callable[[], object]) -> list[dict[str, Any]]:
        """Return the rows that every commit writes meanwhile."""
        return [{each.key: each.row for each in commit.rows if each.write} for commit in self.commits(act)]

    def commits(self, act: Callable[[], object]) -> list[Commit]:
        """Return the commits that succeed meanwhile."""
        commits: list[Commit] = []
        inner = self.read_model._inner

        class Noting:
            def __getattr__(self, name: str) -> Any:
                return getattr(inner, name)

            def commit(self, commit: Commit) -> None:
                inner.commit(commit)
                commits.append(commit)

        self.read_model._inner = Noting()
        try:
            act()
        finally:
            self.read_model._inner = inner
        return commits


def hint(event_id: int, event: Event | None = None, stream_id: str = STREAM, *, fresh: bool = False) -> Hint:
    return Hint(StreamId(stream_id), EventId(event_id), event, fresh)


def carrying(*events: Event) -> list[Hint]:
    return [Hint(event.stream_id, event.event_id, event) for event in events]


def catch_up(projector: Projector, hints: Iterable[Hint], **options: Any) -> CatchUp:
    """Catch up the stream that hints are about."""
    hints = list(hints)
    return projector.catch_up(hints[0].stream_id, hints, **options)
