"""Reading the read model at one instant (L1)."""

from collections.abc import Sequence

import pytest

from handlers.core.errors import GoneError
from handlers.core.events import StreamId
from handlers.projection import transitions
from handlers.projection.reading import MAX_TRIES, ListPage, read_page
from handlers.projection.state import Chunk, StreamState
from handlers.projection.transitions import StateChange
from tests.support.memory_read_model import MemoryReadModel
from tests.support.ports import Interrupted

STREAM = StreamId("s")
AT = "2026-01-01T00:00:00.000Z"


class Model:
    """A read model in memory, and what others do to it."""

    def __init__(self) -> None:
        self.storage = MemoryReadModel()
        self.port = Interrupted(self.storage)

    @property
    def state(self) -> StreamState:
        return self.storage.load(STREAM).state

    def project(self, to: int) -> None:
        """Make the live rows those of a checkpoint: all say which it is."""
        rows = {key: {"n": to} for key in "abc"}
        self.storage.commit(transitions.advance(self.state, to, None), rows, self.state.active_generation)

    def commit(self, *changes: StateChange) -> None:
        for change in changes:
            self.storage.commit(change)

    def replay(self, to: int) -> None:
        """Begin a replay, do it and switch."""
        self.commit(transitions.begin_replay(self.state, "r", "f", AT))
        rows = {key: {"n": to} for key in "abc"}
        self.storage.commit(transitions.advance_replay(self.state, to, AT), rows, self.state.next_generation - 1)
        self.commit(transitions.switch(self.state, AT))

    def read(self, limit: int = 10, after: str | None = None, generation: int | None = None) -> ListPage:
        return read_page(self.port, STREAM, key="k", limit=limit, after=after, generation=generation)


def numbers(page: ListPage) -> Sequence[int]:
    return [row["n"] for row in page.rows]


@pytest.fixture
def model() -> Model:
    model = Model()
    model.project(0)
    return model


def test_a_read_in_quiet_is_the_state_at_its_checkpoint(model: Model) -> None:
    page = model.read()

    assert (numbers(page), page.checkpoint, page.settled) == ([0, 0, 0], 0, True)
    assert model.port.calls == {"load": 2, "page": 1}


def test_a_stream_that_nothing_was_projected_of_reads_as_empty() -> None:
    page = Model().read()

    assert (page.rows, page.checkpoint, page.settled) == ((), -1, True)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_commit_in_the_middle_of_a_read_is_wholly_in_it(model: Model, moment: str) -> None:
    getattr(model.port, moment)("page", lambda: model.project(1))

    page = model.read()

    assert (numbers(page), page.checkpoint, page.settled) == ([1, 1, 1], 1, True)


def test_a_read_that_is_always_interrupted_says_so(model: Model) -> None:
    model.port.before("page", *[lambda: model.project(model.state.checkpoint + 1)] * MAX_TRIES)

    page = model.read()

    assert not page.settled
    assert len(page.rows) == 3
    assert model.port.calls["page"] == MAX_TRIES


def test_a_switch_in_the_middle_of_a_read_shows_one_generation_whole(model: Model) -> None:
    model.port.before("page", lambda: model.replay(5))

    page = model.read()

    # The old generation was complete at event 0 all the time, and is still there.
    assert (numbers(page), page.checkpoint, page.generation, page.settled) in [
        ([0, 0, 0], 0, 0, True),
        ([5, 5, 5], 5, 1, True),
    ]


def test_a_first_page_is_found_even_if_its_generation_is_given_up_meanwhile(model: Model) -> None:
    def replay_twice() -> None:
        model.replay(5)
        model.replay(6)

    model.port.before("page", replay_twice)

    page = model.read()

    assert (numbers(page), page.generation, page.settled) == ([6, 6, 6], 2, True)


def test_a_next_page_is_of_the_generation_of_the_first(model: Model) -> None:
    first = model.read(limit=2)
    model.replay(5)

    second = model.read(after=first.next_after, generation=first.generation)

    assert (numbers(second), second.checkpoint, second.settled) == ([0], 0, True)


@pytest.mark.parametrize("moment", ["at once", "while it is read"])
def test_a_next_page_of_a_generation_that_was_given_up_is_gone(model: Model, moment: str) -> None:
    first = model.read(limit=2)
    model.replay(5)
    if moment == "at once":
        model.replay(6)
    else:
        model.port.before("page", lambda: model.replay(6))

    with pytest.raises(GoneError):
        model.read(after=first.next_after, generation=first.generation)


def test_a_next_page_of_a_generation_that_a_rollback_is_writing_is_not_settled(model: Model) -> None:
    first = model.read(limit=2)
    model.replay(5)
    model.commit(transitions.begin_rollback(model.state, "b", AT))
    model.storage.commit(transitions.advance_chunk(model.state, Chunk(to=3, keys_done=1), AT), {"a": {"n": 3}}, 0)

    half_written = model.read(after=first.next_after, generation=first.generation)

    assert not half_written.settled


def test_a_read_during_the_catch_up_of_a_rewind_is_not_settled(model: Model) -> None:
    model.project(3)
    model.commit(transitions.rewind(model.state, 1))
    behind = model.read()
    model.project(3)

    assert (behind.checkpoint, behind.settled) == (1, False)
    assert model.read().settled
