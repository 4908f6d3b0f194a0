"""What is particular to the read model on DynamoDB: what it costs, its tables, throttling, and lost responses."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from handlers.core.errors import ContendedError
from handlers.core.events import StreamId
from handlers.projection import transitions
from handlers.projection.port import Commit, IndexEntry, OutdatedError, RowQuery, read_control
from handlers.projection.state import StreamState
from tests.contracts.read_model import STREAM, all_states, born, halt, replay, state_of, sweep
from tests.support.clients import Call, ClientWrapper, CountingClient, FaultyClient, answer_lost, client_error
from tests.support.read_models import all_rows, dynamodb_read_model, put_rows, version, write
from tests.support.tables import make_read_model_tables

TRANSIENT_REASONS = [
    "TransactionConflict",
    "ThrottlingError",
    "ProvisionedThroughputExceeded",
    "RequestLimitExceeded",
    "InternalServerError",
]
TRANSIENT_ERRORS = [
    "TransactionConflictException",
    "TransactionInProgressException",
    "ThrottlingException",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "InternalServerError",
]


@pytest.fixture
def dynamodb(emulator_client: Callable[[str], Any]) -> Any:
    return emulator_client("dynamodb")


def fails(operation: str, code: str, *reasons: str) -> Callable[[Call, dict[str, Any]], None]:
    """A fault: the operation fails without any effect."""

    def fault(call: Call, request: dict[str, Any]) -> None:
        cancelled = {"CancellationReasons": [{"Code": reason} for reason in reasons]} if reasons else {}
        raise client_error(operation, code, **cancelled)

    return fault


def birth(stream_id: StreamId = STREAM) -> Any:
    return transitions.advance(StreamState(stream_id, 0), 0)


# -- what it costs -------------------------------------------------------------------------------------------------------


@pytest.fixture
def counting(dynamodb: Any) -> CountingClient:
    return CountingClient(dynamodb)


def test_a_state_and_ninety_nine_rows_are_one_read_and_one_transaction(dynamodb: Any, counting: CountingClient) -> None:
    read_model = dynamodb_read_model(dynamodb, through=counting)
    keys = [str(number) for number in range(99)]

    read_model.load(0, [STREAM], keys)
    read_model.commit(Commit((birth(),), tuple(write(key, {}) for key in keys[:98]), born_at=0))

    assert counting.calls == {"batch_get_item": 1, "transact_write_items": 1}


def test_a_single_item_is_a_plain_read_and_a_plain_write(dynamodb: Any, counting: CountingClient) -> None:
    read_model = dynamodb_read_model(dynamodb, through=counting)
    state = born(read_model)

    read_model.load(0, [STREAM])
    read_model.load(0, (), ["a"])
    read_model.commit(Commit((transitions.advance(state, 1),)))

    assert counting.calls == {"get_item": 2, "update_item": 2}
    assert counting.write_units == 2


def test_a_birth_without_rows_is_one_transaction_with_its_fence(dynamodb: Any, counting: CountingClient) -> None:
    read_model = dynamodb_read_model(dynamodb, through=counting)

    read_model.commit(Commit((birth(),), born_at=0))

    ((operation, request),) = counting.requests
    assert operation == "transact_write_items"
    assert [list(action) for action in request["TransactItems"]] == [["Update"], ["ConditionCheck"]]


def test_a_page_of_rows_is_one_query_and_one_of_an_index_two_calls(dynamodb: Any, counting: CountingClient) -> None:
    read_model = dynamodb_read_model(dynamodb, through=counting)
    read_model.commit(Commit((), tuple(write(str(n), {}, None, IndexEntry(2, "v", f"s{n:02}")) for n in range(40))))
    counting.reset()

    read_model.rows(0, RowQuery(10))
    assert counting.calls == {"query": 1}

    page = read_model.rows(0, RowQuery(10, slot=2, value="v"))
    read_model.rows(0, RowQuery(10, slot=2, value="v", after=page.position))
    assert counting.calls == {"query": 3, "batch_get_item": 2}


def test_sweeping_a_small_generation_takes_a_query_per_partition(dynamodb: Any, counting: CountingClient) -> None:
    read_model = dynamodb_read_model(dynamodb, through=counting, sweep_items=1000)
    born(read_model)
    put_rows(read_model, {"a": {}, "b": {}})
    counting.reset()

    assert read_model.sweep(0)

    assert counting.calls == {"query": 17, "batch_write_item": 2}


# -- what is stored ------------------------------------------------------------------------------------------------------


def test_items_are_in_the_tables_that_all_projections_share(dynamodb: Any) -> None:
    tables = make_read_model_tables(dynamodb)
    for name in ("orders", "orders-2"):
        read_model = dynamodb_read_model(dynamodb, name=name, tables=tables)
        halt(read_model, StreamId("s"), generation=7)
        replay(read_model)
        read_model.commit(Commit((), (write("k", {"pk": 1}, None, IndexEntry(1, "paid", "s5")),), 7))

    states = {(item["pk"]["S"], item["sk"]["S"]): item for item in dynamodb.scan(TableName=tables.states)["Items"]}
    rows = {item["pk"]["S"]: item for item in dynamodb.scan(TableName=tables.rows)["Items"]}

    assert set(rows) == {"orders#7", "orders-2#7"}
    assert {name: value for name, value in rows["orders#7"].items() if name != "version"} == {
        "pk": {"S": "orders#7"},
        "sk": {"S": "k"},
        "row": {"M": {"pk": {"N": "1"}}},
        "index1": {"S": "orders#7#paid"},
        "sort1": {"S": "s5"},
    }
    fences = {(f"orders#{shard:02d}", "fence") for shard in range(16)}
    of_orders = {key for key in states if key[0].split("#")[0] == "orders"}
    assert of_orders == {("orders", "control"), ("orders#7#00", "s"), *fences}
    assert states["orders#7#00", "s"]["haltedIn"] == {"S": "orders#7"}
    assert states["orders#03", "fence"]["version"] == {"N": "1"}


@pytest.mark.parametrize("number", [10**39 + 1, Decimal("0." + "1" * 39), Decimal("1E+126"), Decimal("NaN"), 0.1])
def test_a_number_that_would_lose_a_digit_is_refused(dynamodb: Any, number: Any) -> None:
    read_model = dynamodb_read_model(dynamodb)

    with pytest.raises((ValueError, TypeError)):
        put_rows(read_model, {"a": {"n": number}})

    assert all_rows(read_model) == {}


# -- an index that lags --------------------------------------------------------------------------------------------------


class LaggingIndex(ClientWrapper):
    """A client whose index queries answer as of when they were first made."""

    def __init__(self, client: Any) -> None:
        super().__init__(client)
        self._answers: dict[str, Any] = {}

    def around(self, operation: str, call: Call, request: dict[str, Any]) -> Any:
        if "IndexName" not in request:
            return call(**request)
        return self._answers.setdefault(repr(request), call(**request))


def test_a_page_of_an_index_has_the_current_rows_that_still_belong_there(dynamodb: Any) -> None:
    read_model = dynamodb_read_model(dynamodb, through=LaggingIndex(dynamodb))
    entry = IndexEntry(1, "paid", "s5")
    read_model.commit(Commit((), tuple(write(key, {"n": 1}, None, entry) for key in "abcdef")))
    query = RowQuery(100, slot=1, value="paid", low="s3", high="s6")
    assert len(read_model.rows(0, query).rows) == 6

    changes = (
        write("a", {"n": 2}, version(read_model, "a"), entry),
        write("b", {"n": 2}, version(read_model, "b"), IndexEntry(1, "sent", "s5")),
        write("c", {"n": 2}, version(read_model, "c")),
        write("d", None, version(read_model, "d")),
        write("e", {"n": 2}, version(read_model, "e"), IndexEntry(1, "paid", "s9")),
    )
    read_model.commit(Commit((), changes))

    assert read_model.rows(0, query).rows == (("a", {"n": 2}), ("f", {"n": 1}))


# -- throttling is not failure -------------------------------------------------------------------------------------------


def no_waits(_: object) -> Any:
    return iter(range(5))


@pytest.mark.parametrize("reason", TRANSIENT_REASONS)
@pytest.mark.parametrize("times", [1, 4])
def test_a_transaction_is_repeated_for_every_transient_reason(dynamodb: Any, reason: str, times: int) -> None:
    fault = fails("TransactWriteItems", "TransactionCanceledException", "None", reason)
    client = FaultyClient(dynamodb, "transact_write_items", fault, times=times)
    read_model = dynamodb_read_model(dynamodb, through=client, retries=no_waits)

    read_model.commit(Commit((birth(),), (write("a", {}),), born_at=0))

    assert state_of(read_model).checkpoint == 0


@pytest.mark.parametrize("code", TRANSIENT_ERRORS)
@pytest.mark.parametrize("operation", ["get_item", "batch_get_item", "query", "update_item", "transact_write_items"])
def test_every_call_is_repeated_for_every_transient_error(dynamodb: Any, operation: str, code: str) -> None:
    client = FaultyClient(dynamodb, operation, fails(operation, code), times=3)
    read_model = dynamodb_read_model(dynamodb, through=client, retries=no_waits)

    state = born(read_model)
    read_model.load(0, [STREAM], ["a"])
    read_model.load(0, [STREAM])
    read_model.commit(Commit((transitions.advance(state, 1),), (write("a", {"n": 1}),)))

    assert all_rows(read_model) == {"a": {"n": 1}}
    assert state_of(read_model).checkpoint == 1


def test_a_reason_that_does_not_pass_is_reported(dynamodb: Any) -> None:
    fault = fails("TransactWriteItems", "TransactionCanceledException", "None", "ThrottlingError")
    client = FaultyClient(dynamodb, "transact_write_items", fault, times=99)
    read_model = dynamodb_read_model(dynamodb, through=client, retries=no_waits)

    with pytest.raises(ContendedError, match="ThrottlingError") as raised:
        put_rows(read_model, {"a": {}})

    assert not isinstance(raised.value, OutdatedError)
    assert all_rows(read_model) == {}


def test_a_contradicted_condition_is_reported_even_if_other_items_are_locked(dynamodb: Any) -> None:
    reasons = ["ConditionalCheckFailed", "TransactionConflict", "None"]
    fault = fails("TransactWriteItems", "TransactionCanceledException", *reasons)
    read_model = dynamodb_read_model(dynamodb, through=FaultyClient(dynamodb, "transact_write_items", fault))

    with pytest.raises(OutdatedError) as outdated:
        read_model.commit(Commit((birth(),), (write("a", {}), write("b", {}))))

    assert outdated.value.items == {birth().item}
    assert not outdated.value.keys


@pytest.mark.parametrize("reasons", [("ValidationError",), ("ConditionalCheckFailed", "ValidationError"), ()])
def test_another_failure_is_not_a_lost_race(dynamodb: Any, reasons: tuple[str, ...]) -> None:
    fault = fails("TransactWriteItems", "TransactionCanceledException", *reasons)
    read_model = dynamodb_read_model(dynamodb, through=FaultyClient(dynamodb, "transact_write_items", fault))

    with pytest.raises(Exception, match="TransactionCanceledException") as raised:
        put_rows(read_model, {"a": {}})
    assert not isinstance(raised.value, ContendedError)


def test_a_batch_of_reads_is_completed(dynamodb: Any, counting: CountingClient) -> None:
    """DynamoDB leaves out what does not fit into an answer, or what it throttles."""
    throttled = iter([True, False, True, True])

    def partly(call: Call, request: dict[str, Any]) -> Any:
        if next(throttled, False):
            return {"Responses": {}, "UnprocessedKeys": request["RequestItems"]}
        (table,) = request["RequestItems"]
        keys = request["RequestItems"][table]["Keys"]
        some = {"Keys": keys[:2], "ConsistentRead": True}
        rest = {table: {"Keys": keys[2:], "ConsistentRead": True}} if keys[2:] else {}
        return call(RequestItems={table: some}) | {"UnprocessedKeys": rest}

    client = FaultyClient(counting, "batch_get_item", partly, times=99)
    read_model = dynamodb_read_model(dynamodb, through=client, retries=no_waits)
    keys = [f"row-{number}" for number in range(9)]
    put_rows(read_model, {key: {"n": 1} for key in keys})

    rows = read_model.load(0, (), keys).rows

    assert [row and row.row for row in rows.values()] == [{"n": 1}] * 9
    assert all(request["RequestItems"].popitem()[1]["ConsistentRead"] for _, request in counting.requests[-5:])


def test_reads_that_stay_throttled_are_reported(dynamodb: Any) -> None:
    def none(call: Call, request: dict[str, Any]) -> Any:
        return {"Responses": {}, "UnprocessedKeys": request["RequestItems"]}

    client = FaultyClient(dynamodb, "batch_get_item", none, times=99)
    read_model = dynamodb_read_model(dynamodb, through=client, retries=no_waits)

    with pytest.raises(ContendedError):
        read_model.load(0, [STREAM], ["a"])


def test_a_throttled_sweep_deletes_the_rest(dynamodb: Any) -> None:
    def half(call: Call, request: dict[str, Any]) -> Any:
        (table,) = request["RequestItems"]
        deletions = request["RequestItems"][table]
        call(RequestItems={table: deletions[:1]})
        return {"UnprocessedItems": {table: deletions[1:]} if deletions[1:] else {}}

    client = FaultyClient(dynamodb, "batch_write_item", half, times=99)
    read_model = dynamodb_read_model(dynamodb, through=client, retries=lambda _: iter(range(99)))
    born(read_model)
    put_rows(read_model, {f"row-{number}": {} for number in range(9)})

    sweep(read_model, 0)

    assert (all_rows(read_model), all_states(read_model)) == ({}, [])


# -- responses that get lost ---------------------------------------------------------------------------------------------


def test_a_commit_whose_response_was_lost_is_done_once(dynamodb: Any) -> None:
    read_model = dynamodb_read_model(dynamodb)

    with answer_lost(dynamodb, "TransactWriteItems"):
        read_model.commit(Commit((birth(),), (write("a", {"n": 1}),), born_at=0))

    assert all_rows(read_model) == {"a": {"n": 1}}


def test_a_commit_that_was_done_and_then_reported_as_in_progress_is_done_once(dynamodb: Any) -> None:
    def done_and_in_progress(call: Call, request: dict[str, Any]) -> None:
        call(**request)
        raise client_error("TransactWriteItems", "TransactionInProgressException")

    client = FaultyClient(dynamodb, "transact_write_items", done_and_in_progress)
    read_model = dynamodb_read_model(dynamodb, through=client, retries=no_waits)

    assert replay(read_model) == read_control(read_model)
