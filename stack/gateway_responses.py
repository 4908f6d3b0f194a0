"""What API Gateway itself answers, as problem documents like those of the functions (RFC 9457)."""

from __future__ import annotations

import json

from aws_cdk import aws_apigateway as apigateway

MESSAGE = "$context.error.messageString"  # a JSON string, quotes included

PROBLEMS: dict[str, tuple[int, str]] = {
    "ACCESS_DENIED": (403, "Forbidden"),
    "API_CONFIGURATION_ERROR": (500, "Internal Server Error"),
    "BAD_REQUEST_BODY": (400, "Bad Request"),
    "BAD_REQUEST_PARAMETERS": (400, "Bad Request"),
    "EXPIRED_TOKEN": (403, "Forbidden"),
    "INTEGRATION_FAILURE": (504, "Gateway Timeout"),
    "INTEGRATION_TIMEOUT": (504, "Gateway Timeout"),
    "INVALID_API_KEY": (403, "Forbidden"),
    "INVALID_SIGNATURE": (403, "Forbidden"),
    "MISSING_AUTHENTICATION_TOKEN": (403, "Forbidden"),
    "QUOTA_EXCEEDED": (429, "Too Many Requests"),
    "REQUEST_TOO_LARGE": (413, "Content Too Large"),
    "RESOURCE_NOT_FOUND": (404, "Not Found"),
    "THROTTLED": (429, "Too Many Requests"),
    "UNAUTHORIZED": (401, "Unauthorized"),
    "UNSUPPORTED_MEDIA_TYPE": (415, "Unsupported Media Type"),
}
"""API Gateway's response types, with the status that each has by default."""

DEFAULTS = {"DEFAULT_4XX": "Request Refused", "DEFAULT_5XX": "Internal Server Error"}
"""Whatever else: the status varies, so the document doesn't repeat it."""


def add_gateway_responses(api: apigateway.RestApi) -> None:
    """Replace the bodies that API Gateway makes up by problem documents."""
    for kind, (status, title) in PROBLEMS.items():
        _add(api, kind, problem(title, status), str(status))
    for kind, title in DEFAULTS.items():
        _add(api, kind, problem(title))


def problem(title: str, status: int | None = None) -> str:
    """Render a gateway response's template; API Gateway puts in its message."""
    fields: dict[str, object] = {"type": "about:blank", "title": title}
    if status is not None:
        fields["status"] = status
    document = json.dumps({**fields, "detail": None}, separators=(",", ":"))
    return document.replace('"detail":null', f'"detail":{MESSAGE}')


def _add(api: apigateway.RestApi, kind: str, template: str, status: str | None = None) -> None:
    api.add_gateway_response(
        f"Answer{kind}",
        type=apigateway.ResponseType.of(kind),
        status_code=status,
        templates={"application/json": template},
        response_headers={"Content-Type": "'application/problem+json'"},
    )
