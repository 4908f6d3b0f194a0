"""What is particular to the event store on DynamoDB: what it costs, and answers that get lost."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from handlers.core.clock import Backoff, attempts
from handlers.core.errors import ContendedError, VersionConflictError
from handlers.store import IdempotencyKey
from handlers.store.dynamodb import CONTENTION, DynamoDbEventStore
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
            retries=lambda _: iter(range(9)),
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


def test_behind_an_event_that_is_gone_a_page_still_ends_before_the_next_gap(
    dynamodb: Any, make_store: Callable[..., DynamoDbEventStore]
) -> None:
    make_store().append(numbered(5))

    page = make_store(HalfSeen(dynamodb, 1, 3, queries=99)).read(STREAM, 1)

    assert ([event.event_id for event in page.events], page.more) == ([2], True)


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


class Waits:
    """Retries as in production, without waiting: ``slept`` has the waits, each half of the longest possible."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def __call__(self, backoff: Backoff) -> Iterator[int]:
        return attempts(backoff, monotonic=lambda: sum(self.slept), sleep=self.slept.append, uniform=lambda: 0.5)


@pytest.mark.parametrize("behind", [1, 2, 50])
@pytest.mark.parametrize(("idempotency", "operation"), [(None, "put_item"), (KEY, "transact_write_items")])
def test_a_head_that_is_out_of_date_costs_one_failed_write_and_one_read(
    counting: CountingClient, behind: int, idempotency: IdempotencyKey | None, operation: str
) -> None:
    # given a store that has not seen the last events of a stream that it knows
    tables, waits = make_event_tables(counting._client), Waits()
    names: dict[str, Any] = {"events_table": tables.events, "idempotency_table": tables.idempotency}
    store = DynamoDbEventStore(counting, **names, retries=waits)
    store.append([new_event()])
    DynamoDbEventStore(counting._client, **names).append(numbered(behind))
    counting.reset()

    answer = store.append([new_event()], idempotency)

    assert answer.events[0].event_id == behind + 1
    assert counting.calls == {operation: 2, "query": 1}
    assert not waits.slept


def test_only_the_streams_that_moved_are_read_again(counting: CountingClient) -> None:
    tables = make_event_tables(counting._client)
    store = DynamoDbEventStore(counting, events_table=tables.events)
    store.append([new_event("still"), new_event("moving")])
    DynamoDbEventStore(counting._client, events_table=tables.events).append([new_event("moving")])
    counting.reset()

    answer = store.append([new_event("still"), new_event("moving")])

    assert [event.event_id for event in answer.events] == [1, 2]
    assert counting.calls == {"transact_write_items": 2, "query": 1}


@pytest.mark.parametrize("processes", [2, 5])
def test_a_lone_writer_never_waits_however_many_processes_serve_it(
    emulator_client: Callable[[str], Any], processes: int
) -> None:
    client, waits = emulator_client("dynamodb"), Waits()
    tables = make_event_tables(client)
    stores = [DynamoDbEventStore(client, events_table=tables.events, retries=waits) for _ in range(processes)]

    for number in range(6 * processes):
        # by turns, and now and then the same one twice in a row
        for store in (stores[number % processes], stores[0]):
            store.append([new_event()])

    assert not waits.slept


class Racing:
    """A client of a stream on which another appends: right before each of its next writes, so many of them."""

    def __init__(self, client: Any, other: DynamoDbEventStore, time_stamp: str | None = None) -> None:
        self._client, self._other, self._time_stamp = client, other, time_stamp
        self.races = 0
        self.calls: Counter[str] = Counter()

    def put_item(self, **arguments: Any) -> Any:
        self.calls["put_item"] += 1
        if self.races:
            self.races -= 1
            self._other.append([new_event(time_stamp=self._time_stamp)])
        return self._client.put_item(**arguments)

    def query(self, **arguments: Any) -> Any:
        self.calls["query"] += 1
        return self._client.query(**arguments)


