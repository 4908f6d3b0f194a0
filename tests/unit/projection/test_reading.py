"""Reading rows of the active generation whatever happens meanwhile, and those of one stream at one instant (G9, L1)."""

from collections.abc import Callable, Iterable, Sequence

import pytest

from handlers.core.clock import attempts
from handlers.core.errors import ContendedError, GoneError, InvalidInputError
from handlers.core.events import StreamId
from handlers.projection import transitions
from handlers.projection.port import Change, Commit, RowChange, RowQuery, read_control
from handlers.projection.reading import MAX_TRIES, POLLING, ListPage, NotAppliedError, RowReader, polling
from handlers.projection.state import Control, StreamState
from tests.support.memory_read_model import MemoryReadModel
from tests.support.ports import Interrupted

STREAM = StreamId("s")
AT = "2026-01-01T00:00:00.000Z"


class Model:
    """A read model in memory, and what others do to it."""

    def __init__(self) -> None:
        self.storage = MemoryReadModel()
        self.port = Interrupted(self.storage)
        self.reader = RowReader(self.port)

    @property
    def control(self) -> Control:
        return read_control(self.storage)

    def state(self, generation: int | None = None) -> StreamState:
        chosen = self.control.active if generation is None else generation
        return self.storage.load(chosen, [STREAM]).states[STREAM]

    def project(self, to: int, generation: int | None = None) -> None:
        """Make the rows of a generation those of a checkpoint: all say which it is."""
        state = self.state(generation)
        snapshot = self.storage.load(state.generation, (), list("abc"))
        rows = [
            RowChange(key, before.version if before else None, write=True, row={"n": to}, version=f"{key}{to}")
            for key, before in snapshot.rows.items()
        ]
        self.storage.commit(Commit((transitions.advance(state, to),), tuple(rows), state.generation))

    def commit(self, change: Change[Control]) -> None:
        self.storage.commit(Commit((change,), fences=change.after.version))

    def replay(self, to: int) -> None:
        """Build a generation, switch to it, and delete what was abandoned."""
        self.commit(transitions.begin_replay(self.control, "r", "f"))
        assert self.control.building is not None
        self.project(to, self.control.building.generation)
        self.commit(transitions.switch(self.control, AT))
        for generation in self.control.sweep:
            while not self.storage.sweep(generation):
                pass

    def replay_twice(self) -> None:
        self.replay(5)
        self.replay(6)

    def rows(self, limit: int = 10, after: str | None = None, generation: int | None = None) -> ListPage:
        return self.reader.rows(lambda _: RowQuery(limit, after=after), generation)

    def stream_rows(self, limit: int = 10, after: str | None = None, generation: int | None = None) -> ListPage:
        return self.reader.stream_rows(STREAM, lambda _: RowQuery(limit, after=after), generation)


def numbers(page: ListPage) -> Sequence[int]:
    return [row["n"] for _, row in page.rows]


@pytest.fixture
def model() -> Model:
    model = Model()
    model.project(0)
    return model


# -- lists across streams, and single rows -------------------------------------------------------------------------------


def test_rows_are_those_of_the_active_generation(model: Model) -> None:
    assert (numbers(model.rows()), model.rows().generation) == ([0, 0, 0], 0)
    model.replay(5)
    assert (numbers(model.rows()), model.rows().generation, model.rows().fingerprint) == ([5, 5, 5], 1, "f")


def test_a_warm_reader_makes_two_calls_and_a_new_one_three(model: Model) -> None:
    model.rows()
    assert model.port.calls == {"read": 2, "rows": 1}
    model.rows()
    assert model.port.calls == {"read": 3, "rows": 2}


def test_one_row_costs_two_calls_whether_there_is_one_or_not(model: Model) -> None:
    model.rows()
    model.port.calls.clear()
    assert numbers(model.reader.row(lambda _: "a")) == [0]
    assert model.port.calls == {"read": 1, "load": 1}
    assert numbers(model.reader.row(lambda _: "z")) == []
    assert model.port.calls == {"read": 2, "load": 2}


def test_a_warm_reader_notices_that_its_generation_was_replaced(model: Model) -> None:
    model.rows()
    model.replay(5)
    assert numbers(model.rows()) == [5, 5, 5]
    model.replay(6)
    model.replay(7)
    assert numbers(model.reader.row(lambda _: "a")) == [7]


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("warm", [True, False])
def test_rows_of_a_generation_that_is_swept_while_they_are_read_are_not_returned(
    model: Model, moment: str, warm: bool
) -> None:
    if warm:
        model.rows()
    getattr(model.port, moment)("rows", model.replay_twice)

    assert (numbers(model.rows()), model.rows().generation) == ([6, 6, 6], 2)


def test_a_row_is_looked_for_again_if_its_generation_was_swept(model: Model) -> None:
    model.port.before("load", model.replay_twice)

    assert numbers(model.reader.row(lambda _: "a")) == [6]


def test_an_error_counts_only_if_it_is_about_the_active_generation(model: Model) -> None:
    model.rows()
    model.replay(5)

    def query_of(fingerprint: str | None) -> RowQuery:
        if fingerprint is None:
            raise InvalidInputError([])  # an index that generation 0 does not have
        return RowQuery(10)

    assert numbers(model.reader.rows(query_of)) == [5, 5, 5]
    with pytest.raises(GoneError):
        model.reader.rows(query_of, 7)


def test_a_control_item_that_always_changes_is_contention(model: Model) -> None:
    model.port.before("rows", *[lambda: model.replay(5)] * MAX_TRIES)

    with pytest.raises(ContendedError):
        model.rows()


