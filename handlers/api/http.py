"""The outermost shell of the functions behind the API: dispatch, respond, log, measure.

A function's module is one call of `serve`. A resource answers a `Request` with a `Response`, or raises an `EsError`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

# Needed at the first request. Importing it here moves its 11 ms into Lambda's initialization, which has a full CPU
# whatever the memory; a 512 MB function has 0.3 of one afterwards. Schemas are still compiled on first use.
import fastjsonschema  # noqa: F401

from handlers.api.request import Request, read_request, request_id
from handlers.api.response import Response, problem
from handlers.api.route import Route
from handlers.core.errors import EsError, NotFoundError

Answer = Callable[[Request], Response]

Routes = Mapping[Route, Answer]
"""Routes with the callables that answer them."""

Handler = Callable[[dict[str, Any], Any], dict[str, Any]]

# Error codes with which DynamoDB and SQS ask for a later retry; boto3 has tried four times by then.
_BUSY_CODES = {
    "InternalServerError",
    "LimitExceededException",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "ServiceUnavailable",
    "ThrottlingException",
    "TransactionInProgressException",
}


class Resource(Protocol):
    """Answers some routes."""

    def routes(self) -> Routes: ...


class Telemetry(Protocol):
    """Logs, metrics and traces of a function; `handlers.runtime` implements it."""

    def logger(self) -> Any: ...
    def used(self) -> dict[str, Any]: ...
    def count(self, **amounts: int) -> None: ...
    def flush_metrics(self) -> None: ...
    def traced(self, handler: Handler) -> Handler: ...


class ServiceBusyError(EsError):
    """A service behind the API is busy or unreachable; the request itself may be fine."""

    status = 503
    type = "unavailable"
    title = "Temporarily unavailable"


def serve(function: str, *resources: Resource, telemetry: Telemetry) -> Handler:
    """Return the Lambda handler of a function: it serves those of the resources' routes that are declared for it."""
    bound = [each for resource in resources for each in resource.routes().items()]
    routes = {route.key: (route, answer) for route, answer in bound if route.function == function}

    def handle(event: dict[str, Any], context: Any) -> dict[str, Any]:
        started = time.perf_counter()
        log = telemetry.logger()
        api_request_id = request_id(event)
        log.set_correlation_id(api_request_id)
        log.append_keys(requestId=api_request_id, functionRequestId=getattr(context, "aws_request_id", ""))
        key = f"{event.get('httpMethod') or ''} {event.get('resource') or event.get('path') or ''}"
        response = _respond(routes, key, event, log)
        # One line per request, with its status, duration and DynamoDB usage.
        duration_ms = round((time.perf_counter() - started) * 1000, 1)
        fields = {"status": response.status, "durationMs": duration_ms, **telemetry.used()}
        log.info(f"{key} {response.status}", extra=fields)
        telemetry.flush_metrics()
        return response.to_gateway()

    return telemetry.traced(handle)


def _respond(routes: Mapping[str, tuple[Route, Answer]], key: str, event: dict[str, Any], log: Any) -> Response:
    try:
        if key not in routes:
            raise NotFoundError(f"there is no route {key}")
        route, answer = routes[key]
        return answer(read_request(route, event))
    except EsError as error:
        if error.status >= 500:
            log.warning(error.detail, extra={"problem": error.type})
        return problem(error, request_id(event))
    except Exception as error:  # the outermost shell: every error becomes a response
        if _is_busy(error):
            log.warning("a service is busy", exc_info=True)
            return problem(ServiceBusyError("a service behind the API is busy; try again"), request_id(event))
        log.exception("unexpected error")
        return problem(EsError("an unexpected error; the log has it under this request's id"), request_id(event))


def _is_busy(error: Exception) -> bool:
    from botocore.exceptions import ClientError, ConnectionError, HTTPClientError

    if isinstance(error, ClientError):
        return error.response.get("Error", {}).get("Code") in _BUSY_CODES
    return isinstance(error, ConnectionError | HTTPClientError)
