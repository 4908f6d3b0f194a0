"""What a projection may be, which handlers it takes, and which rows an event concerns."""

from __future__ import annotations

import copy
import functools
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from handlers.core.events import Event, EventId, StreamId
from handlers.domain import registry
from handlers.projection import Projection
from handlers.projection.definition import Prefix, ProjectedEvent, stream_id
from handlers.projection.keys import UnstorableError, encode_key
from handlers.projection.port import MAX_COMMIT_ROWS

AT = "2026-01-01T00:00:00.000Z"


def event(data: str = "{}", *, stream: str = "order-7", metadata: str | None = None) -> ProjectedEvent:
    return ProjectedEvent(Event(StreamId(stream), EventId(3), "T", data, AT, metadata))


# -- definitions -----------------------------------------------------------------------------------------------------------


def test_the_registry_holds_every_projection_by_its_name() -> None:
    assert registry()["test-items"].pascal_name == "TestItems"
    assert list(registry()) == sorted(registry())


@pytest.mark.parametrize("name", ["", "Upper", "under_score", "-a", "a-", "a--b", "9a", "x" * 41])
def test_a_projection_s_name_is_in_kebab_case(name: str) -> None:
    with pytest.raises(ValueError, match="projection name"):
        Projection(name, key="k")


@pytest.mark.parametrize(
    "key", ["", [], {}, [""], ["a", ""], [len], {"": "a"}, {"a": ""}, {"a": None}, {7: "a"}, {"a": ["b"]}, [7]]
)
def test_a_key_consists_of_properties_and_functions(key: Any) -> None:
    with pytest.raises(ValueError, match="projection 'a': the key must be"):
        Projection("a", key=key)


def test_a_key_has_no_property_twice() -> None:
    with pytest.raises(ValueError, match="names a property twice"):
        Projection("a", key=["x", "x"])


@pytest.mark.parametrize(
    ("key", "attributes"),
    [
        ("itemId", ("itemId",)),
        (stream_id, ("streamId",)),
        (lambda event: "x", ("key",)),
        (["customerId", "orderId"], ("customerId", "orderId")),
        ({"customer": "customerId", "order": stream_id}, ("customer", "order")),
    ],
)
def test_a_key_names_the_attributes_of_its_rows(key: Any, attributes: tuple[str, ...]) -> None:
    assert Projection("a", key=key).key_attributes == attributes


@pytest.mark.parametrize(
    ("indexes", "error"),
    [
        ("status", "indexes is a list"),
        ([""], "indexes maps attributes"),
        ({"status": ""}, "indexes maps attributes"),
        ({"status": 7}, "indexes maps attributes"),
        (list("abcdef"), "has 6 indexes; the limit is 5"),
    ],
)
def test_indexes_are_up_to_five_attributes(indexes: Any, error: str) -> None:
    with pytest.raises(ValueError, match=error):
        Projection("a", key="k", indexes=indexes)


def test_an_index_is_sorted_by_an_attribute_or_by_key() -> None:
    assert Projection("a", key="k", indexes=["status", "by"]).indexes == {"status": None, "by": None}
    assert Projection("a", key="k", indexes={"status": "at"}).indexes == {"status": "at"}


def test_rows_are_found_by_a_part_of_their_key_too() -> None:
    # given an index of the second part of a compound key, and one that is sorted by it
    projection = Projection("a", key=["customerId", "orderId"], indexes={"orderId": None, "status": "orderId"})
    key = encode_key(["c1", "o9"])

    entries = projection.index_entries(key, {"status": "paid"})

    assert [(entry.value, entry.sort) for entry in entries] == [("o9", key), ("paid", "so9")]


@pytest.mark.parametrize("streams", ["order-1", [], [""], [7], Prefix(""), Prefix("é" * 51)])
def test_a_subscription_is_a_list_of_ids_or_a_prefix(streams: Any) -> None:
    with pytest.raises(ValueError, match="projection 'a': "):
        Projection("a", key="k", streams=streams)