@pytest.mark.parametrize("time_stamp", [None, "2001-01-01T00:00:00.000Z", "2999-01-01T00:00:00.000Z"])
@pytest.mark.parametrize(("races", "slept"), [(0, []), (1, []), (2, [0.4]), (4, [0.4, 0.5, 0.5])])
def test_a_loser_re_reads_and_retries_at_once_and_then_backs_off(
    dynamodb: Any, tables: EventTables, races: int, slept: list[float], time_stamp: str | None
) -> None:
    # given a stream on which another writer is faster so many times, whatever its clock or an import says
    waits = Waits()
    client = Racing(dynamodb, DynamoDbEventStore(dynamodb, events_table=tables.events), time_stamp)
    store = DynamoDbEventStore(client, events_table=tables.events, retries=waits)
    store.append([new_event()])
    client.calls.clear()
    client.races = races

    answer = store.append([new_event()])

    assert (answer.events[0].event_id, answer.conflicts) == (races + 1, races)
    assert client.calls == Counter(put_item=races + 1, query=races)
    assert waits.slept == slept


def test_a_loser_that_expects_a_version_learns_the_head_without_waiting(dynamodb: Any, tables: EventTables) -> None:
    waits = Waits()
    client = Racing(dynamodb, DynamoDbEventStore(dynamodb, events_table=tables.events))
    store = DynamoDbEventStore(client, events_table=tables.events, retries=waits)

    for expected in (-1, 0):
        client.races = 1
        with pytest.raises(VersionConflictError) as conflict:
            store.append([new_event(expected_version=expected)])
        assert conflict.value.head == expected + 1

    assert not waits.slept
    assert len(whole_stream(store)) == 2


def test_losing_for_too_long_is_reported_and_nothing_was_written(dynamodb: Any, tables: EventTables) -> None:
    waits = Waits()
    client = Racing(dynamodb, DynamoDbEventStore(dynamodb, events_table=tables.events))
    client.races = 99
    store = DynamoDbEventStore(client, events_table=tables.events, retries=waits)

    with pytest.raises(ContendedError, match="nothing was written"):
        store.append([new_event(data='{"by":"us"}')])

    assert CONTENTION.deadline_s - CONTENTION.cap_s <= sum(waits.slept) <= CONTENTION.deadline_s
    assert all(event.data != '{"by":"us"}' for event in whole_stream(store))


def test_a_write_that_stays_undecided_for_too_long_is_reported_as_such(
    dynamodb: Any, make_store: Callable[..., DynamoDbEventStore]
) -> None:
    def in_the_way(call: Call, request: dict[str, Any]) -> None:
        raise client_error("PutItem", "TransactionConflictException")

    store = make_store(FaultyClient(dynamodb, "put_item", in_the_way, times=999))

    with pytest.raises(ContendedError, match="unknown whether"):
        store.append([new_event(expected_version=-1)])


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


@pytest.mark.parametrize("expected", [None, -1])
def test_a_transaction_that_was_done_is_known_by_any_of_its_events(
    dynamodb: Any, make_store: Callable[..., DynamoDbEventStore], expected: int | None
) -> None:
    """The first try is done and undecided; at the next one the first place is locked still, and the second one ours."""
    stored: list[Any] = []

    def done_and_then_half_locked(call: Call, request: dict[str, Any]) -> None:
        if not stored:
            call(**request)
            stored.extend(request["TransactItems"])
            raise client_error("TransactWriteItems", "TransactionInProgressException")
        ours = stored[1]["Put"]["Item"]
        reasons = [{"Code": "TransactionConflict"}, {"Code": "ConditionalCheckFailed", "Item": ours}]
        raise client_error("TransactWriteItems", "TransactionCanceledException", CancellationReasons=reasons)

    store = make_store(FaultyClient(dynamodb, "transact_write_items", done_and_then_half_locked, times=2))

    answer = store.append([new_event(expected_version=expected), new_event()])

    assert [event.event_id for event in answer.events] == [0, 1]
    assert whole_stream(make_store()) == list(answer.events)


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

    with pytest.raises(VersionConflictError):
        store.append([new_event(expected_version=-1)])

    assert len(whole_stream(store)) == 1


# -- the idempotency record is part of the transaction (E4)  -------------------------------------------------------


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

    (record,) = dynamodb.scan(TableName=tables.idempotency)["Items"]

    assert set(record) == {"idempotencyKey", "payloadHash", "answer", "expiresAt"}
    days = (int(record["expiresAt"]["N"]) - time.time()) / 86_400
    assert 29.9 < days < 30.1


def test_only_the_first_event_of_a_stream_is_in_the_index_of_streams(
    dynamodb: Any, make_store: Any, tables: EventTables
) -> None:
    make_store().append(numbered(3))

    items = dynamodb.scan(TableName=tables.events)["Items"]

    assert [int(item["eventId"]["N"]) for item in items if "streamShard" in item] == [0]
    assert {item["streamId"]["S"] for item in items} == {STREAM}
