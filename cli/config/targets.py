"""Which deployed stack a command talks to, and what is remembered about it.

A flag decides; otherwise ``ESCTL_TARGET`` and ``STACK_NAME``; otherwise the stack deployed last. Ambient credentials
never select AWS.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, ClassVar, Literal, NamedTuple, Self
from urllib.parse import quote, urlsplit

from cli.config.settings import DEFAULT_STACK_NAME, Settings, checked_stack_name
from cli.config.state import State
from cli.errors import (
    CliError,
    NoTargetError,
    NotDeployedError,
    NotRunningError,
    UnreachableError,
    UsageError,
)

Kind = Literal["local", "aws"]

LOCAL_REGION = "us-east-1"
LOCAL_ACCOUNT = "000000000000"  # the emulator's only account

_EMULATOR_ADDRESS = re.compile(r"^http://(?:127\.0\.0\.1|localhost):\d+")

# https://docs.aws.amazon.com/whitepapers/latest/aws-fault-isolation-boundaries/partitions.html; botocore has no consoles.
_CONSOLE_DOMAINS = {"cn-": "amazonaws.cn", "us-gov-": "amazonaws-us-gov.com"}

_FOLDER = "targets"
_UNKNOWN_ACCOUNT = "unknown"
_REGION = r"[a-z]{2}(?:-[a-z0-9]+)+?-\d"
_RECORD = re.compile(
    rf"(?P<kind>local|aws)-(?P<account>\d{{12}}|{_UNKNOWN_ACCOUNT})-(?P<region>{_REGION})-(?P<name>.+)"
)
_CURRENT = "current.json"


@dataclass(frozen=True, slots=True)
class Choice:
    """The target flags of one command; None for a flag that was not given."""

    local: bool = False
    stack_name: str | None = None
    region: str | None = None
    profile: str | None = None


class AccessKey(NamedTuple):
    """The credentials that sign a call."""

    access_key: str
    secret_key: str
    token: str | None = None


@dataclass(frozen=True, slots=True)
class Target(ABC):
    """One stack, deployed or about to be: a `LocalTarget` or an `AwsTarget`.

    Attributes
    ----------
    outputs
        The stack's outputs at the last deployment; empty before it.
    poll_s
        Seconds between two polls of an operation.
    has_metrics
        Whether CloudWatch has metrics of the stack.
    uses_proxy
        Whether calls follow the proxy settings of the environment.
    connect_retries_max
        How often a refused connection is retried; None for no own limit.
    client_settings
        Settings of boto3's clients (`botocore.config.Config`).
    """

    kind: ClassVar[Kind]
    is_local: ClassVar[bool] = False
    poll_s: ClassVar[float]
    has_metrics: ClassVar[bool]
    uses_proxy: ClassVar[bool]
    connect_retries_max: ClassVar[int | None]
    client_settings: ClassVar[Mapping[str, Any]]

    stack_name: str
    region: str
    outputs: Mapping[str, str] = field(default_factory=dict, kw_only=True)

    @property
    def account(self) -> str | None:
        """The account's number; None on AWS until it was looked up."""
        return None

    @property
    def profile(self) -> str | None:
        """The profile whose credentials are used on AWS."""
        return None

    @property
    def endpoint_url(self) -> str | None:
        """The emulator's address; None on AWS."""
        return None

    @property
    @abstractmethod
    def api_url(self) -> str | None:
        """The API's base URL, without a trailing slash; None before the deployment."""

    @property
    @abstractmethod
    def label(self) -> str:
        """The target in a few words, for messages."""

    @property
    @abstractmethod
    def place(self) -> str:
        """The location of the stack, for messages: ``in account 123456789012, region eu-west-1``."""

    @property
    @abstractmethod
    def location(self) -> dict[str, str | None]:
        """The location of the stack, for JSON output."""

    @property
    @abstractmethod
    def flags(self) -> str:
        """The flags that choose this target, for hints."""

    @property
    @abstractmethod
    def key_hint(self) -> str:
        """How to make an unknown API key known."""

    @property
    def record(self) -> str:
        """The name under which this target is remembered."""
        return f"{self.kind}-{self.account or _UNKNOWN_ACCOUNT}-{self.region}-{self.stack_name}"

    @property
    def console_urls(self) -> dict[str, str]:
        """Pages about the stack in the AWS console, by name; empty without a console."""
        return {}

    def trace_url(self, trace_id: str) -> str | None:
        """Return an X-Ray trace's page in the AWS console; None without a console."""
        return None

    def own_credentials(self) -> AccessKey | None:
        """Return the target's own credentials; None for those that the user has configured.

        Raises
        ------
        NotRunningError
            The local target is not running.
        """
        return None

    @staticmethod
    @abstractmethod
    def unreachable(url: str) -> CliError:
        """Return the error for an endpoint that does not answer."""

    def with_endpoint(self, endpoint_url: str | None, access_key: str | None = None) -> Self:
        """Return the target at the emulator's present address; unchanged on AWS."""
        return self

    def with_outputs(self, outputs: Mapping[str, str]) -> Self:
        return replace(self, outputs=dict(outputs))


