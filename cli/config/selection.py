"""Which deployed stack a command talks to, and what is remembered about it.

A flag decides; otherwise ``ESCTL_TARGET`` and ``STACK_NAME``; otherwise the stack deployed last. Ambient credentials
never select AWS.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

from cli.config.settings import Settings, checked_stack_name
from cli.config.state import State
from cli.config.targets import LOCAL_REGION, UNKNOWN_ACCOUNT, AwsTarget, Kind, LocalTarget, Target, name_flag
from cli.errors import NoTargetError, NotDeployedError, UsageError
from stack.settings import DEFAULT_STACK_NAME

_FOLDER = "targets"
_REGION = r"[a-z]{2}(?:-[a-z0-9]+)+?-\d"
_RECORD = re.compile(rf"(?P<kind>local|aws)-(?P<account>\d{{12}}|{UNKNOWN_ACCOUNT})-(?P<region>{_REGION})-(?P<name>.+)")
_CURRENT = "current.json"


@dataclass(frozen=True, slots=True)
class Choice:
    """The target flags of one command; None for a flag that was not given."""

    local: bool = False
    stack_name: str | None = None
    region: str | None = None
    profile: str | None = None


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

    def local(self) -> list[LocalTarget]:
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
        """Return the target that a command talks to, without its endpoint; raise `NotFoundError` if there is none.

        A target on AWS that is not remembered here has no outputs (and perhaps an empty region): the caller looks it up.
        """
        check_choice(choice)
        kind = _chosen_kind(choice, settings)
        name = choice.stack_name or settings.stack_name
        current = self.current()
        if kind is None and name is None:
            if current is not None:
                return current
            if known := self.all():
                raise NoTargetError("no target is chosen", _ADD_FLAGS, faults=_flags_of(known))
            raise NoTargetError("no target is chosen: nothing has been deployed from here yet", _DEPLOY_FIRST)
        if kind is not None and name is None and not (current is not None and current.kind == kind):
            only = [target for target in self.all() if _matches(target, kind, None, choice)]
            name = None if len(only) == 1 else DEFAULT_STACK_NAME
        wanted = [target for target in self.all() if _matches(target, kind, name, choice)]
        if current is not None and current in wanted:
            return _with_flags(current, choice)
        if len(wanted) == 1:
            return _with_flags(wanted[0], choice)
        if wanted:
            raise UsageError("more than one stack matches", _ADD_FLAGS, faults=_flags_of(wanted))
        if kind == "aws":
            return AwsTarget(name or DEFAULT_STACK_NAME, choice.region or "", choice.profile)
        if kind == "local":
            raise NotDeployedError(
                f"stack {name or DEFAULT_STACK_NAME} is not deployed on the local target",
                f"Deploy it:  esctl deploy --local{name_flag(name)}",
            )
        raise NotDeployedError(
            f"stack {name} is not known here: it was not deployed from this machine",
            f"Deploy it (esctl deploy --local{name_flag(name)}), or look on AWS (ESCTL_TARGET=aws, or --region).",
        )


_ADD_FLAGS = "Add the flags of one of them:"
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
    """Refuse flags that contradict each other or can't be used."""
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


def _flags_of(targets: list[Target]) -> list[str]:
    return [f"{target.label}: {target.flags}" for target in targets]


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
    account = None if found["account"] == UNKNOWN_ACCOUNT else found["account"]
    return AwsTarget(found["name"], found["region"], account=account)
