"""Stacks on AWS, keys, and boto's errors in an operator's words; moto stands in for AWS."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from botocore import exceptions as boto

from cli.client.aws import Clients, key_for_calls, region_of, translate
from cli.config.keys import choose_key, keep_key
from cli.config.selection import Choice
from cli.config.settings import Settings
from cli.config.targets import AwsTarget, LocalTarget
from cli.errors import AccessError, CliError, ExitCode, NotDeployedError, UnreachableError, UsageError
from cli.shell.session import Session
from cli.terminal.output import Output
from tests.unit.cli.cli_driver import Esctl

REGION = "eu-west-1"
TEMPLATE = {
    "Resources": {"Topic": {"Type": "AWS::SNS::Topic"}},
    "Outputs": {"ApiUrl": {"Value": "https://abc.execute-api.eu-west-1.amazonaws.com/v1/"}, "ApiId": {"Value": "abc"}},
}


@pytest.fixture
def aws() -> Iterator[None]:
    from moto import mock_aws

    with mock_aws():
        yield


def session(esctl: Esctl, **choice: Any) -> Session:
    environment = esctl.environment()
    return Session(environment, Output(environment), Choice(**choice))


def given_stack(name: str) -> None:
    client = Clients(AwsTarget(name, REGION)).client("cloudformation")
    client.create_stack(StackName=name, TemplateBody=json.dumps(TEMPLATE))


@pytest.mark.usefixtures("aws")
def test_stack_deployed_elsewhere_is_looked_up_once_and_kept(esctl: Esctl) -> None:
    given_stack("theirs")

    found = session(esctl, stack_name="theirs", region=REGION).target

    assert found.api_url == "https://abc.execute-api.eu-west-1.amazonaws.com/v1"
    assert found.account == "123456789012"
    assert esctl.targets.all() == [found]
    assert esctl.targets.current() is None


@pytest.mark.usefixtures("aws")
def test_missing_stack_is_not_deployed(esctl: Esctl) -> None:
    result = esctl("list", "--stack-name", "nothing", "--region", REGION)

    assert result.exit_code == ExitCode.NOT_FOUND
    assert "nothing" in result.stderr


@pytest.mark.usefixtures("aws")
def test_key_on_aws_is_the_one_set_otherwise_the_deployed_one(esctl: Esctl) -> None:
    clients = Clients(AwsTarget("esctl", REGION))
    made = clients.client("apigateway").create_api_key(name="k", value="v" * 30, enabled=True)
    target = AwsTarget("esctl", REGION, account="1", outputs={"ApiKeyId": made["id"]})

    assert key_for_calls(target, Settings(api_key="s" * 20), esctl.state, clients) == "s" * 20
    assert key_for_calls(target, Settings(), esctl.state, clients) == "v" * 30


def test_key_that_is_no_valid_header_is_refused_without_showing_it(esctl: Esctl) -> None:
    esctl.knows(AwsTarget("esctl", REGION, account="123456789012", outputs={"ApiUrl": "http://127.0.0.1:9/v1"}))
    esctl.variables["API_KEY"] = "half-of-a-secret\nthe-other-half"

    result = esctl("list")

    assert "secret" not in result.stdout + result.stderr
    assert result.exit_code == ExitCode.USAGE
    assert result.stderr.startswith("error: API_KEY can't be used")
    assert not esctl.state.path("crash.log").exists()


def test_unknown_key_is_an_error_with_a_hint(esctl: Esctl) -> None:
    target = AwsTarget("esctl", REGION)

    with pytest.raises(AccessError) as caught:
        key_for_calls(target, Settings(), esctl.state, Clients(target))

    assert "API_KEY" in caught.value.hint


def test_local_key_is_generated_once_and_kept(esctl: Esctl) -> None:
    target = LocalTarget("esctl", "us-east-1")

    first = choose_key(target, Settings(), esctl.state, has_key=False)

    assert first is not None
    assert len(first) >= 20
    keep_key(target, esctl.state, first)
    assert choose_key(target, Settings(), esctl.state, has_key=True) == first
    assert key_for_calls(target, Settings(api_key="s" * 20), esctl.state, Clients(target)) == first


def test_key_set_at_deployment_also_overrides_the_local_one(esctl: Esctl) -> None:
    target = LocalTarget("esctl", "us-east-1")
    keep_key(target, esctl.state, "kept" * 5)

    assert choose_key(target, Settings(api_key="s" * 20), esctl.state, has_key=True) == "s" * 20


def answer(code: str, message: str = "a reason") -> boto.ClientError:
    return boto.ClientError({"Error": {"Code": code, "Message": message}}, "DescribeStacks")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (answer("AccessDenied"), AccessError),
        (answer("ExpiredToken"), AccessError),
        (answer("UnrecognizedClientException"), AccessError),
        (answer("ValidationError", "Stack with id x does not exist"), NotDeployedError),
        (answer("Throttling"), CliError),
        (boto.NoCredentialsError(), AccessError),
        (boto.ProfileNotFound(profile="x"), AccessError),
        (boto.NoRegionError(), UsageError),
        (boto.EndpointConnectionError(endpoint_url="https://sts.eu-west-1.amazonaws.com"), UnreachableError),
        (boto.ConnectTimeoutError(endpoint_url="https://sts.eu-west-1.amazonaws.com"), UnreachableError),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_error_of_boto_becomes_a_cli_error_with_a_hint(error: Exception, kind: type[CliError]) -> None:
    translated = translate(error)

    assert type(translated) is kind
    assert "Traceback" not in translated.message


ME = "arn:aws:sts::123456789012:assumed-role/Ops/me"
GROUP = "arn:aws:logs:eu-west-1:123456789012:log-group:/aws/lambda/a:log-stream:"


@pytest.mark.parametrize(
    ("said", "message", "hint"),
    [
        (
            f"User: {ME} is not authorized to perform: logs:FilterLogEvents on resource: {GROUP} because no identity-based "
            "policy allows the logs:FilterLogEvents action",
            f"access denied: {ME} is not allowed logs:FilterLogEvents on {GROUP} (no identity-based policy allows it)",
            "grant logs:FilterLogEvents",
        ),
        (  # S3 puts the resource in quotes
            f'User: {ME} is not authorized to perform: s3:PutObject on resource: "arn:aws:s3:::b/a key" because no '
            "permissions boundary allows the s3:PutObject action",
            f"access denied: {ME} is not allowed s3:PutObject on arn:aws:s3:::b/a key (no permissions boundary allows it)",
            "grant s3:PutObject",
        ),
        (
            f"User: {ME} is not authorized to perform: sqs:receivemessage on resource: arn:aws:sqs:eu-west-1:1:q with an "
            "explicit deny in a service control policy",
            f"access denied: {ME} is not allowed sqs:receivemessage on arn:aws:sqs:eu-west-1:1:q (explicit deny in a "
            "service control policy)",
            "remove the deny",
        ),
        (  # no reason, but a blob for `aws sts decode-authorization-message`
            f"User: {ME} is not authorized to perform: iam:PassRole on resource: arn:aws:iam::1:role/r. Encoded "
            "authorization failure message: uzhQeqw3RXzAVbBps8w4",
            f"access denied: {ME} is not allowed iam:PassRole on arn:aws:iam::1:role/r",
            "grant iam:PassRole",
        ),
        (
            f"User: {ME} is not authorized to perform: iam:ListRoles because no session policy allows the iam:ListRoles "
            "action",
            f"access denied: {ME} is not allowed iam:ListRoles (no session policy allows it)",
            "grant iam:ListRoles",
        ),
        ("Access Denied", "DescribeStacks was refused: Access Denied", "--profile"),
    ],
)
def test_a_missing_permission_is_one_line_with_action_and_resource(said: str, message: str, hint: str) -> None:
    translated = translate(answer("AccessDenied", said))

    assert isinstance(translated, AccessError)
    assert translated.message == message
    assert hint in translated.hint


def test_other_errors_are_not_translated() -> None:
    assert translate(KeyError("x")) is None


def test_region_is_that_of_the_flag_otherwise_the_configured_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-west-2")

    assert region_of(AwsTarget("esctl", REGION)) == REGION
    assert region_of(AwsTarget("esctl", "")) == "us-west-2"


def test_missing_region_is_an_error_with_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)

    with pytest.raises(UsageError, match="no AWS region"):
        region_of(AwsTarget("esctl", ""))


def test_local_target_ignores_the_configuration_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "that-does-not-exist")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://elsewhere.invalid")

    target = LocalTarget("esctl", "us-east-1").with_endpoint("http://127.0.0.1:9", "the-access-key")
    client = Clients(target).client("sqs")

    assert client.meta.endpoint_url == "http://127.0.0.1:9"
