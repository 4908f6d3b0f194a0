"""The two kinds of target, and what tells them apart."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, ClassVar, Literal, NamedTuple, Self
from urllib.parse import quote, urlsplit

from cli.errors import CliError, NotRunningError, UnreachableError
from stack.settings import DEFAULT_STACK_NAME

Kind = Literal["local", "aws"]

LOCAL_REGION = "us-east-1"
LOCAL_ACCOUNT = "000000000000"  # the emulator's only account
UNKNOWN_ACCOUNT = "unknown"  # in the name of a record

_EMULATOR_ADDRESS = re.compile(r"^http://(?:127\.0\.0\.1|localhost):\d+")

# https://docs.aws.amazon.com/whitepapers/latest/aws-fault-isolation-boundaries/partitions.html; botocore has no consoles.
_CONSOLE_DOMAINS = {"cn-": "amazonaws.cn", "us-gov-": "amazonaws-us-gov.com"}


class AccessKey(NamedTuple):
    """The credentials that sign a call."""

    access_key: str
    secret_key: str
    token: str | None = None


@dataclass(frozen=True, slots=True)
class _Target:
    """What both kinds of target have."""

    kind: ClassVar[Kind]
    is_local: ClassVar[bool] = False
    poll_s: ClassVar[float]  # between two polls of an operation
    stall_s: ClassVar[float | None] = None  # after so long without an event, an operation will never end
    has_metrics: ClassVar[bool]  # in CloudWatch
    keeps_key: ClassVar[bool]  # the stack's API key, in the state directory
    needs_approval: ClassVar[bool]  # for a new stack, new permissions and removing a failed stack
    uses_proxy: ClassVar[bool]  # as the environment says
    connect_retries_max: ClassVar[int | None]  # retries of a refused connection; None for no own limit
    client_settings: ClassVar[Mapping[str, Any]]  # of boto3's clients (`botocore.config.Config`)

    stack_name: str
    region: str
    outputs: Mapping[str, str] = field(default_factory=dict, kw_only=True)  # of the last deployment; empty before it

    @property
    def account(self) -> str | None:
        """The account's number; None on AWS until it was looked up."""
        return None

    @property
    def record(self) -> str:
        """The name under which this target is remembered."""
        return f"{self.kind}-{self.account or UNKNOWN_ACCOUNT}-{self.region}-{self.stack_name}"

    @property
    def console_urls(self) -> dict[str, str]:
        """Pages about the stack in the AWS console, by name; empty without a console."""
        return {}

    def trace_url(self, trace_id: str) -> str | None:
        """Return an X-Ray trace's page in the AWS console; None without a console."""
        return None

    def own_credentials(self) -> AccessKey | None:
        """Return the target's own credentials; None for those that the user has configured."""
        return None

    def with_endpoint(self, endpoint_url: str | None, access_key: str | None = None) -> Self:
        """Return the target at the emulator's present address; unchanged on AWS."""
        return self

    def with_outputs(self, outputs: Mapping[str, str]) -> Self:
        return replace(self, outputs=dict(outputs))


@dataclass(frozen=True, slots=True)
class LocalTarget(_Target):
    """A stack on this machine's emulator. The user's AWS configuration, profile and proxy never apply to it."""

    kind = "local"
    is_local = True
    poll_s = 0.1
    stall_s = 30.0  # a resource takes a second, but an operation never ends if the emulator was killed during it
    has_metrics = False
    keeps_key = True
    needs_approval = False
    uses_proxy = False
    connect_retries_max = 0  # nothing listens at the port: the emulator is stopped, and waiting does not start it
    client_settings = MappingProxyType(
        {
            "retries": {"total_max_attempts": 2, "mode": "standard"},
            "proxies": {},  # none at all, not even those of HTTP_PROXY
            "s3": {"addressing_style": "path"},  # the emulator has no host per bucket
        }
    )

    profile: ClassVar[None] = None
    endpoint_url: str | None = None
    access_key: str | None = field(default=None, repr=False)  # the id that the running emulator requires

    @property
    def account(self) -> str:
        return LOCAL_ACCOUNT

    @property
    def api_url(self) -> str | None:
        """The API's base URL, composed each time.

        The emulator's port may have changed since the deployment, and the ``amazonaws.com`` address in the outputs
        does not resolve.
        """
        url = self.outputs.get("ApiUrl", "").rstrip("/")
        if not url:
            return None
        path = urlsplit(url).path.strip("/").split("/")
        stage = path[2] if path[:1] == ["restapis"] and len(path) > 2 else path[0]
        return f"{self.endpoint_url}/restapis/{self.outputs.get('ApiId', '')}/{stage}/_user_request_"

    @property
    def label(self) -> str:
        return f"stack {self.stack_name} on the local target"

    @property
    def place(self) -> str:
        return f"on the local target ({self.endpoint_url})"

    @property
    def location(self) -> dict[str, str | None]:
        return {"endpointUrl": self.endpoint_url}

    @property
    def flags(self) -> str:
        region = "" if self.region == LOCAL_REGION else f" --region {self.region}"
        return f"--local{name_flag(self.stack_name)}{region}"

    @property
    def key_hint(self) -> str:
        return f"esctl deploy {self.flags}"

    def own_credentials(self) -> AccessKey:
        if self.endpoint_url is None or self.access_key is None:
            # Another process may listen at its last address: neither its access key nor the API key is sent there.
            raise NotRunningError("the local target is not running", "Start it:  esctl local start")
        return AccessKey(self.access_key, self.access_key)  # the emulator does not check signatures

    @staticmethod
    def unreachable(url: str) -> CliError:
        return UnreachableError(f"the local target does not answer: {url}", "Start it:  esctl local start")

    def with_endpoint(self, endpoint_url: str | None, access_key: str | None = None) -> Self:
        """Return the target at the emulator's present address; addresses in its outputs follow."""
        if endpoint_url is None:
            return replace(self, endpoint_url=None, access_key=None)
        moved = {name: _EMULATOR_ADDRESS.sub(endpoint_url, value) for name, value in self.outputs.items()}
        return replace(self, endpoint_url=endpoint_url, access_key=access_key, outputs=moved)


