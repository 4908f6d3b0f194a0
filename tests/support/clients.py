"""boto3 clients that count their calls, do something unexpected once, or repeat a call as boto3 does."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import ClientError

Call = Callable[..., Any]


class ClientWrapper:
    """Passes every operation on to a client, through `around`."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, operation: str) -> Call:
        call = getattr(self._client, operation)
        return lambda **request: self.around(operation, call, request)

    def around(self, operation: str, call: Call, request: dict[str, Any]) -> Any:
        return call(**request)


class CountingClient(ClientWrapper):
    """Counts calls by operation, and what DynamoDB says that they consumed.

    Attributes
    ----------
    calls
        Operation (``put_item``) to how often it was called.
    write_units
        Of all answers together.
    requests
        Every call, in order: operation and request.
    """

    def __init__(self, client: Any) -> None:
        super().__init__(client)
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        self.calls: Counter[str] = Counter()
        self.write_units = 0.0
        self.requests: list[tuple[str, dict[str, Any]]] = []

    def around(self, operation: str, call: Call, request: dict[str, Any]) -> Any:
        with self._lock:
            self.calls[operation] += 1
            self.requests.append((operation, request))
        answer = call(**request, ReturnConsumedCapacity="TOTAL")
        if operation in {"put_item", "update_item", "transact_write_items", "batch_write_item"}:
            consumed = answer.get("ConsumedCapacity", [])
            tables = consumed if isinstance(consumed, list) else [consumed]
            with self._lock:
                self.write_units += sum(each["CapacityUnits"] for each in tables)
        return answer


class FaultyClient(ClientWrapper):
    """Does what ``fault(call, request)`` says instead of the next calls of one operation, so many; then all pass."""

    def __init__(
        self, client: Any, operation: str, fault: Callable[[Call, dict[str, Any]], Any], *, times: int = 1
    ) -> None:
        super().__init__(client)
        self._operation = operation
        self._fault = fault
        self._left = times

    def around(self, operation: str, call: Call, request: dict[str, Any]) -> Any:
        if operation != self._operation or self._left == 0:
            return call(**request)
        self._left -= 1
        return self._fault(call, request)


def client_error(operation: str, code: str, **more: Any) -> ClientError:
    """Return the error that boto3 raises for an answer with an error code."""
    response: Any = {"Error": {"Code": code, "Message": code}, **more}
    return ClientError(response, operation)


@contextmanager
def answer_lost(client: Any, operation: str) -> Iterator[None]:
    """The next answer to an operation (``PutItem``) is lost on the way: boto3 itself sends the same request again."""
    event = f"needs-retry.dynamodb.{operation}"
    repeats = iter([0])  # seconds to wait; boto3 goes by the first handler that says anything

    def repeat_once(**_: Any) -> int | None:
        return next(repeats, None)

    client.meta.events.register_first(event, repeat_once)
    try:
        yield
        assert next(repeats, None) is None, f"no {operation} was called"
    finally:
        client.meta.events.unregister(event, repeat_once)
