"""Repeating calls of DynamoDB: throttling is not failure."""

from typing import Any

import pytest
from botocore.exceptions import ClientError

from handlers.core.clock import Backoff, attempts
from handlers.core.dynamodb import TRANSIENT, with_retries
from handlers.core.errors import ContendedError
from tests.support.clients import client_error


class Service:
    """Fails with the given errors, one after the other, then answers; time passes only while the caller waits."""

    def __init__(self, *errors: ClientError) -> None:
        self._errors = list(errors)
        self.requests: list[dict[str, Any]] = []
        self.waits: list[float] = []

    def call(self, **request: Any) -> str:
        self.requests.append(request)
        if self._errors:
            raise self._errors.pop(0)
        return "answer"

    def retries(self, backoff: Backoff) -> Any:
        return attempts(backoff, monotonic=lambda: sum(self.waits), sleep=self.waits.append, uniform=lambda: 0.5)


def cancelled(*reasons: str) -> ClientError:
    codes = [{"Code": reason} for reason in reasons]
    return client_error("TransactWriteItems", "TransactionCanceledException", CancellationReasons=codes)


def test_the_same_request_is_repeated_with_growing_waits() -> None:
    service = Service(
        cancelled("None", "ThrottlingError"), client_error("Query", "ThrottlingException"), cancelled("X")
    )

    with pytest.raises(ClientError):
        with_retries(service.call, service.retries, TableName="t", Limit=1)

    assert service.requests == [{"TableName": "t", "Limit": 1}] * 3
    assert service.waits == [TRANSIENT.base_s / 2, TRANSIENT.base_s]


def test_retries_end_after_a_few_seconds() -> None:
    service = Service(*[cancelled("TransactionConflict", "ThrottlingError")] * 99)

    with pytest.raises(ContendedError, match="ThrottlingError, TransactionConflict for 6 seconds"):
        with_retries(service.call, service.retries)

    assert TRANSIENT.deadline_s - TRANSIENT.cap_s <= sum(service.waits) <= TRANSIENT.deadline_s


@pytest.mark.parametrize(
    "error",
    [
        cancelled("ThrottlingError", "ConditionalCheckFailed"),
        cancelled("ValidationError"),
        cancelled(),
        client_error("PutItem", "ConditionalCheckFailedException"),
        client_error("PutItem", "AccessDeniedException"),
        client_error("PutItem", "ResourceNotFoundException"),
    ],
)
def test_another_failure_is_raised_at_once(error: ClientError) -> None:
    service = Service(error)

    with pytest.raises(ClientError) as raised:
        with_retries(service.call, service.retries)

    assert raised.value is error
    assert len(service.requests) == 1


def test_a_call_that_succeeds_is_made_once() -> None:
    service = Service()

    assert with_retries(service.call, service.retries) == "answer"

    assert len(service.requests) == 1
