"""The OpenAPI document, generated from the routes, and the route that serves it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from handlers.api import http
from handlers.api.request import Request
from handlers.api.response import JSON, PROBLEM, Response
from handlers.api.route import Body, Component, Route, Success
from handlers.api.routes import GET_CONTRACT, TAGS, Listed, all_routes
from handlers.api.schemas import PROBLEM as PROBLEM_SCHEMA
from handlers.core.validation import Schema

# Of every route; 403, 429, 502 and 504 are API Gateway's own.
_COMMON_PROBLEMS = (400, 403, 429, 500, 502, 503, 504)

_PROBLEMS = {
    400: ("InvalidInput", "The request is invalid: every fault is listed, and nothing was written."),
    403: ("Forbidden", "The API key or the signature is missing or wrong (from API Gateway)."),
    404: ("NotFound", "There is no such stream, replay, projection or row."),
    409: (
        "Conflict",
        "The request conflicts with the current state: expectedVersion is not the head (given in the response), the event "
        "is not the halted one, or it is not applied yet.",
    ),
    410: ("Gone", "The page token belongs to rows that have been replaced; restart the list."),
    413: ("TooLarge", "The event or the request exceeds a limit; the response has its size and the limit."),
    422: ("IdempotencyMismatch", "The Idempotency-Key was used for a different request."),
    429: ("Throttled", "The API key's rate limit is exceeded (from API Gateway)."),
    500: ("InternalError", "An unexpected error, logged with the request's id."),
    502: ("BadGateway", "API Gateway got no valid response from the function."),
    503: ("Unavailable", "Too many concurrent writers, or a service is busy. The request itself is fine; retry it."),
    504: (
        "GatewayTimeout",
        "The function did not respond in time; with an Idempotency-Key the request can be retried.",
    ),
}

_INFO = {
    "title": "esctl: event sourcing on AWS serverless",
    "version": "1.0.0",
    "summary": "Append events, read projections, replay without downtime.",
    "description": "JSON in and out. Every error is a problem document (RFC 9457, application/problem+json) that lists "
    "every fault and its place. Numbers keep every digit. Unknown query parameters and body fields are refused.",
    "license": {"name": "MIT", "identifier": "MIT"},
}

_SECURITY = {
    "apiKey": {"type": "apiKey", "in": "header", "name": "x-api-key"},
    "sigv4": {
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "description": "AWS Signature Version 4 (service execute-api); required if the stack is deployed with AUTH=iam.",
        "x-amazon-apigateway-authtype": "awsSigv4",
    },
}


@dataclass(frozen=True)
class ContractRoutes:
    """Serve the document of an API with these projections, generated at the first request."""

    projections: Callable[[], Mapping[str, Listed]]

    def routes(self) -> http.Routes:
        return {GET_CONTRACT: self.get_contract}

    def get_contract(self, request: Request) -> Response:
        """Return the document."""
        request.check()
        return Response(200, self._text)

    @cached_property
    def _text(self) -> str:
        return json.dumps(document(all_routes(self.projections().values())))


def document(routes: Iterable[Route]) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of some routes."""
    components: dict[str, Any] = {}
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _without_names(_operation(route), components)
    responses = _without_names({name: _problem(status, text) for status, (name, text) in _PROBLEMS.items()}, components)
    return {
        "openapi": "3.1.0",
        "info": _INFO,
        "servers": [{"url": "/", "description": "The stack's ApiUrl output, stage included."}],
        "security": [{"apiKey": []}, {"apiKey": [], "sigv4": []}],
        "tags": [{"name": name, "description": description} for name, description in TAGS.items()],
        "paths": paths,
        "components": {
            "securitySchemes": _SECURITY,
            "responses": responses,
            "schemas": dict(sorted(components.items())),
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {"operationId": route.operation, "tags": [route.tag], "summary": route.summary}
    if route.description:
        operation["description"] = route.description
    parameters = [
        *(_parameter(name, "header", schema) for name, schema in route.headers.items()),
        *(_path_parameter(name, schema) for name, schema in route.path_parameters.items()),
        *(_parameter(name, "query", schema) for name, schema in route.query.items()),
    ]
    if parameters:
        operation["parameters"] = parameters
    if route.body is not None:
        operation["requestBody"] = _request_body(route.body)
    statuses = sorted({*_COMMON_PROBLEMS, *route.problems, *([413] if route.body else [])})
    problems = {str(status): {"$ref": f"#/components/responses/{_PROBLEMS[status][0]}"} for status in statuses}
    operation["responses"] = {str(route.success.status): _success(route.success), **problems}
    return operation


def _parameter(name: str, place: str, schema: Schema) -> dict[str, Any]:
    described = dict(schema)
    description = described.pop("description", "")
    return {"name": name, "in": place, "required": place == "path", "description": description, "schema": described}


def _path_parameter(name: str, schema: Schema) -> dict[str, Any]:
    """Describe a path parameter; encoded by `path_segment`, a value may be longer than its schema allows."""
    return _parameter(name, "path", {"type": "string", "minLength": 1, "description": schema["description"]})


def _request_body(body: Body) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": body.schema}
    if body.examples:
        content["examples"] = {name: {"value": value} for name, value in body.examples.items()}
    required = not body.optional or bool(body.schema.get("required"))
    return {"required": required, "content": {JSON: content}}


def _success(success: Success) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": success.description, "content": {JSON: {"schema": success.schema}}}
    if success.headers:
        answer["headers"] = {name: _header(schema) for name, schema in success.headers.items()}
    return answer


def _problem(status: int, description: str) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": description, "content": {PROBLEM: {"schema": PROBLEM_SCHEMA}}}
    if status == 503:
        answer["headers"] = {"Retry-After": _header({"type": "string", "description": "Seconds to wait."})}
    return answer


def _header(schema: Schema) -> dict[str, Any]:
    described = dict(schema)
    return {"description": described.pop("description", ""), "schema": described}


def _without_names(value: Any, components: dict[str, Any]) -> Any:
    """Replace components by references and collect them."""
    if isinstance(value, Component):
        if value.name not in components:
            components[value.name] = _without_names(dict(value), components)
        return {"$ref": f"#/components/schemas/{value.name}"}
    if isinstance(value, Mapping):
        return {name: _without_names(inner, components) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_names(inner, components) for inner in value]
    return value
