"""boto3 clients of a target, what AWS knows about it, and boto3's errors in an operator's words."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, overload

from cli.config.keys import keep_key, kept_key
from cli.config.settings import Settings
from cli.config.state import State
from cli.config.targets import AccessKey, AwsTarget, LocalTarget, Target
from cli.errors import AccessError, CliError, NotDeployedError, UsageError

if TYPE_CHECKING:
    from boto3.session import Session
    from mypy_boto3_apigateway import APIGatewayClient
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sts import STSClient

_CONNECT_TIMEOUT_S = 5
_READ_TIMEOUT_S = 30
_POOL_SIZE = 16

_NO_REGION, _NAME_A_REGION = "no AWS region is chosen", "Name one:  --region eu-central-1  (or set AWS_REGION)"
_NO_CREDENTIALS = "Sign in (aws sso login, aws configure), or name a profile with --profile."
_ACCESS_CODES = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "AuthFailure",
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "OptInRequired",
        "RequestExpired",
        "SignatureDoesNotMatch",
        "UnauthorizedOperation",
        "UnrecognizedClientException",
    }
)
# https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html; S3 quotes the resource.
_DENIAL = re.compile(
    r"User: (?P<who>.+?) is not authorized to perform: (?P<action>[\w-]+:[\w*]+)"
    r'(?: on resource: "?(?P<resource>.+?)"?)?'
    r"(?: because (?P<missing>no .+? allows) the .*| with an (?P<deny>explicit deny in .+?))?"
    r"(?:\.? Encoded authorization failure message: .*)?\.?"
)


class Clients:
    """boto3 clients for one target, created on first use.

    The local target has its own credentials and ignores the user's configuration: neither a missing profile nor a proxy
    affects it.
    """

    def __init__(self, target: Target) -> None:
        self.target = target
        self._clients: dict[str, Any] = {}

    @overload
    def client(self, service: Literal["apigateway"]) -> APIGatewayClient: ...
    @overload
    def client(self, service: Literal["cloudformation"]) -> CloudFormationClient: ...
    @overload
    def client(self, service: Literal["cloudwatch"]) -> CloudWatchClient: ...
    @overload
    def client(self, service: Literal["dynamodb"]) -> DynamoDBClient: ...
    @overload
    def client(self, service: Literal["lambda"]) -> LambdaClient: ...
    @overload
    def client(self, service: Literal["logs"]) -> CloudWatchLogsClient: ...
    @overload
    def client(self, service: Literal["s3"]) -> S3Client: ...
    @overload
    def client(self, service: Literal["sns"]) -> SNSClient: ...
    @overload
    def client(self, service: Literal["sqs"]) -> SQSClient: ...
    @overload
    def client(self, service: Literal["sts"]) -> STSClient: ...
    def client(self, service: str) -> Any:
        """Return the client of one service; the same one on every call.

        Raises
        ------
        CliError
            No region is configured, or the profile does not exist.
        """
        if service not in self._clients:
            from botocore.config import Config

            settings: Any = self.target.client_settings
            config = Config(
                connect_timeout=_CONNECT_TIMEOUT_S,
                read_timeout=_READ_TIMEOUT_S,
                max_pool_connections=_POOL_SIZE,
                user_agent_extra="esctl",
                **settings,
            )
            with errors():
                make: Any = self.session.client
                self._clients[service] = make(service, endpoint_url=self.target.endpoint_url, config=config)
        return self._clients[service]

    def credentials(self) -> AccessKey | None:
        """Return what signs the calls to the API; None if there are no credentials.

        Raises
        ------
        NotRunningError
            The local target is not running.
        """
        own = self.target.own_credentials()
        if own is not None:
            return own
        with errors():
            found = self.session.get_credentials()
            if found is None:
                return None
            frozen: Any = found.get_frozen_credentials()  # the stubs allow an access key of None
            return AccessKey(frozen.access_key, frozen.secret_key, frozen.token)

    @cached_property
    def session(self) -> Session:
        with errors():
            own = self.target.own_credentials()
            return _aws_session(self.target) if own is None else _isolated_session(own, self.target.region)


@contextmanager
def errors() -> Iterator[None]:
    """Turn what boto3 raises in the block into a `CliError`."""
    try:
        yield
    except Exception as error:
        translated = None if isinstance(error, CliError) else translate(error)
        if translated is None:
            raise
        raise translated from error


def translate(error: BaseException) -> CliError | None:
    """Return an error of boto3 in an operator's words; None for any other error.

    The outermost shell applies it to every error that reaches it, so commands need not.
    """
    from botocore import exceptions as boto

    if isinstance(error, boto.ClientError):
        return _translate_answer(error)
    if isinstance(error, boto.NoCredentialsError | boto.PartialCredentialsError):
        return AccessError("no AWS credentials: none were found, or they are incomplete", _NO_CREDENTIALS)
    if isinstance(error, boto.ProfileNotFound):
        return AccessError(str(error), "List the profiles:  aws configure list-profiles")
    if isinstance(error, boto.TokenRetrievalError | boto.UnauthorizedSSOTokenError | boto.SSOTokenLoadError):
        return AccessError(f"the sign-in is no longer valid: {error}", "Sign in again:  aws sso login")
    if isinstance(error, boto.CredentialRetrievalError):
        return AccessError(f"can't get AWS credentials: {error}", _NO_CREDENTIALS)
    if isinstance(error, boto.NoRegionError):
        return UsageError(_NO_REGION, _NAME_A_REGION)
    if isinstance(error, boto.HTTPClientError | boto.ConnectionError | boto.EndpointConnectionError):
        url = str(getattr(error, "kwargs", {}).get("endpoint_url") or "AWS")
        return (LocalTarget if "127.0.0.1" in url else AwsTarget).unreachable(url)
    if isinstance(error, boto.WaiterError):
        return CliError(f"timed out waiting: {error}")
    if isinstance(error, boto.BotoCoreError):
        return CliError(f"AWS call failed: {error}")
    return None


def _translate_answer(error: Any) -> CliError:
    problem = error.response.get("Error", {})
    code, message = str(problem.get("Code", "")), str(problem.get("Message", "")).strip()
    operation = error.operation_name
    denied = denial(message)
    if denied is not None:
        return denied
    if code in _ACCESS_CODES:
        hint = "Ask for the permission, or use another profile (--profile)."
        if code in ("ExpiredToken", "ExpiredTokenException", "RequestExpired"):
            hint = "Sign in again:  aws sso login"
        return AccessError(f"{operation} was refused: {message or code}", hint)
    if code == "ValidationError" and "does not exist" in message and "tack" in message:
        return NotDeployedError(f"not deployed: {message}", "Deploy it:  esctl deploy")
    return CliError(f"{operation} failed: {message or code}")


def denial(message: str) -> AccessError | None:
    """Turn IAM's message about a missing permission into one line that names action and resource; None for any other."""
    found = _DENIAL.fullmatch(message.strip())
    if found is None:
        return None
    action, deny = found["action"], found["deny"]
    where = f" on {found['resource']}" if found["resource"] else ""
    why = deny or (f"{found['missing']} it" if found["missing"] else "")
    wanted = "remove the deny" if deny else f"grant {action}"
    hint = f"Ask an administrator to {wanted}, or use another profile:  --profile NAME"
    return AccessError(
        f"access denied: {found['who']} is not allowed {action}{where}{f' ({why})' if why else ''}", hint
    )


