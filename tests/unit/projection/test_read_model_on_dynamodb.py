"""What is particular to the read model on DynamoDB: what it costs, its limits, and races."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from handlers.projection import transitions
from handlers.projection.port import OutdatedError
from tests.contracts.read_model import KEY, STREAM, all_rows, project
from tests.support.clients import Call, CountingClient, FaultyClient, answer_lost, client_error
from tests.support.read_models import dynamodb_read_model


@pytest.fixture
def dynamodb(emulator_client: Callable[[str], Any]) -> Any:
    return emulator_client("dynamodb")


def test_rows_and_state_are_one_read_and_one_transaction(dynamodb: Any) -> None:
    counting = CountingClient(dynamodb)
    read_model = dynamodb_read_model(dynamodb, KEY, counting)
    state = read_model.load(STREAM, [str(number) for number in range(99)]).state

    read_model.commit(transitions.advance(state, 98, "f"), {str(number): {"n": number} for number in range(99)})

    assert counting.calls == {"transact_get_items": 1, "transact_write_items": 1}


def test_a_checkpoint_without_rows_is_a_plain_write(dynamodb: Any) -> None:
    counting = CountingClient(dynamodb)
    read_model = dynamodb_read_model(dynamodb, KEY, counting)

    project(read_model, 0)

    assert counting.calls == {"get_item": 1, "update_item": 1}
    assert counting.write_units == 1


@pytest.mark.parametrize("number", [10**39 + 1, Decimal("0." + "1" * 39), Decimal("1E+126"), Decimal("NaN"), 0.1])
def test_a_number_that_would_lose_a_digit_is_refused(dynamodb: Any, number: Any) -> None:
    read_model = dynamodb_read_model(dynamodb, KEY)

    with pytest.raises((ValueError, TypeError)):
        project(read_model, 0, {"a": {"n": number}})

    assert all_rows(read_model) == {}


@pytest.mark.parametrize(
    "error",
    [
        client_error("TransactGetItems", "ValidationException"),
        client_error(
            "TransactGetItems", "TransactionCanceledException", CancellationReasons=[{"Code": "ValidationError"}]
        ),
    ],
)
def test_a_read_that_is_too_large_is_done_in_halves(dynamodb: Any, error: Exception) -> None:
    def too_large(call: Call, request: dict[str, Any]) -> None:
        raise error

    read_model = dynamodb_read_model(dynamodb, KEY, FaultyClient(dynamodb, "transact_get_items", too_large))
    project(read_model, 0, {"a": {"n": 1}, "b": {"n": 2}, "c": {"n": 3}})

    snapshot = read_model.load(STREAM, ["a", "b", "c"])

    assert (snapshot.rows, snapshot.state.checkpoint) == ({"a": {"n": 1}, "b": {"n": 2}, "c": {"n": 3}}, 0)


def test_halves_of_a_read_that_differ_in_their_state_are_read_again_by_the_caller(dynamodb: Any) -> None:
    def too_large(call: Call, request: dict[str, Any]) -> None:
        read_model._client = FaultyClient(dynamodb, "transact_get_items", overtaken)
        raise client_error("TransactGetItems", "ValidationException")

    def overtaken(call: Call, request: dict[str, Any]) -> Any:
        answer = call(**request)
        project(read_model, 1, {"b": {"n": 9}})
        return answer

    read_model = dynamodb_read_model(dynamodb, KEY, FaultyClient(dynamodb, "transact_get_items", too_large))
    project(read_model, 0, {"a": {"n": 1}, "b": {"n": 2}})

    with pytest.raises(OutdatedError):
        read_model.load(STREAM, ["a", "b"])


@pytest.mark.parametrize(
    ("code", "reasons"),
    [
        ("TransactionConflictException", []),
        ("TransactionInProgressException", []),
        ("TransactionCanceledException", [{"Code": "None"}, {"Code": "TransactionConflict"}]),
        ("TransactionCanceledException", [{"Code": "ConditionalCheckFailed"}, {"Code": "TransactionConflict"}]),
    ],
)
@pytest.mark.parametrize("operation", ["transact_get_items", "transact_write_items", "update_item"])
def test_a_transaction_in_the_way_means_to_read_again(
    dynamodb: Any, operation: str, code: str, reasons: list[dict[str, str]]
) -> None:
    def in_the_way(call: Call, request: dict[str, Any]) -> None:
        raise client_error(operation, code, CancellationReasons=reasons)

    read_model = dynamodb_read_model(dynamodb, KEY, FaultyClient(dynamodb, operation, in_the_way))

    def read_and_write() -> None:
        state = read_model.load(STREAM, ["a", "b"]).state
        read_model.commit(transitions.advance(state, 0, "f"), {"a": {}} if operation != "update_item" else None)

    with pytest.raises(OutdatedError):
        read_and_write()


def test_a_fault_that_is_no_lost_race_is_not_taken_for_one(dynamodb: Any) -> None:
    def throttled(call: Call, request: dict[str, Any]) -> None:
        raise client_error(
            "TransactWriteItems", "TransactionCanceledException", CancellationReasons=[{"Code": "ThrottlingError"}]
        )

    read_model = dynamodb_read_model(dynamodb, KEY, FaultyClient(dynamodb, "transact_write_items", throttled))

    with pytest.raises(Exception, match="TransactionCanceledException") as raised:
        project(read_model, 0, {"a": {}})
    assert not isinstance(raised.value, OutdatedError)


def test_a_commit_whose_answer_was_lost_is_done_once_and_no_lost_race(dynamodb: Any) -> None:
    read_model = dynamodb_read_model(dynamodb, KEY)

    with answer_lost(dynamodb, "TransactWriteItems"):
        project(read_model, 0, {"a": {"n": 1}})

    assert all_rows(read_model) == {"a": {"n": 1}}


def test_a_sweep_that_is_throttled_is_gone_on_with(dynamodb: Any) -> None:
    def half(call: Call, request: dict[str, Any]) -> Any:
        return {"UnprocessedItems": request["RequestItems"]}

    read_model = dynamodb_read_model(dynamodb, KEY, FaultyClient(dynamodb, "batch_write_item", half))
    project(read_model, 0, {"a": {}, "b": {}})

    assert not read_model.sweep(STREAM, 0)
    assert read_model.sweep(STREAM, 0)
    assert all_rows(read_model) == {}
