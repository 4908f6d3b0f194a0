"""What the storage of a projection promises: rows and state in one transaction, read at one instant, exact to the digit.

A subclass gives the fixture `make_read_model`; pytest collects the rest.
"""

import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from handlers.core.events import StreamId
from handlers.projection import transitions
from handlers.projection.definition import Row
from handlers.projection.port import MAX_COMMIT_ROWS, OutdatedError, ReadModel
from handlers.projection.state import StreamState
from tests.support.changes import AT, exactly, outcome, possible_changes
from tests.support.memory_read_model import MemoryReadModel

ReadModelFactory = Callable[[], ReadModel]
"""Each call returns the storage of another projection, empty."""

STREAM, OTHER = StreamId("orders-1"), StreamId("orders-1#7\u0000\U0001f600")
KEY = "itemId"

NUMBERS = [
    0,
    5,
    -5,
    12345678901234567890,
    Decimal("0.1"),
    Decimal("-0.000001"),
    10**37 + 1,
    10**40,
    -(10**125),
    Decimal("1E+125"),
    Decimal("9.9999999999999999999999999999999999999E+125"),
    Decimal("1E-130"),
    Decimal("1.2345678901234567890123456789012345678E-130"),
    Decimal("1.00000000000000000000000000000000000000000000000000"),
    Decimal("0E-200"),
]
VALUES: list[Any] = [
    True,
    False,
    None,
    "",
    "1",
    "\u0000\u2028\U0001f600",
    {},
    [],
    {"a": {"b": [1, None, {"c": False}]}},
]


def project(
    read_model: ReadModel, to: int, rows: dict[str, Row | None] | None = None, stream_id: StreamId = STREAM
) -> StreamState:
    """Commit live rows; returns the state before."""
    state = read_model.load(stream_id).state
    read_model.commit(transitions.advance(state, to, "f"), rows, state.active_generation)
    return state


def all_rows(read_model: ReadModel, generation: int = 0, stream_id: StreamId = STREAM) -> dict[str, Row]:
    page = read_model.page(stream_id, generation)
    assert page.next_after is None
    return dict(page.rows)


