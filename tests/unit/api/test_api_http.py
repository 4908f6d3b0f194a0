"""The outermost shell: what becomes of events that are no requests, of busy services and of errors nobody foresaw."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError

from handlers import runtime
from handlers.api import http
from handlers.api.request import Request
from handlers.api.response import Response, json_response
from handlers.api.route import Route, Success, integer, text
from handlers.core.errors import ContendedError

SECRET = "arn:aws:dynamodb:eu-west-1:111122223333:table/secret"


DO = Route(
    "POST",
    "/do",
    operation="do",
    function="Do",
    tag="",
    summary="",
    query={"n": integer(1, 5, default=3)},
    headers={"X-One": text(), "X-Two": text()},
    success=Success(200, "", {}),
)


@dataclass
class Doing:
    """Does the one thing."""

    act: Callable[[Request], Response]

    def routes(self) -> http.Routes:
        return {DO: self.act}


def serving(act: Callable[[Request], Response]) -> Callable[..., dict[str, Any]]:
    handler = http.serve("Do", Doing(act), telemetry=runtime)
    return lambda **event: handler({"resource": "/do", "httpMethod": "POST", **event}, None)


def raising(error: Exception) -> Callable[[Request], Response]:
    def act(request: Request) -> Response:
        raise error

    return act


def client_error(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": SECRET}}, "PutItem")


@pytest.mark.parametrize(
    "error", [ValueError(SECRET), KeyError(SECRET), client_error("ValidationException"), RecursionError(SECRET)]
)
def test_an_unforeseen_error_is_a_500_that_tells_nothing_and_is_logged_with_its_trace(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    answer = serving(raising(error))(requestContext={"requestId": "r-1"})
    assert answer["statusCode"] == 500
    assert "secret" not in answer["body"]
    assert json.loads(answer["body"])["instance"] == "r-1"
    (logged,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert logged.exc_info
    assert logged.exc_info[1] is error
    assert runtime.logger().get_correlation_id() == "r-1"


@pytest.mark.parametrize(
    "error",
    [
        client_error("ThrottlingException"),
        client_error("ProvisionedThroughputExceededException"),
        client_error("InternalServerError"),
        ReadTimeoutError(endpoint_url=SECRET),
        EndpointConnectionError(endpoint_url=SECRET),
        ContendedError("others won"),
    ],
)
def test_a_busy_service_is_a_503_that_says_when_to_try_again(error: Exception) -> None:
    answer = serving(raising(error))()
    assert answer["statusCode"] == 503
    assert answer["headers"]["Retry-After"] == "1"
    assert "secret" not in answer["body"]


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"headers": None, "queryStringParameters": None, "multiValueQueryStringParameters": None, "body": None},
        {"requestContext": None, "pathParameters": None, "multiValueHeaders": None},
        {"requestContext": {"identity": None}},
    ],
)
def test_whatever_is_missing_in_the_event_counts_as_empty(event: dict[str, Any]) -> None:
    seen: list[Request] = []

    def act(request: Request) -> Response:
        seen.append(request)
        return json_response(200, {})

    assert serving(act)(**event)["statusCode"] == 200
    assert seen == [Request(query={"n": 3})]


def test_header_names_know_no_case_and_the_last_value_counts() -> None:
    def act(request: Request) -> Response:
        return json_response(200, dict(request.headers))

    answer = serving(act)(headers={"x-oNE": "b"}, multiValueHeaders={"X-One": ["a", "b"], "X-TWO": ["c"], "Y": ["d"]})
    assert json.loads(answer["body"]) == {"X-One": "b", "X-Two": "c"}


@pytest.mark.parametrize(
    ("query", "values", "places"),
    [
        ({"n": "5"}, {"n": 5}, []),
        ({"n": "6"}, {"n": 3}, ["query:n"]),
        ({"n": "5", "m": "1"}, {"n": 5}, ["query:m"]),
        ({"n": "5", "": "1", "a/b": "1"}, {"n": 5}, ["query:", "query:a/b"]),
        ({"n": "\ud800"}, {"n": 3}, ["query:n"]),
    ],
)
def test_a_handler_sees_valid_values_and_the_faults_of_the_others(
    query: dict[str, str], values: dict[str, int], places: list[str]
) -> None:
    seen: list[Request] = []

    def act(request: Request) -> Response:
        seen.append(request)
        request.check()
        return json_response(200, {})

    answer = serving(act)(queryStringParameters=query)
    assert (seen[0].query, [fault.pointer for fault in seen[0].faults]) == (values, places)
    assert answer["statusCode"] == (400 if places else 200)


@pytest.mark.parametrize(("function", "resource"), [("Do", "/else"), ("Other", "/do")])
def test_a_function_serves_no_routes_but_its_own(function: str, resource: str) -> None:
    handler = http.serve(function, Doing(raising(ValueError())), telemetry=runtime)
    answer = handler({"resource": resource, "httpMethod": "POST"}, None)
    assert (answer["statusCode"], answer["headers"]["Content-Type"]) == (404, "application/problem+json")


def test_every_invocation_logs_a_line_with_route_status_and_time(caplog: pytest.LogCaptureFixture) -> None:
    serving(lambda request: json_response(202, {}))(requestContext={"requestId": "r-2"})
    (line,) = caplog.records
    assert line.getMessage() == "POST /do 202"
    assert vars(line)["status"] == 202
    assert runtime.logger().get_current_keys()["requestId"] == "r-2"
    assert vars(line)["durationMs"] >= 0
