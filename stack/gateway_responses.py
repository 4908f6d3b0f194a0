"""What API Gateway itself answers, as problem documents like those of the functions (RFC 9457)."""

from __future__ import annotations

import json
from dataclasses import dataclass

from aws_cdk import aws_apigateway as apigateway

from handlers.api.response import PROBLEM, PROBLEM_TYPES
from stack.settings import Auth


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem document; ``status`` is None where it varies and the document doesn't repeat it."""

    status: int | None
    type: str
    title: str


FORBIDDEN = Problem(403, "forbidden", "Forbidden")
NO_ROUTE = Problem(404, "not-found", "Not found")
BAD_REQUEST = Problem(400, "bad-request", "Bad request")
TIMEOUT = Problem(504, "timeout", "Timeout")
THROTTLED = Problem(429, "throttled", "Too many requests")

PROBLEMS = {
    "ACCESS_DENIED": FORBIDDEN,
    "BAD_REQUEST_BODY": BAD_REQUEST,
    "BAD_REQUEST_PARAMETERS": BAD_REQUEST,
    "EXPIRED_TOKEN": FORBIDDEN,
    "INTEGRATION_FAILURE": TIMEOUT,
    "INTEGRATION_TIMEOUT": TIMEOUT,
    "INVALID_API_KEY": FORBIDDEN,
    "INVALID_SIGNATURE": FORBIDDEN,
    "QUOTA_EXCEEDED": THROTTLED,
    "REQUEST_TOO_LARGE": Problem(413, "too-large", "Too large"),
    "RESOURCE_NOT_FOUND": NO_ROUTE,
    "THROTTLED": THROTTLED,
    "UNAUTHORIZED": Problem(401, "unauthorized", "Unauthorized"),
    "UNSUPPORTED_MEDIA_TYPE": Problem(415, "unsupported-media-type", "Unsupported media type"),
    "DEFAULT_4XX": Problem(None, "refused", "Request refused"),
    "DEFAULT_5XX": Problem(None, "internal", "Internal error"),
}
"""API Gateway's response types; each keeps the status that it has there."""


def add_gateway_responses(api: apigateway.RestApi, auth: Auth) -> None:
    """Replace the bodies that API Gateway makes up by problem documents."""
    # An unknown path is "missing authentication token" to API Gateway. Where methods want no token but the key, that
    # is the only way to get it, so it can say what is meant; with signatures it is also a call without one.
    missing_token = NO_ROUTE if auth == "key" else FORBIDDEN
    for kind, problem in {**PROBLEMS, "MISSING_AUTHENTICATION_TOKEN": missing_token}.items():
        api.add_gateway_response(
            f"Answer{kind}",
            type=apigateway.ResponseType.of(kind),
            status_code=None if problem.status is None else str(problem.status),
            # The template is chosen by what the client accepts and this one is for all; the header says what it is.
            templates={"application/json": template(problem)},
            response_headers={"Content-Type": f"'{PROBLEM}'"},
        )


def template(problem: Problem) -> str:
    """Render the document; API Gateway puts in its message (a JSON string, quotes included) and the request's id."""
    fields: dict[str, object] = {"type": PROBLEM_TYPES + problem.type, "title": problem.title}
    if problem.status is not None:
        fields["status"] = problem.status
    known = json.dumps(fields, separators=(",", ":")).removesuffix("}")
    return known + ',"detail":$context.error.messageString,"instance":"$context.requestId"}'
