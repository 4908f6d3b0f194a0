"""The outermost shell of the functions behind the API: route, answer, log, measure.

A function module is no more than ``handler = http.serve({...})``: each route maps a `Request` to a `Response` and
raises an `EsError` where it cannot.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from handlers import runtime
from handlers.api.request import Request, parse_request
from handlers.api.response import Response, problem
from handlers.errors import EsError, NotFound

Route = Callable[[Request], Response]
Routes = Mapping[str, Route]
"""By method and resource: ``GET /streams/{streamId}/events``."""

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


class ServiceBusyError(EsError):
    """A service behind the API is busy or unreachable; nothing is known to be wrong with the request."""

    status = 503
    type = "unavailable"
    title = "Temporarily unavailable"


def serve(routes: Routes) -> Handler:
    """Return the Lambda handler that serves some routes."""

    def handle(event: dict[str, Any], context: Any) -> dict[str, Any]:
        started = time.perf_counter()
        log = runtime.logger()
        request = parse_request(event)
        log.set_correlation_id(request.request_id)
        log.append_keys(requestId=request.request_id, functionRequestId=getattr(context, "aws_request_id", ""))
        response = _answer(routes, request, log)
        # One line per invocation at least: the emulator waits 50 ms for a first line of a function that prints none.
        log.info(
            f"{request.method} {request.resource} {response.status}",
            extra={
                "status": response.status,
                "durationMs": round((time.perf_counter() - started) * 1000, 1),
                **runtime.used(),
            },
        )
        runtime.flush_metrics()
        return response.to_gateway()

    return runtime.traced(handle)


def _answer(routes: Routes, request: Request, log: Any) -> Response:
    try:
        route = routes.get(f"{request.method} {request.resource}")
        if route is None:
            raise NotFound(f"there is no {request.method} {request.resource} here")
        return route(request)
    except EsError as error:
        if error.status >= 500:
            log.warning(error.detail, extra={"problem": error.type})
        return problem(error, request.request_id)
    except Exception as error:  # the outermost shell: what comes out here must be an answer
        if _is_busy(error):
            log.warning("a service is busy", exc_info=True)
            return problem(ServiceBusyError("a service behind the API is busy; try again"), request.request_id)
        log.exception("unexpected error")
        detail = "something went wrong inside; the log has it under this request's id"
        return problem(EsError(detail), request.request_id)


def _is_busy(error: Exception) -> bool:
    from botocore.exceptions import ClientError, ConnectionError, HTTPClientError

    if isinstance(error, ClientError):
        return error.response.get("Error", {}).get("Code") in _BUSY_CODES
    return isinstance(error, ConnectionError | HTTPClientError)
