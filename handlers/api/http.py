"""The outermost shell of the functions behind the API: dispatch, answer, log, measure.

A function's module is no more than ``handler = http.serve(FUNCTION, resources…)``: a resource answers a `Request` with a
`Response`, and raises an `EsError` where it cannot.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

# Needed at the first request. Imported here, its 11 ms fall in Lambda's initialization, which has a whole CPU whatever
# the memory; a function of 512 MB has 0.3 of one afterwards. Schemas are still compiled when they are first needed.
import fastjsonschema  # noqa: F401

from handlers import runtime
from handlers.api.request import Request, read_request, request_id
from handlers.api.response import Response, problem
from handlers.api.route import Route
from handlers.core.errors import EsError, NotFound

Routes = Mapping[Route, Callable[[Request], Response]]
"""What answers each route."""

Handler = Callable[[dict[str, Any], Any], dict[str, Any]]

# What DynamoDB and SQS say when they want to be asked again later; boto3 has tried four times by then.
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


class ServiceBusyError(EsError):
    """A service behind the API is busy or unreachable; nothing is known to be wrong with the request."""

    status = 503
    type = "unavailable"
    title = "Temporarily unavailable"


def serve(function: str, *resources: Resource) -> Handler:
    """Return the Lambda handler of a function: of the resources' routes, it serves those declared for that function."""
    bound = [each for resource in resources for each in resource.routes().items()]
    routes = {route.key: (route, answer) for route, answer in bound if route.function == function}

    def handle(event: dict[str, Any], context: Any) -> dict[str, Any]:
        started = time.perf_counter()
        log = runtime.logger()
        api_request_id = request_id(event)
        log.set_correlation_id(api_request_id)
        log.append_keys(requestId=api_request_id, functionRequestId=getattr(context, "aws_request_id", ""))
        key = f"{event.get('httpMethod') or ''} {event.get('resource') or event.get('path') or ''}"
        response = _answer(routes, key, event, log)
        # One line per request, with its status, duration and DynamoDB usage.
        log.info(
            f"{key} {response.status}",
            extra={
                "status": response.status,
                "durationMs": round((time.perf_counter() - started) * 1000, 1),
                **runtime.used(),
            },
        )
        runtime.flush_metrics()
        return response.to_gateway()

    return runtime.traced(handle)


def _answer(
    routes: Mapping[str, tuple[Route, Callable[[Request], Response]]], key: str, event: dict[str, Any], log: Any
) -> Response:
    try:
        if key not in routes:
            raise NotFound(f"there is no route {key}")
        route, answer = routes[key]
        return answer(read_request(route, event))
    except EsError as error:
        if error.status >= 500:
            log.warning(error.detail, extra={"problem": error.type})
        return problem(error, request_id(event))
    except Exception as error:  # the outermost shell: what comes out here must be an answer
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