@pytest.mark.parametrize(
    ("streams", "followed", "only_stream"),
    [
        (None, {"order-1", "order-2", "item-1"}, None),
        (["order-1"], {"order-1"}, "order-1"),
        (["order-1", "order-1"], {"order-1"}, "order-1"),
        (["order-1", "item-1"], {"order-1", "item-1"}, None),
        (Prefix("order-"), {"order-1", "order-2"}, None),
    ],
)
def test_a_projection_follows_all_streams_some_or_those_with_a_prefix(
    streams: Any, followed: set[str], only_stream: str | None
) -> None:
    projection = Projection("a", key="k", streams=streams)

    assert {each for each in ("order-1", "order-2", "item-1") if projection.follows(each)} == followed
    assert projection.only_stream == only_stream


@pytest.mark.parametrize(
    ("projection", "known"),
    [
        (Projection("a", key="k"), False),
        (Projection("a", key="k", rows_per_stream=True), True),
        (Projection("a", key="k", streams=["s"]), True),
        (Projection("a", key="k", streams=["s", "t"]), False),
        (Projection("a", key=stream_id), True),
        (Projection("a", key={"order": stream_id, "line": "line"}), True),
    ],
)
def test_rows_are_known_to_come_from_one_stream_each(projection: Projection, known: bool) -> None:
    assert projection.rows_per_stream == known


# -- handlers --------------------------------------------------------------------------------------------------------------


class Handlers:
    """Handlers in other forms than a function."""

    def two(self, row: Any, event: Any) -> str:
        return "no key"

    def three(self, row: Any, event: Any, key: Any) -> Any:
        return key

    def __call__(self, row: Any, event: Any, key: Any) -> Any:
        return key

    @staticmethod
    def static(row: Any, event: Any, key: Any) -> Any:
        return key

    @classmethod
    def of_class(cls, row: Any, event: Any) -> str:
        return "no key"


def with_rate(rate: Any, row: Any, event: Any, key: Any) -> Any:
    return key


def wrapped(handler: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(handler)
    def call(*arguments: Any, **named: Any) -> Any:
        return handler(*arguments, **named)

    return call


@pytest.mark.parametrize(
    ("handler", "expected"),
    [
        (lambda row, event: "no key", "no key"),
        (lambda row, event, key: key, "k1"),
        (lambda row, event, /: "no key", "no key"),
        # Optional arguments keep their defaults.
        (lambda row, event, rate=2: rate, 2),
        (lambda row, event, key, rate=2: (key, rate), ("k1", 2)),
        (lambda row, event, *, rate=2: rate, 2),
        (lambda row, event, **named: named, {}),
        (Handlers().two, "no key"),
        (Handlers().three, "k1"),
        (Handlers(), "k1"),
        (Handlers.static, "k1"),
        (Handlers.of_class, "no key"),
        (functools.partial(with_rate, 2), "k1"),
        (functools.partial(lambda row, event, rate: rate, rate=2), 2),
        (wrapped(lambda row, event: "no key"), "no key"),
        (wrapped(lambda row, event, key: key), "k1"),
    ],
)
def test_a_handler_takes_the_key_if_it_requires_three_arguments(handler: Callable[..., Any], expected: object) -> None:
    projection = Projection("a", key="k")
    projection.on("T")(handler)

    assert projection.call("T", None, event(), "k1") == expected


@pytest.mark.parametrize(
    "handler",
    [
        lambda: None,
        lambda row: None,
        lambda row, event, key, more: None,
        lambda *arguments: None,
        lambda row, event, *, rate: None,
        lambda row, event=None: None,
        7,
        None,
        type,
    ],
)
def test_a_handler_with_other_arguments_is_refused_at_its_definition(handler: Any) -> None:
    with pytest.raises(ValueError, match=r"the handler of T must take \(row, event\) or \(row, event, key\)"):
        Projection("a", key="k").on("T")(handler)


def test_an_event_type_has_one_handler() -> None:
    projection = Projection("a", key="k")
    projection.on("T")(lambda row, event: row)

    with pytest.raises(ValueError, match="handles T twice"):
        projection.on("T")(lambda row, event: row)


def test_the_handler_of_a_compound_key_gets_its_parts() -> None:
    projection = Projection("a", key=["x", "y"])
    projection.on("T")(lambda row, event, key: key)

    assert projection.call("T", None, event(), encode_key(["a\x00", "b"])) == ("a\x00", "b")
    assert projection.whole_row(encode_key(["a\x00", "b"]), {"n": 1}) == {"x": "a\x00", "y": "b", "n": 1}


# -- keys of events --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "keys"),
    [
        ("a", [["1"]]),
        (lambda event: event["a"], [["1"]]),
        (lambda event: None, []),
        (lambda event: [], []),
        (lambda event: ["x", "y", "x"], [["x"], ["y"]]),
        (stream_id, [["order-7"]]),
        (["a", "b"], [["1", "2"]]),
        ({"first": "a", "second": lambda event: ["x", "y", "x"]}, [["1", "x"], ["1", "y"]]),
        ({"first": "a", "second": lambda event: None}, []),
        ({"first": lambda event: ["v", "w"], "second": lambda event: ["x", "y"]}, ["vx", "vy", "wx", "wy"]),
    ],
)
def test_an_event_concerns_the_rows_of_its_keys(key: Any, keys: list[Any]) -> None:
    projection = Projection("a", key=key)

    assert list(projection.keys_of(event('{"a":"1","b":"2"}'))) == [encode_key(list(each)) for each in keys]