class ReadModelContract:
    """Subclass it and give `make_read_model`."""

    @pytest.fixture
    def make_read_model(self) -> ReadModelFactory:
        raise NotImplementedError

    @pytest.fixture
    def read_model(self, make_read_model: ReadModelFactory) -> ReadModel:
        return make_read_model()

    # -- state and rows ------------------------------------------------------------------------------------------------

    def test_nothing_is_there_at_first(self, read_model: ReadModel) -> None:
        snapshot = read_model.load(STREAM, ["a"], 0)

        assert snapshot.state == StreamState(STREAM)
        assert snapshot.rows == {"a": None}
        assert all_rows(read_model) == {}
        assert list(read_model.states()) == []

    def test_rows_and_state_are_read_together(self, read_model: ReadModel) -> None:
        project(read_model, 4, {"a": {"n": 1}, "b": {"n": 2}})

        snapshot = read_model.load(STREAM, ["b", "a", "c"], 0)

        assert (snapshot.state.checkpoint, snapshot.state.fingerprint) == (4, "f")
        assert snapshot.rows == {"b": {"n": 2}, "a": {"n": 1}, "c": None}
        assert snapshot.generation == 0

    def test_a_row_of_none_is_deleted_and_another_replaced_as_a_whole(self, read_model: ReadModel) -> None:
        project(read_model, 0, {"a": {"n": 1}, "b": {"n": 2, "more": True}})
        project(read_model, 1, {"a": None, "b": {"n": 3}, "never-there": None})

        assert all_rows(read_model) == {"b": {"n": 3}}

    def test_a_row_may_have_no_attributes(self, read_model: ReadModel) -> None:
        project(read_model, 0, {"a": {}})

        assert read_model.load(STREAM, ["a"], 0).rows == {"a": {}}
        assert all_rows(read_model) == {"a": {}}

    def test_generations_and_streams_are_apart(self, read_model: ReadModel) -> None:
        project(read_model, 0, {"a": {"n": 1}})
        project(read_model, 0, {"a": {"n": 2}}, OTHER)
        state = read_model.load(STREAM).state
        read_model.commit(transitions.begin_replay(state, "r", "f", AT))
        state = read_model.load(STREAM).state
        read_model.commit(transitions.advance_replay(state, 0, AT), {"a": {"n": 3}}, 1)

        assert all_rows(read_model, 0) == {"a": {"n": 1}}
        assert all_rows(read_model, 1) == {"a": {"n": 3}}
        assert all_rows(read_model, 0, OTHER) == {"a": {"n": 2}}
        assert {state.stream_id: state.checkpoint for state in read_model.states()} == {STREAM: 0, OTHER: 0}

    @pytest.mark.parametrize("value", [*NUMBERS, *VALUES], ids=lambda value: repr(value)[:40])
    def test_values_come_back_exactly(self, read_model: ReadModel, value: Any) -> None:
        project(read_model, 0, {"a": {"v": value, "nested": {"list": [value]}}})

        expected = exactly({"v": value, "nested": {"list": [value]}})
        assert exactly(read_model.load(STREAM, ["a"], 0).rows["a"]) == expected
        assert exactly(all_rows(read_model)["a"]) == expected

    def test_whole_numbers_come_back_as_int(self, read_model: ReadModel) -> None:
        project(read_model, 0, {"a": {"n": 12345678901234567890, "d": Decimal("0.5")}})

        row = read_model.load(STREAM, ["a"], 0).rows["a"]
        assert row is not None
        assert (type(row["n"]), type(row["d"])) == (int, Decimal)

    # -- conditions ----------------------------------------------------------------------------------------------------

    def test_a_commit_on_an_old_state_writes_nothing(self, read_model: ReadModel) -> None:
        old = project(read_model, 0, {"a": {"n": 1}})

        with pytest.raises(OutdatedError):
            read_model.commit(transitions.advance(old, 5, "f"), {"a": {"n": 2}, "b": {"n": 2}}, 0)
        with pytest.raises(OutdatedError):
            read_model.commit(transitions.advance(old, 5, "f"))

        assert all_rows(read_model) == {"a": {"n": 1}}
        assert read_model.load(STREAM).state.checkpoint == 0

    @settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
    @given(data=st.data())
    def test_every_change_does_what_it_does_in_memory(self, read_model: ReadModel, data: Any) -> None:
        """Random walks through the protocol, on present and on old states, beside the model."""
        model, stream_id = MemoryReadModel(), StreamId(data.draw(st.sampled_from([STREAM, OTHER])) + uuid.uuid4().hex)
        seen = [model.load(stream_id).state]
        for step in range(data.draw(st.integers(1, 12))):
            state = data.draw(st.sampled_from([seen[-1], seen[-1], data.draw(st.sampled_from(seen))]))
            change = data.draw(st.sampled_from(possible_changes(state, step)))
            rows: dict[str, Mapping[str, Any] | None] | None = {"a": {"n": step}} if data.draw(st.booleans()) else None

            told = outcome(read_model, change, rows)
            assert told == outcome(model, change, rows)
            assert read_model.load(stream_id, ["a"]) == model.load(stream_id, ["a"])
            if told == "done" and state == seen[-1]:
                assert read_model.load(stream_id).state == change.after
            seen.append(model.load(stream_id).state)

    # -- pages ---------------------------------------------------------------------------------------------------------

    def test_pages_are_in_the_order_of_the_keys_bytes(self, read_model: ReadModel) -> None:
        keys = ["b", "a", "A", "\U0001f600", "\uffee", "ä", "10", "9", " "]
        project(read_model, 0, {key: {} for key in keys})

        found, after = [], None
        while True:
            page = read_model.page(STREAM, 0, after=after, limit=2)
            assert len(page.rows) <= 2
            found += [key for key, _ in page.rows]
            after = page.next_after
            if after is None:
                break

        assert found == sorted(keys, key=str.encode)

    def test_a_page_goes_on_after_a_key_that_is_gone(self, read_model: ReadModel) -> None:
        project(read_model, 0, {key: {} for key in "abcd"})
        page = read_model.page(STREAM, 0, limit=2)
        project(read_model, 1, {"b": None})

        assert [key for key, _ in read_model.page(STREAM, 0, after=page.next_after).rows] == ["c", "d"]

    def test_more_than_a_megabyte_of_rows_takes_several_pages(self, read_model: ReadModel) -> None:
        for number in range(5):
            project(read_model, number, {f"row-{number}": {"text": "x" * 300_000}})

        found, after = [], None
        while True:
            page = read_model.page(STREAM, 0, after=after)
            found += [key for key, _ in page.rows]
            after = page.next_after
            if after is None:
                break

        assert found == [f"row-{number}" for number in range(5)]

    # -- limits --------------------------------------------------------------------------------------------------------

    def test_a_commit_holds_ninety_nine_rows(self, read_model: ReadModel) -> None:
        rows: dict[str, Row | None] = {f"row-{number:03}": {"n": number} for number in range(MAX_COMMIT_ROWS)}

        project(read_model, 0, rows)

        assert read_model.load(STREAM, list(rows), 0).rows == rows

    def test_a_commit_of_more_rows_is_refused(self, read_model: ReadModel) -> None:
        with pytest.raises(ValueError, match="99"):
            project(read_model, 0, {str(number): {} for number in range(MAX_COMMIT_ROWS + 1)})

        assert read_model.load(STREAM).state.checkpoint == -1

    def test_rows_of_more_bytes_than_a_transaction_holds_are_read_all_the_same(self, read_model: ReadModel) -> None:
        rows: dict[str, Row | None] = {f"row-{number:02}": {"text": "x" * 390_000} for number in range(16)}
        for number in range(0, 16, 8):
            project(read_model, number, dict(list(rows.items())[number : number + 8]))

        assert read_model.load(STREAM, list(rows), 0).rows == rows

    def test_keys_may_be_long_and_of_any_unicode(self, read_model: ReadModel) -> None:
        keys = ["x" * 1024, "\U0001f600" * 256, "\u0000", "a#b", "'\";--"]
        project(read_model, 0, {key: {"n": 1} for key in keys})

        assert set(all_rows(read_model)) == set(keys)
        assert read_model.load(STREAM, keys, 0).rows == {key: {"n": 1} for key in keys}

    # -- sweeping ------------------------------------------------------------------------------------------------------

    def test_a_generation_is_swept_and_no_other(self, read_model: ReadModel) -> None:
        project(read_model, 0, {f"row-{number:03}": {} for number in range(60)})
        project(read_model, 0, {"a": {}}, OTHER)
        state = read_model.load(STREAM).state
        read_model.commit(transitions.begin_replay(state, "r", "f", AT), {"a": {"n": 1}}, 1)

        for _ in range(10):
            if read_model.sweep(STREAM, 0):
                break

        assert all_rows(read_model, 0) == {}
        assert all_rows(read_model, 1) == {"a": {"n": 1}}
        assert all_rows(read_model, 0, OTHER) == {"a": {}}
        assert read_model.sweep(STREAM, 0)


class ParallelReadModelContract(ReadModelContract):
    """For storage that stands several writers at once (moto does not: it checks and writes without a lock in between)."""

    def test_of_commits_on_the_same_state_one_wins(self, read_model: ReadModel) -> None:
        state = read_model.load(STREAM).state

        def commit(number: int) -> int | None:
            try:
                read_model.commit(transitions.advance(state, number, "f"), {"a": {"n": number}}, 0)
            except OutdatedError:
                return None
            return number

        with ThreadPoolExecutor(8) as pool:
            (winner,) = [number for number in pool.map(commit, range(8)) if number is not None]

        assert read_model.load(STREAM).state.checkpoint == winner
        assert all_rows(read_model) == {"a": {"n": winner}}
