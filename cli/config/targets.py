"""Which deployed stack a command talks to, and what is remembered about it.

A flag decides, else ``ESCTL_TARGET`` and ``STACK_NAME``, else the stack deployed to last. Credentials that lie in the
environment never choose AWS by themselves.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast
from urllib.parse import quote, urlsplit

from cli.config.settings import DEFAULT_STACK_NAME, Settings, checked_stack_name
from cli.config.state import State
from cli.errors import NoTargetError, NotDeployedError, UsageError

Kind = Literal["local", "aws"]

LOCAL_REGION = "us-east-1"
LOCAL_ACCOUNT = "000000000000"  # what the emulator calls its one account

_EMULATOR_ADDRESS = re.compile(r"^http://(?:127\.0\.0\.1|localhost):\d+")

# https://docs.aws.amazon.com/whitepapers/latest/aws-fault-isolation-boundaries/partitions.html
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
    """What the flags of one command say; None where a flag was not given."""

    local: bool = False
    stack_name: str | None = None
    region: str | None = None
    profile: str | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """One stack, deployed or about to be.

    Attributes
    ----------
    kind
        ``local`` or ``aws``.
    account
        The account's number; None on AWS until somebody asked.
    endpoint_url
        The emulator's address; None on AWS.
    access_key
        The access key id that the emulator asks for; None on AWS, and while the emulator does not run.
    outputs
        The stack's outputs as they were at the last deployment; empty before it.
    """

    kind: Kind
    stack_name: str
    region: str
    profile: str | None = None
    account: str | None = None
    endpoint_url: str | None = None
    access_key: str | None = field(default=None, repr=False)
    outputs: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_local(self) -> bool:
        return self.kind == "local"

    @property
    def api_url(self) -> str | None:
        """The API's base URL, without a slash at the end; None before the deployment.

        The emulator may have another port today than when the stack was deployed, and the ``amazonaws.com`` address in
        its outputs resolves nowhere; so the local one is put together from its parts each time.
        """
        url = self.outputs.get("ApiUrl", "").rstrip("/")
        if not url:
            return None
        if not self.is_local:
            return url
        stage = urlsplit(url).path.strip("/").split("/")
        name = stage[2] if stage[:1] == ["restapis"] and len(stage) > 2 else stage[0]
        return f"{self.endpoint_url}/restapis/{self.outputs.get('ApiId', '')}/{name}/_user_request_"

    @property
    def console_urls(self) -> dict[str, str]:
        """Pages about the stack in the AWS console, by name; empty for the local target, which has no console."""
        if self.is_local:
            return {}
        api = self.outputs.get("ApiId", "")
        urls = {
            "apiConsoleUrl": f"{self._console}/apigateway/main/apis/{api}/resources?api={api}&region={self.region}",
            # The console escapes what follows the sign twice, with "$" for "%".
            "logsUrl": self._cloudwatch(f"logsV2:log-groups$3FlogGroupNameFilter$3D{quote(self.stack_name, safe='')}"),
            "tracesUrl": self._cloudwatch("xray:traces"),
        }
        if "DashboardName" in self.outputs:  # not yet in a stack that an older version deployed
            name = quote(self.outputs["DashboardName"], safe="")
            urls["dashboardUrl"] = self._cloudwatch(f"dashboards/dashboard/{name}")
        return urls

    def trace_url(self, trace_id: str) -> str | None:
        """Return an X-Ray trace's page in the AWS console; None for the local target, which keeps no traces.

        Examples
        --------
        >>> Target("aws", "esctl", "eu-central-1").trace_url("1-5759e988-bd862e3fe1be46a994272793")
        'https://eu-central-1.console.aws.amazon.com/cloudwatch/home?region=eu-central-1#xray:traces/1-5759e988-bd862e3fe1be46a994272793'
        """
        return None if self.is_local else self._cloudwatch(f"xray:traces/{quote(trace_id, safe='')}")

    def _cloudwatch(self, fragment: str) -> str:
        return f"{self._console}/cloudwatch/home?region={self.region}#{fragment}"

    @property
    def _console(self) -> str:
        domains = (domain for prefix, domain in _CONSOLE_DOMAINS.items() if self.region.startswith(prefix))
        return f"https://{self.region}.console.{next(domains, 'aws.amazon.com')}"

    @property
    def label(self) -> str:
        """The target in a few words, for messages."""
        if self.is_local:
            return f"stack {self.stack_name} on the local target"
        return f"stack {self.stack_name} in {self.account or 'AWS'}/{self.region}"

    @property
    def flags(self) -> str:
        """The flags that choose this target, for hints."""
        name = "" if self.stack_name == DEFAULT_STACK_NAME else f" --stack-name {self.stack_name}"
        if self.is_local:
            return f"--local{name}" if self.region == LOCAL_REGION else f"--local{name} --region {self.region}"
        profile = f" --profile {self.profile}" if self.profile else ""
        return f"--region {self.region}{name}{profile}"

    @property
    def record(self) -> str:
        """The name under which this target is remembered."""
        account = LOCAL_ACCOUNT if self.is_local else self.account or _UNKNOWN_ACCOUNT
        return f"{self.kind}-{account}-{self.region}-{self.stack_name}"

    def with_endpoint(self, endpoint_url: str | None, access_key: str | None = None) -> Target:
        """The local target at the address that the emulator has now; addresses in its outputs follow."""
        if endpoint_url is None:
            return replace(self, endpoint_url=None, access_key=None)
        moved = {name: _EMULATOR_ADDRESS.sub(endpoint_url, value) for name, value in self.outputs.items()}
        return replace(self, endpoint_url=endpoint_url, access_key=access_key, outputs=moved)

    def with_outputs(self, outputs: Mapping[str, str]) -> Target:
        return replace(self, outputs=dict(outputs))

    def with_account(self, account: str) -> Target:
        return replace(self, account=account)


class Targets:
    """The targets remembered in the state directory."""

    def __init__(self, state: State) -> None:
        self._state = state

    def remember(self, target: Target, *, current: bool = True) -> None:
        """Keep a deployed target with its outputs; by default it becomes the current one."""
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
        """Remove what is remembered about a target, its API key too."""
        self._state.remove(_FOLDER, f"{target.record}.json")
        self._state.remove("keys", target.record)
        if self._current_record() == target.record:
            self._state.remove(_CURRENT)

    def forget_local(self) -> None:
        """The emulator was emptied: no stack is left there."""
        for target in self.all():
            if target.is_local:
                self.forget(target)

    def all(self) -> list[Target]:
        """Return every target; one whose file is damaged comes back from the file's name, without outputs."""
        folder = self._state.path(_FOLDER)
        records = sorted(path.stem for path in folder.glob("*.json")) if folder.is_dir() else []
        loaded = (self._load(record) for record in records)
        return [target for target in loaded if target is not None]

    def current(self) -> Target | None:
        """The target deployed to last; the only one if the file that names it is damaged."""
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
        """The target that a command talks to, without its endpoint.

        A target on AWS that is not remembered here comes back without outputs (and perhaps with an empty region): the
        caller looks it up.

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
            raise NoTargetError("no target is chosen: nothing was deployed from here yet", _DEPLOY_FIRST)
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
            return Target("aws", name or DEFAULT_STACK_NAME, choice.region or "", choice.profile)
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
    """The target that ``deploy``, ``diff`` and ``destroy`` mean: AWS unless the local one is asked for.

    The region of AWS is empty where no flag names it (see ``cli.client.aws.region_of``), as are account and endpoint.
    """
    check_choice(choice)
    name = choice.stack_name or settings.stack_name or DEFAULT_STACK_NAME
    if _chosen_kind(choice, settings) == "local":
        return Target("local", name, choice.region or LOCAL_REGION, account=LOCAL_ACCOUNT)
    return Target("aws", name, choice.region or "", choice.profile)


def check_choice(choice: Choice) -> None:
    """Refuse flags that contradict each other."""
    if choice.local and choice.profile:
        raise UsageError("--local and --profile exclude each other: the local target needs no credentials")
    if choice.stack_name is not None:
        checked_stack_name(choice.stack_name)
    if choice.region is not None and not re.fullmatch(_REGION, choice.region):
        raise UsageError(f"--region can't be used: {choice.region!r} is no region", "Name one like eu-central-1.")


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
    return replace(target, profile=choice.profile) if choice.profile else target


def _ambiguous(targets: list[Target]) -> UsageError:
    return UsageError(
        "more than one stack fits: say which",
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
    return Target(
        kind=document["kind"],
        stack_name=document["stackName"],
        region=document["region"],
        profile=document.get("profile"),
        account=document.get("account"),
        outputs=document["outputs"],
    )


def _of_record(record: str) -> Target | None:
    found = _RECORD.fullmatch(record)
    if found is None:
        return None
    account = None if found["account"] == _UNKNOWN_ACCOUNT else found["account"]
    return Target(cast(Kind, found["kind"]), found["name"], found["region"], account=account)
