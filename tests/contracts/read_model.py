"""What the storage of a projection promises: conditional commits of states and rows, and reads in the order of keys.

A subclass gives the fixture `make_read_model`; pytest collects the rest.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from handlers.core.events import StreamId
from handlers.projection import transitions
from handlers.projection.port import (
    MAX_COMMIT_ROWS,
    Change,
    Commit,
    IndexEntry,
    OutdatedError,
    ReadModel,
    RowChange,
    RowQuery,
    read_control,
)
from handlers.projection.state import (
    Control,
    ControlItem,
    ReconcilerItem,
    StateItem,
    StreamState,
    shard_of,
)
from tests.support.changes import AT, Walk, exactly, outcome
from tests.support.memory_read_model import MemoryReadModel
from tests.support.read_models import all_rows, pages, put_document, put_rows, version, write

ReadModelFactory = Callable[[], ReadModel]
"""Each call returns the storage of another projection, empty."""

STREAM, OTHER = StreamId("orders-1"), StreamId("orders-1#7\u0000\U0001f600")

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
KEYS = ["b", "a", "A", "\U0001f600", "\uffee", "ä", "10", "9", " ", "\u0000", "a\u0000b", "a\u0001", "x" * 1024]


def born(read_model: ReadModel, stream_id: StreamId = STREAM, checkpoint: int = 0, generation: int = 0) -> StreamState:
    """Create the state of a stream without regard to the fences."""
    change = transitions.advance(StreamState(stream_id, generation), checkpoint)
    read_model.commit(Commit((change,)))
    return change.after


def state_of(read_model: ReadModel, stream_id: StreamId = STREAM, generation: int = 0) -> StreamState:
    return read_model.load(generation, [stream_id]).states[stream_id]


def all_states(read_model: ReadModel, generation: int = 0) -> list[StreamState]:
    found: list[StreamState] = []
    for shard in range(16):
        after = None
        while True:
            page = read_model.states(generation, shard, after=after)
            assert all(shard_of(state.stream_id) == shard for state in page.states)
            found += page.states
            after = page.after
            if after is None:
                break
    return found


def halt(read_model: ReadModel, stream_id: StreamId, generation: int = 0) -> StreamState:
    state = born(read_model, stream_id, generation=generation)
    change = transitions.halt(state, state.checkpoint + 1, "no", AT)
    read_model.commit(Commit((change,)))
    return change.after


def replay(read_model: ReadModel, fences: bool = True) -> Control:
    """Begin a replay."""
    change = transitions.begin_replay(read_control(read_model), "r", "f")
    read_model.commit(Commit((change,), fences=change.after.version if fences else None))
    return change.after


def sweep(read_model: ReadModel, generation: int) -> None:
    for _ in range(20):
        if read_model.sweep(generation):
            return
    raise AssertionError("the sweep does not end")


class ReadModelContract:
    """Subclass it and give `make_read_model`."""

    @pytest.fixture
    def make_read_model(self) -> ReadModelFactory:
        raise NotImplementedError

    @pytest.fixture
    def read_model(self, make_read_model: ReadModelFactory) -> ReadModel:
        return make_read_model()

    # -- reading -----------------------------------------------------------------------------------------------------

    def test_an_empty_read_model_has_nothing(self, read_model: ReadModel) -> None:
        snapshot = read_model.load(0, [STREAM], ["a"])

        assert snapshot.states == {STREAM: StreamState(STREAM, 0)}
        assert snapshot.rows == {"a": None}
        assert all_rows(read_model) == {}
        assert all_states(read_model) == []
        assert list(read_model.halted(0)) == []
        assert read_control(read_model) == Control()
        assert read_model.load(0, ()).states == {}

    def test_states_and_rows_are_loaded_together(self, read_model: ReadModel) -> None:
        change = transitions.advance(StreamState(STREAM, 0), 4)
        rows = (write("a", {"n": 1}), write("b", {"n": 2}))
        read_model.commit(Commit((change,), rows))

        snapshot = read_model.load(0, [STREAM, OTHER, STREAM], ["b", "a", "c", "a"])

        assert snapshot.states == {STREAM: change.after, OTHER: StreamState(OTHER, 0)}
        assert {key: row and row.row for key, row in snapshot.rows.items()} == {"b": {"n": 2}, "a": {"n": 1}, "c": None}
        assert version(read_model, "a") == rows[0].version

    def test_more_than_a_hundred_items_are_loaded(self, read_model: ReadModel) -> None:
        streams = [StreamId(f"s{number}") for number in range(60)]
        keys = [f"row-{number:03}" for number in range(60)]
        read_model.commit(Commit(tuple(transitions.advance(StreamState(each, 0), 1) for each in streams)))
        put_rows(read_model, {key: {"key": key} for key in keys})

        snapshot = read_model.load(0, streams, keys)

        assert all(snapshot.states[each].checkpoint == 1 for each in streams)
        assert {key: row and row.row for key, row in snapshot.rows.items()} == {key: {"key": key} for key in keys}

    def test_projections_and_generations_are_separate(self, make_read_model: ReadModelFactory) -> None:
        one, other = make_read_model(), make_read_model()
        for number, (read_model, generation) in enumerate([(one, 0), (one, 1), (one, 11), (other, 1)]):
            born(read_model, STREAM, number, generation)
            put_rows(read_model, {"a": {"n": number}}, generation)
        replay(one)

        for number, (read_model, generation) in enumerate([(one, 0), (one, 1), (one, 11), (other, 1)]):
            assert all_rows(read_model, generation) == {"a": {"n": number}}
            assert [state.checkpoint for state in all_states(read_model, generation)] == [number]
        assert read_control(other) == Control()

    @pytest.mark.parametrize("value", [*NUMBERS, *VALUES], ids=lambda value: repr(value)[:40])
    def test_values_keep_every_digit_and_their_type(self, read_model: ReadModel, value: Any) -> None:
        row = {"v": value, "nested": {"list": [value]}}
        put_rows(read_model, {"a": row})

        found = read_model.load(0, (), ["a"]).rows["a"]
        assert found is not None
        assert exactly(found.row) == exactly(row)
        assert exactly(all_rows(read_model)["a"]) == exactly(row)

    def test_whole_numbers_are_ints(self, read_model: ReadModel) -> None:
        put_rows(read_model, {"a": {"n": 12345678901234567890, "d": Decimal("0.5")}})

        row = all_rows(read_model)["a"]
        assert (type(row["n"]), type(row["d"])) == (int, Decimal)

    def test_attributes_of_rows_may_have_any_name(self, read_model: ReadModel) -> None:
        row = dict.fromkeys(("pk", "sk", "version", "row", "index1", "sort1", "a.b", "#", "select"), 1)

        put_rows(read_model, {"a": row})

        assert all_rows(read_model) == {"a": row}

    def test_the_reconcilers_document_is_replaced_in_parts(self, read_model: ReadModel) -> None:
        put_document(read_model, ReconcilerItem(), {"after": "a", "round": {"streams": 3, "worst": [{"lag": 2}]}})
        change: Change[None] = Change(ReconcilerItem(), {"after": "a"}, {"round.streams": 4}, ("after",), None)

        read_model.commit(Commit((change,)))

        assert read_model.read(ReconcilerItem()) == {"round": {"streams": 4, "worst": [{"lag": 2}]}}

    # -- conditions --------------------------------------------------------------------------------------------------

    def test_a_birth_requires_that_there_is_no_state(self, read_model: ReadModel) -> None:
        born(read_model, checkpoint=3)

        with pytest.raises(OutdatedError) as outdated:
            born(read_model, checkpoint=4)

        assert outdated.value.items == {StateItem(0, STREAM)}
        assert state_of(read_model).checkpoint == 3

    def test_an_outdated_commit_changes_nothing_and_names_what_has_changed(self, read_model: ReadModel) -> None:
        first, second = born(read_model, STREAM), born(read_model, OTHER)
        put_rows(read_model, {"a": {"n": 1}, "b": {"n": 1}, "c": {"n": 1}})
        versions = {key: version(read_model, key) for key in "abc"}
        read_model.commit(Commit((transitions.advance(second, 1),)))
        put_rows(read_model, {"b": {"n": 2}, "c": None})
        before = all_rows(read_model)

        commit = Commit(
            (transitions.advance(first, 9), transitions.advance(second, 9)),
            (
                write("a", {"n": 3}, versions["a"]),
                write("b", {"n": 3}, versions["b"]),
                write("c", None, versions["c"]),
                write("d", {"n": 3}, "never-there"),
                write("e", {"n": 3}),
            ),
        )
        with pytest.raises(OutdatedError) as outdated:
            read_model.commit(commit)

        assert outdated.value.items == {StateItem(0, OTHER)}
        assert outdated.value.keys == {"b", "c", "d"}
        assert all_rows(read_model) == before
        assert (state_of(read_model, STREAM).checkpoint, state_of(read_model, OTHER).checkpoint) == (0, 1)

    def test_every_expected_value_counts(self, read_model: ReadModel) -> None:
        item = ReconcilerItem()
        document = {"a": 1, "b": {"c": "x", "d": True}, "list": [1]}
        put_document(read_model, item, document)

        def is_done(expect: dict[str, Any]) -> bool:
            return outcome(read_model, Commit((Change(item, expect, {"done": True}, (), None),))) is None

        assert is_done({"a": 1, "b.c": "x", "b.d": True, "list": [1], "b": {"c": "x", "d": True}, "b.e": None})
        wrong: list[dict[str, Any]] = [
            {"a": 2},
            {"a": "1"},
            {"a": None},
            {"b.c": "y"},
            {"b.c": None},
            {"b.e": 1},
            {"b": {}},
            {"z": 0},
        ]
        assert not any(is_done(expect) for expect in wrong)
        assert is_done({"z": None, "z.z": None})

    def test_a_row_is_created_only_if_it_does_not_exist(self, read_model: ReadModel) -> None:
        put_rows(read_model, {"a": {"n": 1}})

        with pytest.raises(OutdatedError) as outdated:
            read_model.commit(Commit((), (write("a", {"n": 2}),)))

        assert not outdated.value.items
        assert outdated.value.keys == {"a"}
        assert all_rows(read_model) == {"a": {"n": 1}}

    def test_a_row_that_was_deleted_and_recreated_is_another_one(self, read_model: ReadModel) -> None:
        put_rows(read_model, {"a": {"n": 1}})
        old = version(read_model, "a")
        put_rows(read_model, {"a": None})
        put_rows(read_model, {"a": {"n": 1}})

        with pytest.raises(OutdatedError):
            read_model.commit(Commit((), (write("a", {"n": 2}, old),)))

        assert all_rows(read_model) == {"a": {"n": 1}}

    def test_a_row_is_replaced_as_a_whole(self, read_model: ReadModel) -> None:
        put_rows(read_model, {"a": {"n": 1, "more": True}, "b": {"n": 1}})
        put_rows(read_model, {"a": {"n": 2}, "b": {}})

        assert all_rows(read_model) == {"a": {"n": 2}, "b": {}}

    def test_a_check_of_a_row_writes_nothing(self, read_model: ReadModel) -> None:
        put_rows(read_model, {"a": {"n": 1}})
        old = version(read_model, "a")

        read_model.commit(Commit((), (RowChange("a", old), RowChange("b", None), write("c", {}))))
        assert version(read_model, "a") == old
        assert all_rows(read_model) == {"a": {"n": 1}, "c": {}}

        put_rows(read_model, {"a": {"n": 2}})
        checks = (RowChange("a", old), RowChange("b", None), RowChange("c", None))
        with pytest.raises(OutdatedError) as outdated:
            read_model.commit(Commit((transitions.advance(StreamState(STREAM, 0), 1),), checks))
        assert outdated.value.keys == {"a", "c"}
        assert not state_of(read_model).exists

    def test_a_check_of_a_state_writes_nothing(self, read_model: ReadModel) -> None:
        state = born(read_model)

        read_model.commit(Commit((transitions.unchanged(state), transitions.unchanged(StreamState(OTHER, 0)))))
        assert state_of(read_model) == state
        assert not state_of(read_model, OTHER).exists

        read_model.commit(Commit((transitions.advance(state, 1),)))
        with pytest.raises(OutdatedError):
            read_model.commit(Commit((transitions.unchanged(state),)))

    def test_a_commit_of_nothing_is_done(self, read_model: ReadModel) -> None:
        read_model.commit(Commit())

    # -- fences (G3) -------------------------------------------------------------------------------------------------

    def test_a_birth_relies_on_the_version_of_the_control_item(self, read_model: ReadModel) -> None:
        first = transitions.advance(StreamState(STREAM, 0), 0)
        read_model.commit(Commit((first,), born_at=0))
        assert replay(read_model).version == 1

        other = transitions.advance(StreamState(OTHER, 0), 0)
        with pytest.raises(OutdatedError) as outdated:
            read_model.commit(Commit((other,), (write("a", {}),), born_at=0))
        assert outdated.value.items == {ControlItem()}
        assert not state_of(read_model, OTHER).exists

        read_model.commit(Commit((other,), (write("a", {}),), born_at=1))
        assert state_of(read_model, OTHER) == other.after

    def test_every_stream_has_a_fence(self, read_model: ReadModel) -> None:
        streams = [StreamId(f"stream-{number}") for number in range(60)]
        assert {shard_of(each) for each in streams} == set(range(16))
        births = tuple(transitions.advance(StreamState(each, 0), 0) for each in streams)
        replay(read_model)

        for birth in births:
            with pytest.raises(OutdatedError):
                read_model.commit(Commit((birth,), born_at=0))
        read_model.commit(Commit(births, born_at=1))

        assert len(all_states(read_model)) == 60

    def test_fences_are_not_checked_without_a_birth(self, read_model: ReadModel) -> None:
        state = born(read_model)
        replay(read_model)

        read_model.commit(Commit((transitions.advance(state, 1),), born_at=0))

        assert state_of(read_model).checkpoint == 1

    def test_an_outdated_change_of_the_control_item_leaves_the_fences(self, read_model: ReadModel) -> None:
        begin = transitions.begin_replay(Control(), "r", "f")
        read_model.commit(Commit((begin,), fences=1))

        with pytest.raises(OutdatedError) as outdated:
            read_model.commit(Commit((begin,), fences=7))

        assert outdated.value.items == {ControlItem()}
        read_model.commit(Commit((transitions.advance(StreamState(STREAM, 0), 0),), born_at=1))

    def test_a_birth_together_with_new_fences_relies_on_the_old_ones(self, read_model: ReadModel) -> None:
        current = replay(read_model)
        birth = transitions.advance(StreamState(STREAM, 0), 0)
        abandon = transitions.abandon(current)

        with pytest.raises(OutdatedError):
            read_model.commit(Commit((birth, abandon), born_at=0, fences=2))
        read_model.commit(Commit((birth, abandon), born_at=1, fences=2))

        assert read_control(read_model) == abandon.after
        assert state_of(read_model).exists

    # -- the protocol ------------------------------------------------------------------------------------------------

    @settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
    @given(data=st.data())
    def test_random_commits_do_what_they_do_in_memory(self, make_read_model: ReadModelFactory, data: Any) -> None:
        read_model, model = make_read_model(), MemoryReadModel()
        walk = Walk(model, data.draw, st)
        for step in range(data.draw(st.integers(1, 12))):
            commit = walk.next(step)

            assert outcome(read_model, commit) == outcome(model, commit)
            assert read_model.load(0, [walk.stream_id], ["a", "b"]) == model.load(0, [walk.stream_id], ["a", "b"])
            assert read_model.read(ControlItem()) == model.read(ControlItem())
            for query in (RowQuery(10), RowQuery(10, slot=1, value="x"), RowQuery(10, slot=5, value="y")):
                assert read_model.rows(0, query) == model.rows(0, query)
            assert list(read_model.halted(0)) == list(model.halted(0))

    # -- rows in the order of their keys -----------------------------------------------------------------------------

    @pytest.fixture
    def many(self, read_model: ReadModel) -> ReadModel:
        put_rows(read_model, {key: {"key": key} for key in KEYS})
        return read_model

    @pytest.mark.parametrize("limit", [1, 2, 5, 13, 1000])
    @pytest.mark.parametrize("descending", [False, True])
    def test_pages_are_in_the_order_of_the_keys_bytes(self, many: ReadModel, limit: int, descending: bool) -> None:
        found = [key for key, _ in pages(many, limit=limit, descending=descending)]

        assert found == sorted(KEYS, key=str.encode, reverse=descending)
        assert all(row == {"key": key} for key, row in all_rows(many).items())

    @pytest.mark.parametrize("descending", [False, True])
    @pytest.mark.parametrize("prefix", ["a", "a\u0000", "\U0001f600", "x" * 1000, "nothing", "1", ""])
    def test_a_prefix_selects_keys(self, many: ReadModel, prefix: str, descending: bool) -> None:
        found = [key for key, _ in pages(many, limit=1, prefix=prefix, descending=descending)]

        assert found == sorted((key for key in KEYS if key.startswith(prefix)), key=str.encode, reverse=descending)

    @pytest.mark.parametrize("descending", [False, True])
    @pytest.mark.parametrize(
        ("low", "high"), [("a", None), (None, "a"), ("9", "b"), ("a", "a"), ("b", "a"), ("ä", "\U0001f600"), ("", None)]
    )
    def test_bounds_are_inclusive(self, many: ReadModel, low: str | None, high: str | None, descending: bool) -> None:
        found = [key for key, _ in pages(many, limit=2, low=low, high=high, descending=descending)]

        within = [key for key in KEYS if (low is None or key >= low) and (high is None or key <= high)]
        assert found == sorted(within, key=str.encode, reverse=descending)

    def test_a_page_continues_after_a_key_that_was_deleted(self, read_model: ReadModel) -> None:
        put_rows(read_model, {key: {} for key in "abcd"})
        page = read_model.rows(0, RowQuery(2))
        put_rows(read_model, {"b": None})

        assert [key for key, _ in read_model.rows(0, RowQuery(10, after=page.position)).rows] == ["c", "d"]

    def test_the_last_page_says_so(self, read_model: ReadModel) -> None:
        put_rows(read_model, {key: {} for key in "abcd"})

        assert read_model.rows(0, RowQuery(3)).position is not None
        assert read_model.rows(0, RowQuery(4)).position is None

    def test_more_than_a_megabyte_of_rows_takes_several_pages(self, read_model: ReadModel) -> None:
        rows = {f"row-{number}": {"text": "x" * 300_000} for number in range(5)}
        for key, row in rows.items():
            put_rows(read_model, {key: row})

        assert all_rows(read_model) == rows
        snapshot = read_model.load(0, (), list(rows))
        assert {key: row and row.row for key, row in snapshot.rows.items()} == rows

    # -- indexes -----------------------------------------------------------------------------------------------------

    @pytest.fixture
    def indexed(self, read_model: ReadModel) -> ReadModel:
        """Seven paid rows, sorted backwards in slot 1, and one in slot 2."""
        rows = [write(f"k{n}", {"n": n}, None, IndexEntry(1, "paid", f"s{7 - n}\U0001f600")) for n in range(7)]
        rows.append(write("new", {"n": 9}, None, IndexEntry(1, "new", "s1"), IndexEntry(2, "paid", "s1")))
        read_model.commit(Commit((), tuple(rows)))
        return read_model

    @pytest.mark.parametrize("limit", [1, 3, 7, 100])
    @pytest.mark.parametrize("descending", [False, True])
    def test_an_index_lists_a_value_by_its_sort(self, indexed: ReadModel, limit: int, descending: bool) -> None:
        found = [row["n"] for _, row in pages(indexed, limit=limit, slot=1, value="paid", descending=descending)]

        assert found == (list(range(7)) if descending else list(range(6, -1, -1)))

    def test_slots_and_values_are_separate(self, indexed: ReadModel) -> None:
        assert list(all_rows(indexed, slot=1, value="new", limit=100)) == ["new"]
        assert list(all_rows(indexed, slot=2, value="paid", limit=100)) == ["new"]
        for slot, value in ((2, "new"), (1, "pai"), (3, "paid"), (5, "")):
            assert all_rows(indexed, slot=slot, value=value, limit=100) == {}
        assert all_rows(indexed, 1, slot=1, value="paid", limit=100) == {}

    @pytest.mark.parametrize("descending", [False, True])
    @pytest.mark.parametrize(
        ("low", "high", "expected"),
        [("s3", "s5", [4, 3]), ("s3\U0001f600", "s5\U0001f600", [4, 3, 2]), (None, "s2", [6]), ("s7", None, [0])],
    )
    def test_bounds_in_an_index_are_those_of_its_sort(
        self, indexed: ReadModel, low: str | None, high: str | None, expected: list[int], descending: bool
    ) -> None:
        query: dict[str, Any] = {"slot": 1, "value": "paid", "low": low, "high": high, "descending": descending}

        found = [row["n"] for _, row in pages(indexed, limit=2, **query)]

        assert found == (expected[::-1] if descending else expected)

    def test_rows_of_the_same_sort_are_all_listed(self, read_model: ReadModel) -> None:
        keys = [f"k{number}" for number in range(5)]
        read_model.commit(Commit((), tuple(write(key, {}, None, IndexEntry(3, "v", "1:s")) for key in keys)))

        assert sorted(key for key, _ in pages(read_model, limit=2, slot=3, value="v")) == keys

    def test_a_row_moves_between_values_and_leaves_the_index(self, indexed: ReadModel) -> None:
        def paid() -> list[str]:
            return sorted(all_rows(indexed, slot=1, value="paid", limit=100))

        def new() -> list[str]:
            return sorted(all_rows(indexed, slot=1, value="new", limit=100))

        moved = write("k1", {"n": 1}, version(indexed, "k1"), IndexEntry(1, "new", "s2"))
        gone = write("k2", {"n": 2}, version(indexed, "k2"))
        deleted = write("k3", None, version(indexed, "k3"))
        indexed.commit(Commit((), (moved, gone, deleted)))

        assert paid() == ["k0", "k4", "k5", "k6"]
        assert new() == ["k1", "new"]
        assert "k2" in all_rows(indexed)

        indexed.commit(Commit((), (write("k3", {"n": 3}, None, IndexEntry(1, "new", "s0")),)))
        assert new() == ["k1", "k3", "new"]

    # -- states ------------------------------------------------------------------------------------------------------

    def test_all_states_are_listed_by_shard_and_stream(self, read_model: ReadModel) -> None:
        streams = [StreamId(f"stream-{number}\u00fc") for number in range(70)] + [OTHER]
        read_model.commit(Commit(tuple(transitions.advance(StreamState(each, 0), 1) for each in streams)))
        born(read_model, STREAM, generation=1)

        found = all_states(read_model)

        assert sorted(state.stream_id for state in found) == sorted(streams)
        by_shard = [(shard_of(state.stream_id), state.stream_id.encode()) for state in found]
        assert by_shard == sorted(by_shard)
        assert found[0] == state_of(read_model, found[0].stream_id)

    def test_states_are_listed_after_a_stream(self, read_model: ReadModel) -> None:
        streams = sorted(each for each in (f"s{number}" for number in range(200)) if shard_of(each) == 3)
        read_model.commit(Commit(tuple(transitions.advance(StreamState(StreamId(each), 0), 1) for each in streams)))

        page = read_model.states(0, 3, after=StreamId(streams[1]))

        assert [state.stream_id for state in page.states] == streams[2:]

    def test_halted_streams_are_listed_while_they_are_halted(self, read_model: ReadModel) -> None:
        states = {each: halt(read_model, StreamId(each)) for each in ("c", "a", "b", "d")}
        halt(read_model, StreamId("e"), generation=1)
        born(read_model, StreamId("f"))
        assert list(read_model.halted(0)) == ["a", "b", "c", "d"]
        assert list(read_model.halted(0, limit=2)) == ["a", "b"]
        assert list(read_model.halted(0, after=StreamId("b"))) == ["c", "d"]
        assert list(read_model.halted(0, limit=1, after=StreamId("b"))) == ["c"]
        assert list(read_model.halted(1)) == ["e"]

        read_model.commit(Commit((transitions.resume(states["a"]),)))
        read_model.commit(Commit((transitions.skip(states["b"], AT),)))
        read_model.commit(Commit((transitions.advance(states["d"], 5),)))

        assert list(read_model.halted(0)) == ["c"]

    def test_a_states_document_has_only_its_fields(self, read_model: ReadModel) -> None:
        state = halt(read_model, STREAM)

        assert read_model.read(state.item) == state.to_document()
        assert state_of(read_model) == state

    # -- limits ------------------------------------------------------------------------------------------------------

    def test_a_commit_holds_a_hundred_items(self, read_model: ReadModel) -> None:
        rows = tuple(write(f"row-{number:03}", {"n": number}) for number in range(MAX_COMMIT_ROWS))
        birth = transitions.advance(StreamState(STREAM, 0), 0)

        read_model.commit(Commit((birth,), rows, born_at=0))

        assert len(all_rows(read_model)) == MAX_COMMIT_ROWS

    def test_a_larger_commit_is_refused(self, read_model: ReadModel) -> None:
        rows = tuple(write(f"row-{number:03}", {"n": number}) for number in range(MAX_COMMIT_ROWS + 1))
        birth = transitions.advance(StreamState(STREAM, 0), 0)

        with pytest.raises(ValueError, match="101"):
            read_model.commit(Commit((birth,), rows, born_at=0))

        assert all_rows(read_model) == {}

    # -- sweeping (G8) -----------------------------------------------------------------------------------------------

    def test_one_generation_is_swept(self, read_model: ReadModel) -> None:
        for generation in (0, 1, 10):
            born(read_model, STREAM, generation=generation)
            halt(read_model, OTHER, generation)
            rows = (write(f"row-{n:03}", {}, None, IndexEntry(1, "v", "s")) for n in range(60))
            read_model.commit(Commit((), tuple(rows), generation))

        sweep(read_model, 1)

        assert read_model.sweep(1)
        assert (all_rows(read_model, 1), all_states(read_model, 1), list(read_model.halted(1))) == ({}, [], [])
        assert all_rows(read_model, 1, slot=1, value="v", limit=100) == {}
        for generation in (0, 10):
            assert len(all_rows(read_model, generation)) == 60
            assert len(all_states(read_model, generation)) == 2

    def test_states_are_swept_before_rows(self, read_model: ReadModel) -> None:
        states = tuple(transitions.advance(StreamState(StreamId(f"s{number}"), 0), 0) for number in range(60))
        read_model.commit(Commit(states))
        put_rows(read_model, {f"row-{number:03}": {} for number in range(60)})

        seen = []
        for _ in range(50):
            done = read_model.sweep(0)
            seen.append((len(all_states(read_model)), len(all_rows(read_model))))
            if done:
                break

        assert seen[-1] == (0, 0)
        assert len(seen) > 2
        assert all(rows == 60 for states, rows in seen if states)


class ParallelReadModelContract(ReadModelContract):
    """For storage that stands several writers at once (moto does not: it checks and writes without a lock in between)."""

    def test_of_commits_on_the_same_state_one_wins(self, read_model: ReadModel) -> None:
        state = born(read_model)

        def commit(number: int) -> int | None:
            change = transitions.advance(state, number)
            return number if outcome(read_model, Commit((change,), (write("a", {"n": number}),))) is None else None

        with ThreadPoolExecutor(8) as pool:
            (winner,) = [number for number in pool.map(commit, range(1, 9)) if number is not None]

        assert state_of(read_model).checkpoint == winner
        assert all_rows(read_model) == {"a": {"n": winner}}

    def test_of_commits_on_the_same_row_one_wins(self, read_model: ReadModel) -> None:
        put_rows(read_model, {"sum": {"n": 0}})

        def add(number: int) -> None:
            change = transitions.advance(StreamState(StreamId(f"s{number}"), 0), 0)
            while True:
                row = read_model.load(0, (), ["sum"]).rows["sum"]
                assert row is not None
                if (
                    outcome(read_model, Commit((change,), (write("sum", {"n": row.row["n"] + 1}, row.version),)))
                    is None
                ):
                    return

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(add, range(12)))

        assert all_rows(read_model) == {"sum": {"n": 12}}
        assert len(all_states(read_model)) == 12
