"""Folding events into rows: what changes, where a fold stops, and which errors halt a stream."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.core.errors import HandlerFailedError
from handlers.core.events import Event, EventId, NewEvent, StreamId
from handlers.projection import Projection
from handlers.projection.definition import ProjectedEvent, stream_id
from handlers.projection.fold import Folded, fold, keys_of, prepare
from handlers.projection.keys import MAX_INDEX_VALUE_BYTES
from handlers.projection.port import MAX_COMMIT_BYTES, MAX_COMMIT_ROWS
from handlers.projection.rows import MAX_ROW_BYTES
from tests.support.projections import (
    added,
    expected_rows,
    expected_stock,
    expected_totals,
    fold_all,
    ledger,
    ordered,
    placed,
    stock,
    totals,
)
from tests.support.upcasts import counted_upcasts

STREAM, AT = StreamId("s"), "2026-01-01T00:00:00.000Z"

upcasts = counted_upcasts("FOLD_COUNTED")


@pytest.fixture(autouse=True)
def _counting() -> Iterator[None]:
    upcasts.clear()
    yield
    upcasts.clear()


def history(*events: NewEvent) -> list[Event]:
    """The events of one stream, in order."""
    return [Event(STREAM, EventId(n), each.type, each.data, AT, each.metadata) for n, each in enumerate(events)]


def event(data: str = "{}", type: str = "T") -> NewEvent:
    return NewEvent(STREAM, type, data)


def projection_of(handler: Callable[..., Any], *, key: Any = "k", indexes: Any = ()) -> Projection:
    projection = Projection("tested", key=key, indexes=indexes)
    projection.on("T")(handler)
    return projection


def folded(
    projection: Projection, events: list[Event], rows: Mapping[str, Any] | None = None, **options: Any
) -> Folded:
    """Fold events over rows; those not given do not exist."""
    prepared = prepare(projection, events)
    known = dict.fromkeys(keys_of(prepared)) | dict(rows or {})
    return fold(projection, prepared, known, events[0].event_id - 1, **options)


def error_of(result: Folded) -> str:
    assert result.failure is not None
    assert result.changed == {}, "an event takes effect in all its rows or in none"
    return result.failure.error


# -- what a fold leads to --------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["ADDED", "REMOVED", "OTHER"])), min_size=1))
def test_rows_are_those_of_the_events_in_order(steps: list[tuple[str, str]]) -> None:
    events = history(*(added(key, number, stream_id=STREAM, type=type) for number, (key, type) in enumerate(steps)))

    result = folded(ledger(), events)

    assert {key: row for key, row in result.changed.items() if row is not None} == expected_rows(events)
    assert (result.checkpoint, result.failure) == (len(events) - 1, None)
    assert result.applied == sum(type != "OTHER" for _, type in steps)


@given(st.lists(st.tuples(st.sampled_from("123"), st.integers(0, 9)), min_size=1), st.randoms())
def test_rows_that_several_streams_write_do_not_depend_on_their_order(
    steps: list[tuple[str, int]], random: Any
) -> None:
    events = history(*(placed(f"2026-01-0{day}", value, stream_id="any") for day, value in steps))
    shuffled = random.sample(events, len(events))
    rows: dict[str, Any] = {}

    for each in shuffled:
        rows |= folded(totals(), [each], {key: rows.get(key) for key in rows}).changed

    assert rows == expected_totals(events)


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.integers(1, 9)), min_size=1))
def test_an_event_changes_the_rows_of_all_its_keys(orders: list[dict[str, int]]) -> None:
    events = history(*(ordered(lines, stream_id=STREAM) for lines in orders))

    result = folded(stock(), events)

    assert result.changed == expected_stock(events)
    assert result.checkpoint == len(events) - 1
    assert result.applied == sum(lines != {} for lines in orders)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["ADDED", "REMOVED", "BROKEN"])), max_size=20))
def test_all_events_are_folded_in_memory_up_to_the_one_that_fails(steps: list[tuple[str, str]]) -> None:
    events = history(*(added(key, stream_id=STREAM, type=type) for key, type in steps))
    broken = [each.event_id for each in events if each.type == "BROKEN"]
    rows: dict[str, Any] = {}

    if broken:
        with pytest.raises(HandlerFailedError):
            fold_all(ledger(), events, rows)
        assert rows == expected_rows(events, broken[0] - 1)
        rows.clear()
    assert fold_all(ledger(), events, rows, skipped=set(map(str, broken))) == len(events) - 1
    assert rows == expected_rows(events)


def test_events_that_are_not_handled_only_move_the_checkpoint() -> None:
    result = folded(ledger(), history(event("not JSON", "OTHER"), event("{}", "OTHER")))

    assert (result.checkpoint, result.applied, result.changed) == (1, 0, {})


def test_an_event_without_a_key_only_moves_the_checkpoint() -> None:
    def fail(row: Any, event: Any) -> Any:
        raise AssertionError

    result = folded(projection_of(fail, key=lambda event: None), history(event()))

    assert (result.checkpoint, result.applied, result.changed, result.failure) == (0, 0, {}, None)


# -- where a fold stops ----------------------------------------------------------------------------------------------------


def test_a_fold_stops_before_an_event_one_of_whose_rows_is_not_loaded() -> None:
    events = prepare(stock(), history(*(ordered(lines, stream_id=STREAM) for lines in ({"a": 1}, {"a": 1, "b": 1}))))

    result = fold(stock(), events, {"a": None}, -1)

    assert (result.checkpoint, result.changed, result.failure) == (0, {"a": {"taken": 1}}, None)


def test_the_keys_of_the_leading_events_fill_a_commit() -> None:
    orders = ({"a": 1, "b": 1}, {"b": 1, "c": 1}, {"c": 1, "d": 1, "e": 1}, {"a": 1})
    events = prepare(stock(), history(*(ordered(lines, stream_id=STREAM) for lines in orders)))

    assert keys_of(events, limit=5) == ["a", "b", "c", "d", "e"]
    assert keys_of(events, limit=4) == ["a", "b", "c"], "an event's keys are loaded together"
    assert keys_of(events, limit=1) == ["a", "b"], "the first event's in any case"


def test_a_fold_stops_before_the_commit_is_too_large() -> None:
    events = history(*(event(f'{{"itemId":"{key}","bytes":100}}', "FILLED") for key in "aabc"))

    result = folded(ledger(), events, max_bytes=250)

    assert (result.checkpoint, sorted(result.changed), result.failure) == (2, ["a", "b"], None)
    assert result.size == sum(result.sizes.values()) <= 250


def test_a_row_that_shrinks_makes_room() -> None:
    sizes = [("a", 200), ("a", 10), ("b", 150)]
    events = history(*(event(f'{{"itemId":"{key}","bytes":{size}}}', "FILLED") for key, size in sizes))

    assert folded(ledger(), events, max_bytes=250).checkpoint == 2


def test_index_entries_count_in_the_size_of_a_commit() -> None:
    def row(row: Any, event: Any) -> Any:
        return {"status": "x" * 100}

    plain, indexed = (
        folded(projection_of(row, indexes=indexes), history(event('{"k":"a"}'))).size for indexes in ([], ["status"])
    )

    assert indexed >= plain + 100


# -- failures --------------------------------------------------------------------------------------------------------------


def failing(error: BaseException) -> Callable[..., Any]:
    def handler(row: Any, event: Any) -> Any:
        raise error

    return handler


class UnreadableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("even this")


def test_a_handler_that_raises_stops_the_fold_before_its_event() -> None:
    events = history(added("a", stream_id=STREAM), added("a", stream_id=STREAM, type="BROKEN"))

    result = folded(ledger(), events)

    assert (result.checkpoint, result.changed) == (0, {"a": {"n": 1}})
    assert result.failure is not None
    assert (result.failure.event_id, result.failure.error) == (1, "RuntimeError: not this one")


def test_a_skipped_event_that_still_fails_changes_nothing() -> None:
    events = history(*(added("a", 1, stream_id=STREAM, type=type) for type in ("ADDED", "BROKEN", "ADDED")))

    result = folded(ledger(), events, skipped={"1"})

    assert (result.checkpoint, result.changed, result.skipped) == (2, {"a": {"n": 4}}, ["1"])


def test_a_skipped_event_whose_code_was_fixed_takes_effect() -> None:
    events = history(added("a", stream_id=STREAM, type="BROKEN"))

    result = folded(ledger(fixed=True), events, skipped={"0"})

    assert (result.changed, result.skipped) == ({"a": {"n": -1}}, [])


@pytest.mark.parametrize(
    ("data", "error"),
    [
        ("not JSON", "JSONDecodeError: Expecting value"),
        ("[1]", "the event's data is not a JSON object"),
        ('"text"', "the event's data is not a JSON object"),
        ("{}", "the key is null, not a string"),
        ('{"k":7}', "the key is an int, not a string"),
        ('{"k":""}', "the key has 0 bytes"),
        (f'{{"k":"{"x" * 1025}"}}', "the key has 1,025 bytes, not 1 to 1,024"),
        (r'{"k":"\ud800"}', "a string contains an unpaired surrogate"),
    ],
)
def test_an_event_without_a_valid_key_halts_by_name(data: str, error: str) -> None:
    assert error_of(folded(projection_of(lambda row, event: row), history(event(data)))).startswith(error)


@pytest.mark.parametrize(
    ("key", "error"),
    [
        (lambda event: event["lines"], "KeyError: 'lines'"),
        (lambda event: 7, "the key is an int, not a string"),
        (lambda event: [["a"]], "the key is a list, not a string"),
        (lambda event: {"a": 1}, "the key is a dict, not a string"),
        (lambda event: "x" * 1025, "the key has 1,025 bytes"),
        (lambda event: map(str, range(99)), "the key is a map, not a string"),
        (lambda event: list(map(str, range(99))), "the event has 99 keys; the limit is 98"),
    ],
)
def test_a_key_function_that_raises_or_returns_nonsense_halts_by_name(key: Any, error: str) -> None:
    assert error_of(folded(projection_of(lambda row, event: row, key=key), history(event()))).startswith(error)


def test_a_key_function_that_fails_only_once_still_halts() -> None:
    answers = iter([RuntimeError("once"), "a"])

    def key(event: Any) -> Any:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert error_of(folded(projection_of(lambda row, event: row, key=key), history(event()))) == "RuntimeError: once"


@pytest.mark.parametrize(
    ("returned", "error"),
    [
        ([("a", 1)], "the handler returned a list, not a row or None"),
        (True, "the handler returned a bool, not a row or None"),
        ({"k": "a"}, "the row has an attribute 'k', which is reserved for the key"),
        ({"n": 0.5}, "DynamoDB cannot store a float (use Decimal instead of float)"),
        ({"n": {1}}, "DynamoDB cannot store a set (use a list)"),
        ({"n": object()}, "DynamoDB cannot store an object"),
        ({"n": Decimal("NaN")}, "NaN is not a number"),
        ({"": 1}, "'' is not a valid attribute name"),
        ({7: 1}, "7 is not a valid attribute name"),
        ({"t": "\ud800"}, "a string contains an unpaired surrogate"),
        ({"t": "x" * MAX_ROW_BYTES}, f"the row has 393,221 bytes; the limit is {MAX_ROW_BYTES:,}"),
        ({"status": "x" * (MAX_INDEX_VALUE_BYTES + 1)}, "the attribute 'status' is longer than 1,500 bytes"),
    ],
)
def test_a_row_that_can_not_be_stored_halts_by_name(returned: Any, error: str) -> None:
    projection = projection_of(lambda row, event: returned, indexes=["status"])

    assert error_of(folded(projection, history(event('{"k":"a"}')))).startswith(error)


def test_a_handler_that_fails_for_one_key_changes_no_row() -> None:
    def handler(row: Any, event: Any, key: str) -> Any:
        return {"n": 1 if key != "c" else 0.5}

    assert error_of(folded(projection_of(handler, key=lambda event: list("abc")), history(event()))).startswith(
        "DynamoDB"
    )


def test_rows_of_one_event_that_do_not_fit_a_transaction_halt_by_name() -> None:
    def handler(row: Any, event: Any, key: str) -> Any:
        return {"text": "x" * (MAX_ROW_BYTES - 100)}

    projection = projection_of(handler, key=lambda event: list("abcdefghijk"))

    assert error_of(folded(projection, history(event()))).endswith(f"together; the limit is {MAX_COMMIT_BYTES:,}")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("x" * 10_000), f"ValueError: {'x' * 487}…"),
        (ValueError("\ud800"), "ValueError: ?"),
        (UnreadableError(), "UnreadableError"),
        (RecursionError(), "RecursionError: "),
    ],
)
def test_an_error_is_described_as_text_that_can_be_stored(error: Exception, text: str) -> None:
    assert error_of(folded(projection_of(failing(error)), history(event('{"k":"a"}')))) == text


def test_an_interrupt_is_no_failure_of_a_handler() -> None:
    with pytest.raises(KeyboardInterrupt):
        folded(projection_of(failing(KeyboardInterrupt())), history(event('{"k":"a"}')))


# -- handlers and what they may modify -------------------------------------------------------------------------------------


def counting(data: str = '{"k":"a","v":%d}', events: int = 10) -> list[Event]:
    return history(*(event(data % number, "FOLD_COUNTED") for number in range(events)))


def summed(key: Any = "k") -> Projection:
    """Sums up ``v``; its handler takes the data apart, which no other call may notice."""
    projection = Projection("summed", key=key)

    @projection.on("FOLD_COUNTED")
    def counted(row: Any, event: Any) -> Any:
        event.pop("k")
        return {"n": (row["n"] if row else 0) + event.pop("v")}

    return projection


@pytest.mark.parametrize("key", ["k", stream_id])
def test_an_event_is_parsed_and_upcast_once(key: Any) -> None:
    result = folded(summed(key), counting())

    assert list(result.changed.values()) == [{"n": 45}]
    assert upcasts == dict.fromkeys(range(10), 1)


def test_a_second_fold_sees_data_that_no_handler_has_modified() -> None:
    # given events that were folded once, but not committed
    projection, events = summed(), counting()
    prepared = prepare(projection, events)

    results = [fold(projection, prepared, {"a": None}, -1) for _ in range(2)]

    assert [result.changed for result in results] == [{"a": {"n": 45}}] * 2


@pytest.mark.parametrize("folds", [1, 2])
def test_a_handler_sees_data_that_no_key_function_has_modified(folds: int) -> None:
    def key(event: Any) -> str:
        event["tags"].append("modified")
        return str(event.pop("k"))

    projection = projection_of(lambda row, event: {"data": dict(event)}, key=key)
    prepared = prepare(projection, history(event('{"k":"a","tags":[]}')))

    for _ in range(folds):
        result = fold(projection, prepared, {"a": None}, -1)

    assert result.changed == {"a": {"data": {"k": "a", "tags": []}}}


def test_each_key_s_handler_sees_unmodified_data() -> None:
    def handler(row: Any, event: Any, key: str) -> Any:
        event["tags"].append(key)
        return {"tags": event["tags"]}

    projection = projection_of(handler, key=lambda event: ["a", "b"])

    assert folded(projection, history(event('{"tags":[]}'))).changed == {"a": {"tags": ["a"]}, "b": {"tags": ["b"]}}


def test_a_handler_that_modifies_its_row_in_place_fails() -> None:
    def handler(row: Any, event: Any) -> Any:
        row["n"] += 1
        return row

    result = folded(projection_of(handler), history(event('{"k":"a"}')), {"a": {"n": 1}})

    assert error_of(result).startswith("TypeError: 'mappingproxy' object does not support item assignment")


def test_a_handler_that_modifies_what_is_nested_in_its_row_changes_no_other_copy() -> None:
    # given a row that a process keeps after the commit
    warm = {"a": {"tags": ["x"], "more": {"n": [1]}}}
    before = json.dumps(warm)

    def handler(row: Any, event: Any) -> Any:
        row["tags"].append(event["tag"])
        row["more"]["n"].append(2)
        return dict(row)

    result = folded(projection_of(handler), history(*(event(f'{{"k":"a","tag":"{tag}"}}') for tag in "yz")), warm)

    assert result.changed == {"a": {"tags": ["x", "y", "z"], "more": {"n": [1, 2, 2]}}}
    assert json.dumps(warm) == before


def test_a_handler_sees_the_same_row_whether_it_is_warm_or_read_again() -> None:
    # given values that come back from a table with another type
    seen: list[Any] = []

    def handler(row: Any, event: Any) -> Any:
        seen.append(row and dict(row))
        return {"whole": Decimal("20.00"), "half": Decimal("0.5"), "pair": (1, Decimal(2)), "flag": True, "none": None}

    folded(projection_of(handler), history(*(event('{"k":"a"}') for _ in range(2))))

    assert seen[0] is None
    assert repr(seen[1]) == repr({"whole": 20, "half": Decimal("0.5"), "pair": [1, 2], "flag": True, "none": None})


def test_a_handler_may_return_the_event_itself() -> None:
    result = folded(projection_of(lambda row, event: event, key=stream_id), history(event('{"a":1}')))

    assert result.changed == {"s": {"a": 1}}
    assert not isinstance(result.changed["s"], ProjectedEvent)


def test_a_handler_receives_the_whole_event() -> None:
    def handler(row: Any, event: Any, key: Any) -> Any:
        return {"seen": [event["v"], event.type, event.stream_id, event.event_id, event.time, event.metadata, key]}

    stored = Event(STREAM, EventId(0), "T", '{"k":"a","v":1}', AT, '{"actor":"ann"}')

    assert folded(projection_of(handler), [stored]).changed == {
        "a": {"seen": [1, "T", "s", 0, AT, {"actor": "ann"}, "a"]}
    }


def test_as_many_keys_as_fit_a_transaction_are_written_together() -> None:
    projection = projection_of(
        lambda row, event, key: {"key2": key}, key=lambda event: list(map(str, range(MAX_COMMIT_ROWS)))
    )

    result = folded(projection, history(event()))

    assert result.changed == {str(number): {"key2": str(number)} for number in range(MAX_COMMIT_ROWS)}