@pytest.mark.parametrize(
    ("key", "error"),
    [
        ("missing", "the key is null, not a string"),
        ("number", "the key is an int, not a string"),
        ("list", "the key is a list, not a string"),
        (["a", "missing"], "the key's part 'missing' is null, not a string"),
        ({"first": "a", "second": "list"}, "the key's part 'second' is a list, not a string"),
        (lambda event: 7, "the key is an int, not a string"),
        (lambda event: ["a", None], "the key is null, not a string"),
        (lambda event: [["a"]], "the key is a list, not a string"),
        (lambda event: ("a", "b"), "the key is a tuple, not a string"),
        (lambda event: "", "the key has 0 bytes"),
        (lambda event: "x" * 1025, "the key has 1,025 bytes"),
        ({"first": "a", "second": lambda event: "x" * 1023}, "the key has 1,025 bytes"),
        (lambda event: [str(number) for number in range(99)], "the event has 99 keys; the limit is 98"),
        (
            {part: lambda event: [str(number) for number in range(10_000)] for part in "abcdef"},
            "the event has 1,000,000,000,000,000,000,000,000 keys; the limit is 98",
        ),
    ],
)
def test_keys_that_can_not_be_stored_are_refused_by_name(key: Any, error: str) -> None:
    with pytest.raises(UnstorableError, match=error):
        Projection("a", key=key).keys_of(event('{"a":"1","number":7,"list":["x"]}'))


def test_an_event_may_have_as_many_keys_as_a_transaction_has_room_for() -> None:
    projection = Projection("a", key=lambda event: [str(number) for number in range(MAX_COMMIT_ROWS)] * 2)

    assert len(projection.keys_of(event())) == MAX_COMMIT_ROWS


# -- events as handlers receive them ---------------------------------------------------------------------------------------


def test_an_event_has_its_data_by_name_and_its_other_properties() -> None:
    received = event('{"amount":1.50,"tags":["a"]}', metadata='{"actor":"ann"}')

    assert (str(received["amount"]), received["tags"], received.get("more", 0)) == ("1.50", ["a"], 0)
    assert (received.type, received.stream_id, received.event_id, received.time) == ("T", "order-7", 3, AT)
    assert (received.id, received.metadata) == ("order-7:3", {"actor": "ann"})
    assert event().metadata == {}


@pytest.mark.parametrize("name", ["items", "keys", "get", "pop", "type", "time", "data", "event", "id", "metadata"])
def test_a_property_may_have_any_name(name: str) -> None:
    received = event(f'{{"{name}":"mine"}}')

    assert received[name] == "mine"
    assert Projection("a", key=name).keys_of(received) == ("mine",)
    assert received.data == {name: "mine"}
    assert (received.type, received.event_id) == ("T", 3)


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda each: pickle.loads(pickle.dumps(each))])
def test_an_event_can_be_copied(duplicate: Callable[[ProjectedEvent], ProjectedEvent]) -> None:
    original = event('{"tags":["a"]}', metadata='{"actor":"ann"}')

    copied = duplicate(original)

    assert (copied, copied.event, copied.metadata) == (original, original.event, {"actor": "ann"})
    assert type(copied) is ProjectedEvent
