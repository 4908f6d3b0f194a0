"""The REST API: routes, stage, usage plan and key."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from aws_cdk import Aws, RemovalPolicy
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_logs as logs
from constructs import Construct

from handlers.api.route import Route
from stack.function import EsFunction, pin_logical_id
from stack.gateway_responses import add_gateway_responses
from stack.nag import accept
from stack.settings import StackSettings

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
        What serves the routes, by logical id.
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
        """The base URL, with the stage, without a slash at the end."""
        return f"https://{self.rest.rest_api_id}.execute-api.{Aws.REGION}.{Aws.URL_SUFFIX}/{STAGE}"

    def _rest_api(self, settings: StackSettings) -> apigateway.RestApi:
        api = apigateway.RestApi(
            self,
            "Rest",
            rest_api_name=Aws.STACK_NAME,
            description="Event sourcing: append, list, replay",
            endpoint_types=[apigateway.EndpointType.REGIONAL],
            # The role that lets API Gateway write access logs is a setting of the whole account and region, so it
            # stays when this stack goes: another API may rely on it.
            cloud_watch_role=True,
            cloud_watch_role_removal_policy=RemovalPolicy.RETAIN,
            deploy_options=apigateway.StageOptions(
                stage_name=STAGE,
                tracing_enabled=settings.tracing,
                access_log_destination=apigateway.LogGroupLogDestination(self.access_logs),
                access_log_format=apigateway.AccessLogFormat.custom(_json_object(ACCESS_LOG_FIELDS)),
            ),
        )
        api.node.try_remove_child("Endpoint")  # an output of its own making; ours is ApiUrl
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
        accept(self, "AwsSolutions-APIG2", "The functions validate: they name every fault and its place at once.")
        accept(self, "AwsSolutions-APIG3", "A firewall costs more than all the rest here; the key and its throttle do.")
        accept(self, "AwsSolutions-APIG6", "Access logs hold every call and its error; the functions log the rest.")
        accept(self, "AwsSolutions-COG4", "The callers are operators and services, not users of a pool.")
        if settings.auth == "key":
            accept(self, "AwsSolutions-APIG4", "AUTH=key was chosen: the API key; AUTH=iam adds signatures.")
        policy = "arn:<AWS::Partition>:iam::aws:policy/service-role/AmazonAPIGatewayPushToCloudWatchLogs"
        accept(self, f"AwsSolutions-IAM4[Policy::{policy}]", "API Gateway accepts no role with less than this policy.")


def _json_object(fields: dict[str, str]) -> str:
    """Render the access log's format: one JSON object per line."""
    return "{" + ",".join(f'"{name}":"{value}"' for name, value in fields.items()) + "}"
