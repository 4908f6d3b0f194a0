"""The one place that makes boto3 clients, and that turns what they raise into errors an operator understands."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, Literal, cast, overload

from cli.client.signing import AccessKey, Credentials
from cli.config.targets import Target
from cli.errors import AccessError, CliError, NotDeployedError, NotRunningError, UnreachableError, UsageError

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
_ATTEMPTS_MAX = 4
_POOL_SIZE = 16

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
    """boto3 clients for one target, made when they are first asked for.

    The local target gets credentials of its own and nothing of the user's configuration: neither a profile that does not
    exist, nor a proxy, can disturb it.
    """

    def __init__(self, target: Target) -> None:
        self.target = target
        self._session: Session | None = None
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
        """The client of one service; the same one at every call.

        Raises
        ------
        CliError
            No region, or a profile that does not exist.
        """
        if service not in self._clients:
            self._clients[service] = self._make(service)
        return self._clients[service]

    def credentials(self) -> Credentials | None:
        """What calls to the API are signed with; None where there are no credentials.

        Raises
        ------
        NotRunningError
            The local target is not running.
        """
        if self.target.is_local:
            return _local_credentials(self.target)
        with errors():
            found = self.session.get_credentials()
            return None if found is None else cast(Credentials, found.get_frozen_credentials())

    @property
    def session(self) -> Session:
        if self._session is None:
            with errors():
                self._session = _local_session(self.target) if self.target.is_local else _aws_session(self.target)
        return self._session

    def _make(self, service: str) -> Any:
        from botocore.config import Config

        local = self.target.is_local
        config = Config(
            connect_timeout=_CONNECT_TIMEOUT_S,
            read_timeout=_READ_TIMEOUT_S,
            retries={"total_max_attempts": 2 if local else _ATTEMPTS_MAX, "mode": "standard"},
            max_pool_connections=_POOL_SIZE,
            # {} means none at all, not even those of HTTP_PROXY
            proxies={} if local else None,
            # the emulator has no host per bucket
            s3={"addressing_style": "path"} if local else None,
            user_agent_extra="esctl",
        )
        with errors():
            make: Any = self.session.client
            return make(service, endpoint_url=self.target.endpoint_url, config=config)


class errors:  # noqa: N801 - used as ``with errors():``
    """Turns what boto3 raises in the block into `CliError`."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is None or isinstance(error, CliError):
            return
        translated = translate(error)
        if translated is not None:
            raise translated from error


def translate(error: BaseException) -> CliError | None:
    """The operator's view of an error of boto3; None where it is none of these.

    The outermost shell does this for everything that reaches it, so commands need not.
    """
    from botocore import exceptions as boto

    if isinstance(error, boto.ClientError):
        return _translate_answer(error)
    if isinstance(error, boto.NoCredentialsError | boto.PartialCredentialsError):
        return AccessError("no AWS credentials: none were found, or only in part", _NO_CREDENTIALS)
    if isinstance(error, boto.ProfileNotFound):
        return AccessError(str(error), "List the profiles:  aws configure list-profiles")
    if isinstance(error, boto.TokenRetrievalError | boto.UnauthorizedSSOTokenError | boto.SSOTokenLoadError):
        return AccessError(f"the sign-in is no longer valid: {error}", "Sign in again:  aws sso login")
    if isinstance(error, boto.CredentialRetrievalError):
        return AccessError(f"can't get AWS credentials: {error}", _NO_CREDENTIALS)
    if isinstance(error, boto.NoRegionError):
        return UsageError("no AWS region is chosen", "Name one:  --region eu-central-1  (or set AWS_REGION)")
    if isinstance(error, boto.HTTPClientError | boto.ConnectionError | boto.EndpointConnectionError):
        return unreachable(str(getattr(error, "kwargs", {}).get("endpoint_url") or "AWS"))
    if isinstance(error, boto.WaiterError):
        return CliError(f"waited in vain: {error}")
    if isinstance(error, boto.BotoCoreError):
        return CliError(f"AWS call failed: {error}")
    return None


def unreachable(url: str, target: Target | None = None) -> CliError:
    """Nobody answers at ``url``."""
    if "127.0.0.1" in url or (target is not None and target.is_local):
        return UnreachableError(f"the local target does not answer: {url}", "Start it:  esctl local start")
    return UnreachableError(f"can't reach {url}", "Check the network, the proxy settings and the region.")


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
    """The region that the user's configuration names for AWS.

    Raises
    ------
    UsageError
        There is none.
    """
    # botocore itself reads AWS_DEFAULT_REGION only; the other AWS SDKs, and the AWS CLI's documentation, say AWS_REGION
    region = target.region or os.environ.get("AWS_REGION") or Clients(target).session.region_name
    if not region:
        raise UsageError("no AWS region is chosen", "Name one:  --region eu-central-1  (or set AWS_REGION)")
    return region


def stack_outputs(clients: Clients, stack_name: str) -> dict[str, str]:
    """The outputs of a deployed stack, from CloudFormation.

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


def account_of(clients: Clients) -> str:
    """The number of the account that the credentials belong to."""
    with errors():
        return clients.client("sts").get_caller_identity()["Account"]


def _local_credentials(target: Target) -> AccessKey:
    if target.endpoint_url is None or target.access_key is None:
        # Somebody else may listen at its last address: neither its access key nor the API key is sent there.
        raise NotRunningError("the local target is not running", "Start it:  esctl local start")
    return AccessKey.of_local_target(target.access_key)


def _local_session(target: Target) -> Session:
    import boto3.session
    import botocore.session

    credentials = _local_credentials(target)
    bare = botocore.session.Session(
        # (configuration key, environment variables, default, conversion): no variable and no file is looked at
        session_vars={
            "profile": (None, [], None, None),
            "config_file": (None, None, os.devnull, None),
            "credentials_file": (None, None, os.devnull, None),
        }
    )
    return boto3.session.Session(
        aws_access_key_id=credentials.access_key,
        aws_secret_access_key=credentials.secret_key,
        region_name=target.region,
        botocore_session=bare,
    )


def _aws_session(target: Target) -> Session:
    import boto3.session

    return boto3.session.Session(profile_name=target.profile, region_name=target.region or None)