def region_of(target: Target) -> str:
    """Return the target's region, by default the one that the user's AWS configuration names.

    Raises
    ------
    UsageError
        There is none.
    """
    # botocore itself reads AWS_DEFAULT_REGION only; the other AWS SDKs, and the AWS CLI's documentation, say AWS_REGION
    region = target.region or os.environ.get("AWS_REGION") or Clients(target).session.region_name
    if not region:
        raise UsageError(_NO_REGION, _NAME_A_REGION)
    return region


def account_of(clients: Clients) -> str:
    """Return the number of the account that the credentials belong to."""
    with errors():
        return clients.client("sts").get_caller_identity()["Account"]


def stack_outputs(clients: Clients, stack_name: str) -> dict[str, str]:
    """Return the outputs of a deployed stack, from CloudFormation.

    Raises
    ------
    NotDeployedError, AccessError, CliError
    """
    with errors():
        stacks = clients.client("cloudformation").describe_stacks(StackName=stack_name)["Stacks"]
    return {
        output["OutputKey"]: output["OutputValue"]
        for output in (stacks[0].get("Outputs", []) if stacks else [])
        if "OutputKey" in output and "OutputValue" in output
    }


def look_up(target: Target) -> Target:
    """Complete a target with its region, account and outputs, as AWS or the emulator reports them."""
    if not isinstance(target, AwsTarget):
        return target.with_outputs(stack_outputs(Clients(target), target.stack_name))
    target = replace(target, region=region_of(target))
    clients = Clients(target)
    return replace(target, outputs=stack_outputs(clients, target.stack_name), account=account_of(clients))


def key_for_calls(target: Target, settings: Settings, state: State, clients: Clients) -> str:
    """Return the key that the deployed API requires: the one set or kept here, otherwise the deployed one.

    Raises
    ------
    AccessError
        It is unknown here, or may not be read.
    SettingError
        ``API_KEY`` is invalid. Checked first: the HTTP library's error for an invalid header would quote the whole key.
    """
    key = kept_key(target, state) if target.keeps_key else settings.checked_api_key()
    if key is None:
        key = _deployed_key(target, clients)
        if key is not None and target.keeps_key:
            keep_key(target, state, key)
    if key is None:
        raise AccessError(f"the API key of {target.label} is not known here", f"Make it known:  {target.key_hint}")
    return key


def _deployed_key(target: Target, clients: Clients) -> str | None:
    identifier = target.outputs.get("ApiKeyId")
    if identifier is None:
        return None
    with errors():
        return clients.client("apigateway").get_api_key(apiKey=identifier, includeValue=True).get("value")


def _isolated_session(credentials: AccessKey, region: str) -> Session:
    import boto3.session
    import botocore.session

    bare = botocore.session.Session(
        # (configuration key, environment variables, default, conversion): reads no variable and no file
        session_vars={
            "profile": (None, [], None, None),
            "config_file": (None, None, os.devnull, None),
            "credentials_file": (None, None, os.devnull, None),
        }
    )
    return boto3.session.Session(
        aws_access_key_id=credentials.access_key,
        aws_secret_access_key=credentials.secret_key,
        region_name=region,
        botocore_session=bare,
    )


def _aws_session(target: Target) -> Session:
    import boto3.session

    return boto3.session.Session(profile_name=target.profile, region_name=target.region or None)
