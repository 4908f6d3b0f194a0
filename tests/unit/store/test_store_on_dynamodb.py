"""What is particular to the event store on DynamoDB: what it costs, and answers that get lost."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from handlers.backoff import Backoff
from handlers.errors import InvalidInput, VersionConflict
from handlers.store import IdempotencyKey
from handlers.store.dynamodb import DynamoDbEventStore
from tests.support.clients import Call, CountingClient, FaultyClient, answer_lost, client_error
from tests.support.stores import STREAM, new_event, numbered, whole_stream
from tests.support.tables import EventTables, make_event_tables

KEY = IdempotencyKey("key-1", "hash-1")


@pytest.fixture(params=["moto_client", "emulator_client"])
def dynamodb(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)("dynamodb")


@pytest.fixture
def tables(dynamodb: Any) -> EventTables:
    return make_event_tables(dynamodb)


@pytest.fixture
def make_store(dynamodb: Any, tables: EventTables) -> Callable[..., DynamoDbEventStore]:
    def make(through: Any = None) -> DynamoDbEventStore:
        return DynamoDbEventStore(
            through or dynamodb,
            events_table=tables.events,
            idempotency_table=tables.idempotency,
            retries=lambda _: range(9),
        )

    return make


# -- a query in the middle of a transaction ----------------------------------------------------------------------------


class HalfSeen:
    """A client whose first queries miss some events that the transaction around them has stored already."""

    def __init__(self, client: Any, *missing: int, queries: int = 1) -> None:
        self._client = client
        self._missing = {str(event_id) for event_id in missing}
        self._left = queries

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def query(self, **arguments: Any) -> Any:
        answer = self._client.query(**arguments)
        if self._left:
            self._left -= 1
            answer["Items"] = [item for item in answer["Items"] if item["eventId"]["N"] not in self._missing]
        return answer


@pytest.mark.parametrize("missing", [(0,), (1,), (2,), (0, 1), (1, 3)])
def test_a_page_never_passes_over_an_event_that_a_transaction_is_still_bringing(
    dynamodb: Any, make_store: Callable[..., DynamoDbEventStore], missing: tuple[int, ...]
) -> None:
    make_store().append(numbered(5))

    events = whole_stream(make_store(HalfSeen(dynamodb, *missing)))

    assert [event.event_id for event in events] == [0, 1, 2, 3, 4]


def test_a_page_backwards_ends_before_a_gap(dynamodb: Any, make_store: Callable[..., DynamoDbEventStore]) -> None:
    make_store().append(numbered(5))

    page = make_store(HalfSeen(dynamodb, 2)).read(STREAM, 4, backwards=True)

    assert ([event.event_id for event in page.events], page.more) == ([4, 3], True)


def test_a_history_that_lost_an_event_for_good_can_still_be_read(
    dynamodb: Any, make_store: Callable[..., DynamoDbEventStore]
) -> None:
    make_store().append(numbered(4))
    store = make_store(HalfSeen(dynamodb, 1, queries=99))

    assert [event.event_id for event in store.read(STREAM).events] == [0]
    assert [event.event_id for event in store.read(STREAM, 1).events] == [2, 3]


# -- positions that somebody made up -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "position",
    ["x", "5", "{}", "[]", "[8,null]", "[-9,null]", "[1.0,null]", "[true,null]", "[0,1]", '[0,""]', '[0,"\\ud800"]'],
)
def test_a_position_that_is_none_is_refused(make_store: Callable[..., DynamoDbEventStore], position: str) -> None:
    with pytest.raises(InvalidInput):
        make_store().streams(after=position)


# -- what it costs (E6, E7) --------------------------------------------------------------------------------------------


@pytest.fixture
def counting(emulator_client: Callable[[str], Any]) -> CountingClient:
    return CountingClient(emulator_client("dynamodb"))


@pytest.fixture
def counted_store(counting: CountingClient) -> DynamoDbEventStore:
    tables = make_event_tables(counting._client)
    store = DynamoDbEventStore(counting, events_table=tables.events, idempotency_table=tables.idempotency)
    store.append([new_event()])
    counting.reset()
    return store


def test_a_steady_append_is_one_call_and_one_write_unit(
    counting: CountingClient, counted_store: DynamoDbEventStore
) -> None:
    for _ in range(10):
        counted_store.append([new_event()])

    assert counting.calls == {"put_item": 10}
    assert counting.write_units == 10


def test_an_expected_version_that_is_known_costs_no_look(
    counting: CountingClient, counted_store: DynamoDbEventStore
) -> None:
    counted_store.append([new_event(expected_version=0)])

    assert counting.calls == {"put_item": 1}


def test_a_new_stream_is_born_in_one_call_where_it_must_not_exist(
    counting: CountingClient, counted_store: DynamoDbEventStore
) -> None:
    counted_store.append([new_event("fresh", expected_version=-1)])

    assert counting.calls == {"put_item": 1}
    assert counting.write_units == 2  # the event, and its entry in the index of streams


@pytest.mark.parametrize("idempotency", [None, KEY])
def test_many_events_are_one_transaction(
    counting: CountingClient, counted_store: DynamoDbEventStore, idempotency: IdempotencyKey | None
) -> None:
    counted_store.append(numbered(99), idempotency)

    assert counting.calls == {"transact_write_items": 1}


@pytest.mark.parametrize(
    ("behind", "calls"),
    [
        # The failed put has shown that an event is there: the place behind it needs no read.
        (1, {"put_item": 2}),
        (2, {"put_item": 3}),
        # Further behind, the head is read, once.
        (3, {"put_item": 4, "query": 1}),
        (50, {"put_item": 4, "query": 1}),
    ],
)
def test_a_lost_race_costs_little(
    counting: CountingClient, counted_store: DynamoDbEventStore, behind: int, calls: dict[str, int]
) -> None:
    # given a store that has not seen the last events of a stream that it knows
    tables = {"events_table": counted_store._events, "idempotency_table": counted_store._guards.table}
    DynamoDbEventStore(counting._client, **tables).append(numbered(behind))

    answer = counted_store.append([new_event()])

    # then its event comes right behind them, for few calls
    assert answer.events[0].event_id == behind + 1
    assert counting.calls == calls


@pytest.mark.parametrize(("behind", "calls"), [(1, 2), (2, 3)])
def test_a_transaction_that_lost_a_race_is_tried_behind_the_events_that_were_in_its_way(
    counting: CountingClient, counted_store: DynamoDbEventStore, behind: int, calls: int
) -> None:
    tables = {"events_table": counted_store._events, "idempotency_table": counted_store._guards.table}
    for each in numbered(behind):
        DynamoDbEventStore(counting._client, **tables).append([each])

    answer = counted_store.append([new_event()], KEY)

    assert answer.events[0].event_id == behind + 1
    assert counting.calls == {"transact_write_items": calls}


def test_who_met_another_writer_waits_at_the_first_loss_until_he_has_met_nobody(
    dynamodb: Any, make_store: Callable[..., DynamoDbEventStore], tables: EventTables
) -> None:
    waits: list[int] = []

    def counted_waits(_: Backoff) -> Iterator[int]:
        for attempt in range(9):
            waits.append(attempt)
            yield attempt

    other = make_store()
    store = DynamoDbEventStore(dynamodb, events_table=tables.events, retries=counted_waits)

    def waits_of_an_append(*, another_was_first: bool) -> int:
        if another_was_first:
            other.append([new_event()])
        waits.clear()
        store.append([new_event()])
        return len(waits) - 1  # the first attempt is no wait

    # given one who knows the stream and meets another: he has the next place at once
    store.append([new_event()])
    assert waits_of_an_append(another_was_first=True) == 0
    # when he meets another again, he yields
    assert waits_of_an_append(another_was_first=True) == 1
    # and once he has met nobody, he no longer does
    assert waits_of_an_append(another_was_first=False) == 0
    assert waits_of_an_append(another_was_first=True) == 0


# -- answers that get lost ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("expected", [None, 0])
def test_an_append_whose_answer_was_lost_is_stored_once(
    dynamodb: Any, make_store: Callable[..., DynamoDbEventStore], expected: int | None
) -> None:
    store = make_store()
    store.append([new_event()])

    with answer_lost(dynamodb, "PutItem"):
        answer = store.append([new_event(expected_version=expected)])

    assert (answer.events[0].event_id, answer.conflicts) == (1, 0)
    assert whole_stream(store)[1:] == list(answer.events)


@pytest.mark.parametrize("idempotency", [None, KEY])
@pytest.mark.parametrize("expected", [None, 0])
def test_a_transaction_whose_answer_was_lost_is_stored_once(
    dynamodb: Any,
    make_store: Callable[..., DynamoDbEventStore],
    expected: int | None,
    idempotency: IdempotencyKey | None,
) -> None:
    store = make_store()
    store.append([new_event()])

    with answer_lost(dynamodb, "TransactWriteItems"):
        answer = store.append([new_event(expected_version=expected), new_event()], idempotency)

    assert [event.event_id for event in answer.events] == [1, 2]
    assert whole_stream(store)[1:] == list(answer.events)


@pytest.mark.parametrize(
    ("operation", "count", "error"),
    [
        ("put_item", 1, client_error("PutItem", "TransactionConflictException")),
        ("transact_write_items", 2, client_error("TransactWriteItems", "TransactionInProgressException")),
    ],
)
@pytest.mark.parametrize("expected", [None, 0])
def test_a_write_that_was_done_and_then_reported_as_undecided_is_stored_once(
    dynamodb: Any,
    make_store: Callable[..., DynamoDbEventStore],
    operation: str,
    count: int,
    error: Exception,
    expected: int | None,
) -> None:
    """A first try that was done and its answer lost, then a repeat that another transaction gets in the way of."""

    def done_and_undecided(call: Call, request: dict[str, Any]) -> None:
        call(**request)
        raise error

    make_store().append([new_event()])
    store = make_store(FaultyClient(dynamodb, operation, done_and_undecided))

    answer = store.append([new_event(expected_version=expected), *numbered(count - 1)])

    assert [event.event_id for event in answer.events] == list(range(1, count + 1))
    assert whole_stream(make_store())[1:] == list(answer.events)


def test_a_write_that_another_transaction_got_in_the_way_of_is_tried_again(
    dynamodb: Any, make_store: Callable[..., DynamoDbEventStore]
) -> None:
    def in_the_way(call: Call, request: dict[str, Any]) -> None:
        raise client_error("PutItem", "TransactionConflictException")

    store = make_store(FaultyClient(dynamodb, "put_item", in_the_way))

    answer = store.append([new_event(expected_version=-1)])

    assert answer.events[0].event_id == 0


def test_an_undecided_write_that_another_writer_won_is_a_version_conflict(
    dynamodb: Any, make_store: Callable[..., DynamoDbEventStore]
) -> None:
    def other_won(call: Call, request: dict[str, Any]) -> None:
        make_store().append([new_event()])
        raise client_error("PutItem", "TransactionConflictException")

    store = make_store(FaultyClient(dynamodb, "put_item", other_won))

    with pytest.raises(VersionConflict):
        store.append([new_event(expected_version=-1)])

    assert len(whole_stream(store)) == 1


# -- the guard is part of the transaction (E4) -------------------------------------------------------------------------


@pytest.mark.parametrize("done", [True, False])
def test_a_crash_leaves_events_and_guard_or_neither(
    dynamodb: Any, make_store: Callable[..., DynamoDbEventStore], done: bool
) -> None:
    def crash(call: Call, request: dict[str, Any]) -> None:
        if done:
            call(**request)
        raise ConnectionError

    with pytest.raises(ConnectionError):
        make_store(FaultyClient(dynamodb, "transact_write_items", crash)).append([new_event()], KEY)

    answer = make_store().append([new_event()], KEY)

    assert (answer.events[0].event_id, answer.replayed) == (0, done)
    assert len(whole_stream(make_store())) == 1


def test_an_idempotent_append_is_one_transaction_with_its_guard(
    counting: CountingClient, counted_store: DynamoDbEventStore
) -> None:
    counted_store.append([new_event()], KEY)

    ((operation, request),) = counting.requests
    assert operation == "transact_write_items"
    assert len(request["TransactItems"]) == 2


def test_a_guard_expires_after_the_events_are_old(dynamodb: Any, make_store: Any, tables: EventTables) -> None:
    make_store().append([new_event()], KEY)

    (guard,) = dynamodb.scan(TableName=tables.idempotency)["Items"]

    assert set(guard) == {"idempotencyKey", "payloadHash", "answer", "expiresAt"}
    assert guard["expiresAt"]["N"].isdigit()


def test_only_the_first_event_of_a_stream_is_in_the_index_of_streams(
    dynamodb: Any, make_store: Any, tables: EventTables
) -> None:
    make_store().append(numbered(3))

    items = dynamodb.scan(TableName=tables.events)["Items"]

    assert [int(item["eventId"]["N"]) for item in items if "streamShard" in item] == [0]
    assert {item["streamId"]["S"] for item in items} == {STREAM}