# -- later pages ---------------------------------------------------------------------------------------------------------


def kinds() -> Iterable[Callable[..., ListPage]]:
    return [Model.rows, Model.stream_rows]


@pytest.mark.parametrize("read", kinds())
def test_a_next_page_is_of_the_generation_of_the_first(model: Model, read: Callable[..., ListPage]) -> None:
    first = read(model, limit=2)
    model.replay(5)

    second = read(model, after=first.position, generation=first.generation)

    assert (numbers(second), second.generation, second.settled) == ([0], 0, True)


@pytest.mark.parametrize("read", kinds())
@pytest.mark.parametrize("moment", ["at once", "before", "after"])
def test_a_next_page_of_a_generation_that_was_abandoned_is_gone(
    model: Model, read: Callable[..., ListPage], moment: str
) -> None:
    first = read(model, limit=2)
    model.replay(5)
    if moment == "at once":
        model.replay(6)
    else:
        getattr(model.port, moment)("rows", lambda: model.replay(6))

    with pytest.raises(GoneError):
        read(model, after=first.position, generation=first.generation)


def test_a_next_page_may_be_of_the_generation_that_a_rollback_returns_to(model: Model) -> None:
    first = model.rows(limit=2)
    model.replay(5)
    model.commit(transitions.begin_rollback(model.control, "r"))

    assert numbers(model.rows(after=first.position, generation=first.generation)) == [0]


# -- the rows of one stream ----------------------------------------------------------------------------------------------


def test_a_read_in_quiet_is_the_state_at_its_checkpoint(model: Model) -> None:
    page = model.stream_rows()

    assert (numbers(page), page.checkpoint, page.settled) == ([0, 0, 0], 0, True)
    assert model.port.calls == {"load": 2, "rows": 1, "read": 2}


def test_a_stream_that_nothing_was_projected_of_reads_as_empty() -> None:
    page = Model().stream_rows()

    assert (page.rows, page.checkpoint, page.settled) == ((), -1, True)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_commit_in_the_middle_of_a_read_is_wholly_in_it(model: Model, moment: str) -> None:
    getattr(model.port, moment)("rows", lambda: model.project(1))

    page = model.stream_rows()

    assert (numbers(page), page.checkpoint, page.settled) == ([1, 1, 1], 1, True)


def test_a_read_that_is_always_interrupted_says_so(model: Model) -> None:
    model.port.before("rows", *[lambda: model.project(model.state().checkpoint + 1)] * MAX_TRIES)

    page = model.stream_rows()

    assert not page.settled
    assert len(page.rows) == 3
    assert model.port.calls["rows"] == MAX_TRIES


def test_a_switch_in_the_middle_of_a_read_shows_one_generation_whole(model: Model) -> None:
    model.port.before("rows", lambda: model.replay(5))

    page = model.stream_rows()

    assert (numbers(page), page.checkpoint, page.generation, page.settled) == ([5, 5, 5], 5, 1, True)


def test_a_rewind_to_the_same_checkpoint_in_the_middle_of_a_read_is_noticed(model: Model) -> None:
    model.project(3)

    def rewind() -> None:
        model.storage.commit(Commit((transitions.rewind(model.state(), 1),)))
        model.project(3)

    model.port.before("rows", rewind)
    model.stream_rows()

    assert model.port.calls["rows"] == 2


def test_a_read_during_the_catch_up_of_a_rewind_is_not_settled(model: Model) -> None:
    model.project(3)
    model.storage.commit(Commit((transitions.rewind(model.state(), 1),)))
    behind = model.stream_rows()
    model.project(3)

    assert (behind.checkpoint, behind.settled) == (1, False)
    assert model.stream_rows().settled


# -- waiting for an event ------------------------------------------------------------------------------------------------


def test_an_applied_event_is_not_waited_for(model: Model) -> None:
    model.reader.wait_for(STREAM, 0, range(9))
    assert model.port.calls["load"] == 1


def test_an_event_is_waited_for_in_the_generation_that_is_active_by_then(model: Model) -> None:
    model.port.before("load", lambda: None, lambda: model.replay(2))

    model.reader.wait_for(STREAM, 2, range(9))

    assert model.port.calls["load"] <= 3


def test_the_wait_is_over_when_the_polls_are(model: Model) -> None:
    with pytest.raises(NotAppliedError) as raised:
        model.reader.wait_for(STREAM, 1, range(4))

    assert model.port.calls["load"] == 4
    assert raised.value.extra == {"streamId": STREAM, "checkpoint": 0}


def test_the_wait_is_over_when_the_stream_is_halted(model: Model) -> None:
    model.storage.commit(Commit((transitions.halt(model.state(), 1, "ValueError: no", AT),)))

    with pytest.raises(NotAppliedError, match="halted at event 1: ValueError: no") as raised:
        model.reader.wait_for(STREAM, 1, range(4))

    assert model.port.calls["load"] == 1
    assert raised.value.extra["halted"] == {"eventId": 1, "error": "ValueError: no", "at": AT}


def test_polls_take_ten_seconds_with_growing_jittered_waits() -> None:
    now, waits = 0.0, []

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds
        waits.append(seconds)

    # the longest waits there can be
    assert len(list(attempts(POLLING, monotonic=lambda: now, sleep=sleep, uniform=lambda: 0.999))) < 40
    assert waits[0] < 0.05 < max(waits) <= 0.4
    assert 9.5 < now <= 10
    now, waits[:] = 0.0, []
    list(polling(lambda: now, sleep))
    assert len(set(waits)) > 10
    assert now <= 10
