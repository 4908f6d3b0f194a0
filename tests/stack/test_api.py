"""The API in front of the functions."""

from __future__ import annotations

import importlib
import json
from typing import Any

import pytest

from handlers.api.routes import all_routes
from handlers.domain import registry
from tests.stack.synthesized import Synthesized, references

ROUTES = {route.key: route for route in all_routes(registry().values())}


def test_routes_and_the_functions_behind_them_are_as_declared(stack: Synthesized) -> None:
    declared = {key: route.function for key, route in ROUTES.items()}
    assert {key: function for key, (function, _) in stack.routes().items()} == declared


@pytest.mark.parametrize("key", ROUTES)
def test_the_function_behind_a_route_answers_it(stack: Synthesized, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # given the code of the function that API Gateway calls, in the environment that the stack gives it
    function, _ = stack.routes()[key]
    for name, value in stack.environment_of(function).items():
        monkeypatch.setenv(name, rendered(value))
    module, _, attribute = stack.properties(function)["Handler"].rpartition(".")
    handler = getattr(importlib.reload(importlib.import_module(module)), attribute)

    # when a request to the route has a fault
    event = {
        "httpMethod": ROUTES[key].method,
        "resource": ROUTES[key].path,
        "pathParameters": dict.fromkeys(ROUTES[key].path_parameters, "test-items"),
        "queryStringParameters": {"colour": "red"},
    }
    answer = handler(event, None)

    # then the function finds it, rather than saying that there is no such route
    assert answer["statusCode"] == 400
    assert {"in": "query", "name": "colour"}.items() <= json.loads(answer["body"])["errors"][0].items()


def rendered(value: Any) -> str:
    """Return a value of the template with references replaced by logical ids."""
    if isinstance(value, dict):
        separator, parts = value.get("Fn::Join", ("", ()))
        parts = parts["Fn::Split"][1:] if isinstance(parts, dict) else parts
        return separator.join(map(rendered, parts)) if "Fn::Join" in value else str(value["Ref"])
    return str(value)


def test_every_method_wants_the_key(stack: Synthesized, chosen: Synthesized) -> None:
    for _, method in [*stack.routes().values(), *chosen.routes().values()]:
        assert method["ApiKeyRequired"] is True
        assert method["Integration"]["Type"] == "AWS_PROXY"


def test_auth_iam_wants_a_signature_besides(stack: Synthesized, chosen: Synthesized) -> None:
    assert {method["AuthorizationType"] for _, method in stack.routes().values()} == {"NONE"}
    assert {method["AuthorizationType"] for _, method in chosen.routes().values()} == {"AWS_IAM"}


def test_key_is_a_parameter_that_nothing_shows(stack: Synthesized) -> None:
    (name, parameter), *others = stack.document["Parameters"].items()
    assert (name, others) == ("ApiKey", [])
    assert parameter["NoEcho"] is True
    assert "Default" not in parameter
    assert (parameter["MinLength"], parameter["MaxLength"]) == (20, 128)
    users = [name for name, each in stack.resources.items() if "ApiKey" in references(each.get("Properties"))]
    assert users == ["ApiClientKey"]
    assert "ApiKey" not in references(stack.document["Outputs"])


def test_key_works_through_a_usage_plan_with_a_throttle(stack: Synthesized) -> None:
    ((plan_id, plan),) = stack.of_type("AWS::ApiGateway::UsagePlan").items()
    assert plan["Throttle"] == {"BurstLimit": 2000, "RateLimit": 1000}
    (membership,) = stack.of_type("AWS::ApiGateway::UsagePlanKey").values()
    assert membership["KeyId"] == {"Ref": "ApiClientKey"}
    assert membership["UsagePlanId"] == {"Ref": plan_id}


def test_api_calls_functions_for_itself_only(stack: Synthesized) -> None:
    permissions = stack.of_type("AWS::Lambda::Permission").values()
    (api,) = stack.of_type("AWS::ApiGateway::RestApi")
    called = {}
    for each in permissions:
        if each["Principal"] == "apigateway.amazonaws.com":
            called[each["FunctionName"]["Fn::GetAtt"][0]] = references(each["SourceArn"]) & {api}
    assert called == {route.function: {api} for route in ROUTES.values()}


def test_stage_writes_access_logs_without_the_key(stack: Synthesized) -> None:
    (stage,) = stack.of_type("AWS::ApiGateway::Stage").values()
    assert stage["AccessLogSetting"]["DestinationArn"] == {"Fn::GetAtt": ["ApiAccessLogs", "Arn"]}
    line = json.loads(stage["AccessLogSetting"]["Format"])
    assert {"requestId", "status", "route", "error"} <= set(line)
    assert "$context.identity.apiKey" not in line.values()


def test_stage_traces_only_when_asked(stack: Synthesized, chosen: Synthesized) -> None:
    (plain,) = stack.of_type("AWS::ApiGateway::Stage").values()
    (traced,) = chosen.of_type("AWS::ApiGateway::Stage").values()
    assert (plain["TracingEnabled"], traced["TracingEnabled"]) == (False, True)


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("INVALID_API_KEY", 403),
        ("MISSING_AUTHENTICATION_TOKEN", 404),
        ("THROTTLED", 429),
        ("REQUEST_TOO_LARGE", 413),
        ("INTEGRATION_TIMEOUT", 504),
        ("DEFAULT_4XX", None),
        ("DEFAULT_5XX", None),
    ],
)
def test_gateway_answers_with_problem_documents(stack: Synthesized, kind: str, status: int | None) -> None:
    responses = stack.of_type("AWS::ApiGateway::GatewayResponse").values()
    (response,) = [each for each in responses if each["ResponseType"] == kind]
    template = response["ResponseTemplates"]["application/json"]
    document = json.loads(template.replace("$context.error.messageString", '"Forbidden"'))
    assert response["ResponseParameters"] == {"gatewayresponse.header.Content-Type": "'application/problem+json'"}
    assert document["type"].startswith("urn:esctl:problem:")
    assert document["detail"] == "Forbidden"
    assert document.get("status") == status
    assert response.get("StatusCode") == (None if status is None else str(status))


