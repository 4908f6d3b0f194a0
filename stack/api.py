"""The REST API: routes, stage, usage plan and key."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from aws_cdk import Aws, RemovalPolicy
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_logs as logs
from constructs import Construct

from handlers.api.response import PROBLEM, PROBLEM_TYPES
from handlers.api.route import Route
from stack.function import EsFunction, accept, pin_logical_id
from stack.settings import Auth, StackSettings

STAGE = "v1"

RATE_LIMIT = 1000  # requests per second and key: far above one operator's needs, below the account's 10,000
BURST_LIMIT = 2000

ACCESS_LOG_FIELDS = {
    "requestId": "$context.requestId",
    "time": "$context.requestTime",
    "ip": "$context.identity.sourceIp",
    "method": "$context.httpMethod",
    "route": "$context.resourcePath",
    "status": "$context.status",
    "latencyMs": "$context.responseLatency",
    "bytes": "$context.responseLength",
    "apiKeyId": "$context.identity.apiKeyId",
    "user": "$context.identity.userArn",
    "error": "$context.error.responseType",
    "traceId": "$context.xrayTraceId",
}


class Api(Construct):
    """The routes of the API, each behind the API key.

    Parameters
    ----------
    functions
        The functions that serve the routes, by logical id.
    """

    def __init__(
        self,
        scope: Construct,
        settings: StackSettings,
        routes: Iterable[Route],
        functions: Mapping[str, EsFunction],
        api_key: str,
    ) -> None:
        super().__init__(scope, "Api")
        self.access_logs = logs.LogGroup(
            self, "AccessLogs", retention=logs.RetentionDays.ONE_MONTH, removal_policy=RemovalPolicy.DESTROY
        )
        pin_logical_id(self.access_logs, "ApiAccessLogs")
        self.rest = self._rest_api(settings)
        self._add_routes(routes, functions, settings)
        add_gateway_responses(self.rest, settings.auth)
        self.key = self._key(api_key)
        self._explain(settings)

    @property
    def url(self) -> str:
        """The base URL with the stage, without a trailing slash."""
        return f"https://{self.rest.rest_api_id}.execute-api.{Aws.REGION}.{Aws.URL_SUFFIX}/{STAGE}"

    def _rest_api(self, settings: StackSettings) -> apigateway.RestApi:
        api = apigateway.RestApi(
            self,
            "Rest",
            rest_api_name=Aws.STACK_NAME,
            description="Event sourcing: append, list, replay",
            endpoint_types=[apigateway.EndpointType.REGIONAL],
            # The role for access logs is a setting of the account and region, so it is kept when the stack is deleted:
            # other APIs may rely on it.
            cloud_watch_role=True,
            cloud_watch_role_removal_policy=RemovalPolicy.RETAIN,
            deploy_options=apigateway.StageOptions(
                stage_name=STAGE,
                tracing_enabled=settings.tracing,
                access_log_destination=apigateway.LogGroupLogDestination(self.access_logs),
                access_log_format=apigateway.AccessLogFormat.custom(_json_object(ACCESS_LOG_FIELDS)),
            ),
        )
        api.node.try_remove_child("Endpoint")  # the CDK's own output; ours is ApiUrl
        return api

    def _add_routes(
        self, routes: Iterable[Route], functions: Mapping[str, EsFunction], settings: StackSettings
    ) -> None:
        authorization = (
            apigateway.AuthorizationType.IAM if settings.auth == "iam" else apigateway.AuthorizationType.NONE
        )
        # One permission per function: API Gateway may call it for this API, not once per method.
        integrations = {
            name: apigateway.LambdaIntegration(function.resource, scope_permission_to_method=False)
            for name, function in functions.items()
        }
        for route in routes:
            self.rest.root.resource_for_path(route.path).add_method(
                route.method, integrations[route.function], api_key_required=True, authorization_type=authorization
            )

    def _key(self, value: str) -> apigateway.ApiKey:
        key = apigateway.ApiKey(self, "Key", value=value)
        pin_logical_id(key, "ApiClientKey")  # the parameter has the name ApiKey
        plan = self.rest.add_usage_plan(
            "UsagePlan",
            api_stages=[apigateway.UsagePlanPerApiStage(api=self.rest, stage=self.rest.deployment_stage)],
            throttle=apigateway.ThrottleSettings(rate_limit=RATE_LIMIT, burst_limit=BURST_LIMIT),
        )
        plan.add_api_key(key)
        return key

    def _explain(self, settings: StackSettings) -> None:
        accept(self, "AwsSolutions-APIG2", "The functions validate, and report every fault with its position at once.")
        accept(
            self,
            "AwsSolutions-APIG3",
            "A firewall would cost more than the whole stack; the key and its throttle protect the API.",
        )
        accept(self, "AwsSolutions-APIG6", "Access logs hold every call and its error; the functions log details.")
        accept(self, "AwsSolutions-COG4", "The callers are operators and services, not users of a pool.")
        if settings.auth == "key":
            accept(self, "AwsSolutions-APIG4", "AUTH=key relies on the API key; AUTH=iam requires signatures too.")
        policy = "arn:<AWS::Partition>:iam::aws:policy/service-role/AmazonAPIGatewayPushToCloudWatchLogs"
        accept(self, f"AwsSolutions-IAM4[Policy::{policy}]", "API Gateway requires this policy.")


def _json_object(fields: dict[str, str]) -> str:
    """Render the access log's format: one JSON object per line."""
    return "{" + ",".join(f'"{name}":"{value}"' for name, value in fields.items()) + "}"


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem document (RFC 9457); ``status`` is None if it varies, and then omitted."""

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
"""By API Gateway's response type; each keeps its default status."""


def add_gateway_responses(api: apigateway.RestApi, auth: Auth) -> None:
    """Replace API Gateway's own error bodies by problem documents."""
    # API Gateway reports an unknown path as "missing authentication token". Without signatures that is the only cause, so
    # it can be a 404; with signatures the token may really be missing.
    missing_token = NO_ROUTE if auth == "key" else FORBIDDEN
    for kind, problem in {**PROBLEMS, "MISSING_AUTHENTICATION_TOKEN": missing_token}.items():
        api.add_gateway_response(
            f"Answer{kind}",
            type=apigateway.ResponseType.of(kind),
            status_code=None if problem.status is None else str(problem.status),
            # The key selects by the Accept header, and this one matches all; the response header names the real type.
            templates={"application/json": problem_template(problem)},
            response_headers={"Content-Type": f"'{PROBLEM}'"},
        )


def problem_template(problem: Problem) -> str:
    """Render the document; API Gateway inserts its message (a quoted JSON string) and the request id."""
    fields: dict[str, object] = {"type": PROBLEM_TYPES + problem.type, "title": problem.title}
    if problem.status is not None:
        fields["status"] = problem.status
    known = json.dumps(fields, separators=(",", ":")).removesuffix("}")
    return known + ',"detail":$context.error.messageString,"instance":"$context.requestId"}'