@dataclass(frozen=True, slots=True)
class LocalTarget(Target):
    """A stack on this machine's emulator. The user's AWS configuration, profile and proxy never apply to it.

    Attributes
    ----------
    access_key
        The access key id that the emulator requires; None while it is not running.
    """

    kind = "local"
    is_local = True
    poll_s = 0.1
    has_metrics = False
    uses_proxy = False
    connect_retries_max = 0  # nothing listens at the port: the emulator is stopped, and waiting does not start it
    client_settings = MappingProxyType(
        {
            "retries": {"total_max_attempts": 2, "mode": "standard"},
            "proxies": {},  # none at all, not even those of HTTP_PROXY
            "s3": {"addressing_style": "path"},  # the emulator has no host per bucket
        }
    )

    endpoint_url: str | None = None
    access_key: str | None = field(default=None, repr=False)

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
        return f"--local{_name_flag(self.stack_name)}{region}"

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
class AwsTarget(Target):
    """A stack in an account on AWS; its region is empty until it was looked up."""

    kind = "aws"
    poll_s = 2.0  # polling CloudFormation more often is throttled, especially while two stacks deploy at once
    has_metrics = True
    uses_proxy = True
    connect_retries_max = None
    client_settings = MappingProxyType({"retries": {"total_max_attempts": 4, "mode": "standard"}})

    profile: str | None = None
    account: str | None = None

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
        return f"--region {self.region}{_name_flag(self.stack_name)}{profile}"

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


class Targets:
    """The targets remembered in the state directory."""

    def __init__(self, state: State) -> None:
        self._state = state

    def remember(self, target: Target, *, current: bool = True) -> None:
        """Store a deployed target with its outputs; by default it becomes the current one."""
        self._state.write_json(
            {
                "kind": target.kind,
                "stackName": target.stack_name,
                "region": target.region,
                "profile": target.profile,
                "account": target.account,
                "outputs": dict(target.outputs),
            },
            _FOLDER,
            f"{target.record}.json",
        )
        if current:
            self._state.write_json({"target": target.record}, _CURRENT)

    def forget(self, target: Target) -> None:
        """Remove the records of a target, including its API key."""
        self._state.remove(_FOLDER, f"{target.record}.json")
        self._state.remove("keys", target.record)
        if self._current_record() == target.record:
            self._state.remove(_CURRENT)

    def forget_local(self) -> None:
        """Forget every local stack, after the emulator was emptied."""
        for target in self.local():
            self.forget(target)

    def local(self) -> list[LocalTarget]:
        """Return the local stacks."""
        return [target for target in self.all() if isinstance(target, LocalTarget)]

    def all(self) -> list[Target]:
        """Return every target; one with a damaged file is restored from the file's name, without outputs."""
        folder = self._state.path(_FOLDER)
        records = sorted(path.stem for path in folder.glob("*.json")) if folder.is_dir() else []
        loaded = (self._load(record) for record in records)
        return [target for target in loaded if target is not None]

    def current(self) -> Target | None:
        """Return the target deployed last; the only one if the file that names it is damaged."""
        record, targets = self._current_record(), self.all()
        if record is None and len(targets) == 1 and self._state.path(_CURRENT).exists():
            return targets[0]
        return next((target for target in targets if target.record == record), None)

    def _load(self, record: str) -> Target | None:
        document = self._state.read_json(
            _FOLDER, f"{record}.json", valid=lambda found: _is_target(found) and _target(found).record == record
        )
        return _of_record(record) if document is None else _target(document)

    def _current_record(self) -> str | None:
        document = self._state.read_json(_CURRENT, valid=lambda found: isinstance(found.get("target"), str))
        return None if document is None else str(document["target"])

    def resolve(self, choice: Choice, settings: Settings) -> Target:
        """Return the target that a command talks to, without its endpoint.

        A target on AWS that is not remembered here has no outputs (and perhaps an empty region): the caller looks it up.

        Raises
        ------
        NoTargetError, NotDeployedError, UsageError
        """
        check_choice(choice)
        kind = _chosen_kind(choice, settings)
        name = choice.stack_name or settings.stack_name
        current = self.current()
        if kind is None and name is None:
            if current is not None:
                return current
            if known := self.all():
                flags = [f"{target.label}: {target.flags}" for target in known]
                raise NoTargetError("no target is chosen", "Add the flags of one of them:", faults=flags)
            raise NoTargetError("no target is chosen: nothing has been deployed from here yet", _DEPLOY_FIRST)
        if kind is not None and name is None and not (current is not None and current.kind == kind):
            name = DEFAULT_STACK_NAME if not self._only(kind, choice) else None
        wanted = [target for target in self.all() if _matches(target, kind, name, choice)]
        if current is not None and current in wanted:
            return _with_flags(current, choice)
        if len(wanted) == 1:
            return _with_flags(wanted[0], choice)
        if wanted:
            raise _ambiguous(wanted)
        if kind == "aws":
            return AwsTarget(name or DEFAULT_STACK_NAME, choice.region or "", choice.profile)
        if kind == "local":
            raise NotDeployedError(
                f"stack {name or DEFAULT_STACK_NAME} is not deployed on the local target",
                f"Deploy it:  esctl deploy --local{_name_flag(name)}",
            )
        raise NotDeployedError(
            f"stack {name} is not known here: it was not deployed from this machine",
            f"Deploy it (esctl deploy --local{_name_flag(name)}), or look on AWS (ESCTL_TARGET=aws, or --region).",
        )

    def _only(self, kind: Kind, choice: Choice) -> bool:
        return len([target for target in self.all() if _matches(target, kind, None, choice)]) == 1