@dataclass(frozen=True, slots=True)
class AwsTarget(_Target):
    """A stack in an account on AWS; its region is empty until it was looked up."""

    kind = "aws"
    poll_s = 2.0  # polling CloudFormation more often is throttled, especially while two stacks deploy at once
    has_metrics = True
    keeps_key = False
    needs_approval = True
    uses_proxy = True
    connect_retries_max = None
    client_settings = MappingProxyType({"retries": {"total_max_attempts": 4, "mode": "standard"}})

    endpoint_url: ClassVar[None] = None
    profile: str | None = None  # whose credentials are used
    account: str | None = None  # until it was looked up

    @property
    def api_url(self) -> str | None:
        return self.outputs.get("ApiUrl", "").rstrip("/") or None

    @property
    def label(self) -> str:
        return f"stack {self.stack_name} in {self.account or 'AWS'}/{self.region}"

    @property
    def place(self) -> str:
        return f"in account {self.account}, region {self.region}"

    @property
    def location(self) -> dict[str, str | None]:
        return {"account": self.account}

    @property
    def flags(self) -> str:
        profile = f" --profile {self.profile}" if self.profile else ""
        return f"--region {self.region}{name_flag(self.stack_name)}{profile}"

    @property
    def key_hint(self) -> str:
        return "set API_KEY to the key it was deployed with"

    @property
    def console_urls(self) -> dict[str, str]:
        api = self.outputs.get("ApiId", "")
        urls = {
            "apiConsoleUrl": f"{self._console}/apigateway/main/apis/{api}/resources?api={api}&region={self.region}",
            # The console escapes the fragment twice, with "$" for "%".
            "logsUrl": self._cloudwatch(f"logsV2:log-groups$3FlogGroupNameFilter$3D{quote(self.stack_name, safe='')}"),
            "tracesUrl": self._cloudwatch("xray:traces"),
        }
        if "DashboardName" in self.outputs:  # missing in a stack that an older version deployed
            name = quote(self.outputs["DashboardName"], safe="")
            urls["dashboardUrl"] = self._cloudwatch(f"dashboards/dashboard/{name}")
        return urls

    def trace_url(self, trace_id: str) -> str:
        """Return an X-Ray trace's page in the AWS console.

        Examples
        --------
        >>> AwsTarget("esctl", "eu-central-1").trace_url("1-5759e988-bd862e3fe1be46a994272793")
        'https://eu-central-1.console.aws.amazon.com/cloudwatch/home?region=eu-central-1#xray:traces/1-5759e988-bd862e3fe1be46a994272793'
        """
        return self._cloudwatch(f"xray:traces/{quote(trace_id, safe='')}")

    @staticmethod
    def unreachable(url: str) -> CliError:
        return UnreachableError(f"can't reach {url}", "Check the network, the proxy settings and the region.")

    def _cloudwatch(self, fragment: str) -> str:
        return f"{self._console}/cloudwatch/home?region={self.region}#{fragment}"

    @property
    def _console(self) -> str:
        domains = (domain for prefix, domain in _CONSOLE_DOMAINS.items() if self.region.startswith(prefix))
        return f"https://{self.region}.console.{next(domains, 'aws.amazon.com')}"


Target = LocalTarget | AwsTarget
"""One stack, deployed or about to be."""


def name_flag(name: str | None) -> str:
    """Return the flag that names a stack; empty for the default stack."""
    return "" if name in (None, DEFAULT_STACK_NAME) else f" --stack-name {name}"