def test_call_without_signature_is_forbidden_where_one_is_wanted(chosen: Synthesized) -> None:
    responses = chosen.of_type("AWS::ApiGateway::GatewayResponse").values()
    (response,) = [each for each in responses if each["ResponseType"] == "MISSING_AUTHENTICATION_TOKEN"]
    assert response["StatusCode"] == "403"


def test_deployment_is_another_when_the_api_is(stack: Synthesized, chosen: Synthesized, extended: Synthesized) -> None:
    deployments = {next(iter(each.of_type("AWS::ApiGateway::Deployment"))) for each in (stack, chosen, extended)}
    assert len(deployments) == 3


def test_deployment_waits_for_methods_and_gateway_responses(stack: Synthesized) -> None:
    (deployment,) = stack.of_type("AWS::ApiGateway::Deployment")
    waits = set(stack.resources[deployment]["DependsOn"])
    assert waits >= set(stack.of_type("AWS::ApiGateway::Method"))
    assert waits >= set(stack.of_type("AWS::ApiGateway::GatewayResponse"))


def test_outputs_are_those_of_the_architecture(stack: Synthesized) -> None:
    assert set(stack.document["Outputs"]) == {
        "ApiUrl",
        "ApiId",
        "ApiKeyId",
        "EventsTable",
        "IdempotencyTable",
        "JobsTable",
        "RowsTable",
        "StatesTable",
        "DashboardName",
        "TopicArn",
        "FailureQueueUrl",
        "ReplayQueueUrl",
        "ReplayDeadLetterQueueUrl",
        "TestItemsQueueUrl",
        "TestItemsDeadLetterQueueUrl",
    }
    assert stack.document["Outputs"]["ApiUrl"]["Value"]["Fn::Join"][1][-1] == "/v1"