_DEPLOY_FIRST = (
    "Deploy one:  esctl deploy --local  (this machine)  or  esctl deploy  (AWS).\n"
    "A stack on AWS that somebody else deployed:  ESCTL_TARGET=aws esctl … --stack-name NAME --region REGION"
)


def for_deployment(choice: Choice, settings: Settings) -> Target:
    """Return the target of ``deploy``, ``diff`` and ``destroy``: AWS unless the local one is requested.

    The region on AWS is empty unless a flag names it (see `cli.client.aws.region_of`).
    """
    check_choice(choice)
    name = choice.stack_name or settings.stack_name or DEFAULT_STACK_NAME
    if _chosen_kind(choice, settings) == "local":
        return LocalTarget(name, choice.region or LOCAL_REGION)
    return AwsTarget(name, choice.region or "", choice.profile)


def check_choice(choice: Choice) -> None:
    """Refuse flags that contradict each other."""
    if choice.local and choice.profile:
        raise UsageError("--local and --profile exclude each other: the local target needs no credentials")
    if choice.stack_name is not None:
        checked_stack_name(choice.stack_name)
    if choice.region is not None and not re.fullmatch(_REGION, choice.region):
        raise UsageError(f"--region can't be used: {choice.region!r} is not a region", "Use one like eu-central-1.")


def _chosen_kind(choice: Choice, settings: Settings) -> Kind | None:
    if choice.local:
        return "local"
    if choice.profile is not None:
        return "aws"
    if settings.target is not None:
        return settings.target
    return "aws" if choice.region is not None else None


def _matches(target: Target, kind: Kind | None, name: str | None, choice: Choice) -> bool:
    return (
        (kind is None or target.kind == kind)
        and (name is None or target.stack_name == name)
        and (choice.region is None or target.region == choice.region)
        and (choice.profile is None or target.profile in (None, choice.profile))
    )


def _with_flags(target: Target, choice: Choice) -> Target:
    return replace(target, profile=choice.profile) if choice.profile and isinstance(target, AwsTarget) else target


def _ambiguous(targets: list[Target]) -> UsageError:
    return UsageError(
        "more than one stack matches",
        "Add the flags of one of them:",
        faults=[f"{target.label}: {target.flags}" for target in targets],
    )


def _name_flag(name: str | None) -> str:
    return "" if name in (None, DEFAULT_STACK_NAME) else f" --stack-name {name}"


def _is_target(document: dict[str, Any]) -> bool:
    outputs = document.get("outputs")
    return (
        document.get("kind") in ("local", "aws")
        and all(isinstance(document.get(name), str) for name in ("stackName", "region"))
        and all(isinstance(document.get(name), str | None) for name in ("profile", "account"))
        and isinstance(outputs, dict)
        and all(isinstance(value, str) for value in outputs.values())
    )


def _target(document: dict[str, Any]) -> Target:
    name, region, outputs = document["stackName"], document["region"], document["outputs"]
    if document["kind"] == "local":
        return LocalTarget(name, region, outputs=outputs)
    return AwsTarget(name, region, document.get("profile"), document.get("account"), outputs=outputs)


def _of_record(record: str) -> Target | None:
    found = _RECORD.fullmatch(record)
    if found is None:
        return None
    if found["kind"] == "local":
        return LocalTarget(found["name"], found["region"])
    account = None if found["account"] == _UNKNOWN_ACCOUNT else found["account"]
    return AwsTarget(found["name"], found["region"], account=account)
