"""A deployment as inert data, and the decisions about it: `diff` prints a plan, `deploy` executes it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from cli.config.targets import Target
from cli.deploy.assembly import Assembly, Template
from cli.deploy.permission_diff import Grant

TAGS = {"application": "esctl"}
"""On every stack, to recognize those that are ours. Constant: a stack tag is put on every resource, so a changing one
would update all of them at every deployment."""

KEY_PARAMETER = "ApiKey"
HOLDS_DATA = frozenset({"AWS::DynamoDB::Table", "AWS::DynamoDB::GlobalTable", "AWS::SQS::Queue", "AWS::S3::Bucket"})
"""Replacing or removing one of these loses its contents (or leaves them in a resource that nothing uses)."""

_OUTPUTS_OF_OURS = frozenset({"ApiUrl", "EventsTable"})
_SUCCEEDED = frozenset({"CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE"})
_UPDATABLE = _SUCCEEDED | {"UPDATE_ROLLBACK_COMPLETE", "IMPORT_ROLLBACK_COMPLETE"}
_FAILED_CREATION = frozenset({"ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED"})
# CloudFormation has two messages, and no code, for a change set without changes.
_NO_CHANGES = ("didn't contain changes", "No updates are to be performed")


@dataclass(frozen=True, slots=True)
class Stack:
    """A stack as `DescribeStacks` returns it."""

    name: str
    id: str
    status: str
    reason: str = ""
    outputs: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    parameters: tuple[str, ...] = ()
    """Names only: a value may be secret."""

    @property
    def in_review(self) -> bool:
        """True for a mere name, without resources, that a change set has reserved and nobody has executed."""
        return self.status == "REVIEW_IN_PROGRESS"

    @property
    def in_progress(self) -> bool:
        """True while CloudFormation works on it."""
        return self.status.endswith("_IN_PROGRESS") and not self.in_review

    @property
    def succeeded(self) -> bool:
        """True when the last operation did what it was asked to do."""
        return self.status in _SUCCEEDED

    @property
    def failed_creation(self) -> bool:
        """True for a stack whose first creation failed: it can only be deleted."""
        return self.status in _FAILED_CREATION

    @property
    def is_ours(self) -> bool:
        """True for a stack that esctl created, or that `cdk deploy` created from our assembly.

        A stack in review may have no tags yet: it belongs to the first change set executed.
        """
        return self.in_review or self.tags.items() >= TAGS.items() or self.outputs.keys() >= _OUTPUTS_OF_OURS


class Action(StrEnum):
    """What happens to a resource, in the words that are shown; gravest first."""

    REPLACE = "replace"
    REMOVE = "remove"
    MAY_REPLACE = "may replace"
    CHANGE = "change"
    ADD = "add"
    IMPORT = "import"


@dataclass(frozen=True, slots=True)
class Change:
    """One resource of a change set."""

    action: Action
    logical_id: str
    resource_type: str
    properties: tuple[str, ...] = ()
    """What changes: names of properties, or attributes such as `Tags`."""
    keeps_old: bool = False
    """The old resource is retained."""
    follows: bool = False
    """Listed only because it references something that changes; mostly it stays as it is."""

    @property
    def loses_data(self) -> bool:
        """True where the contents of the resource are lost for certain."""
        return self.resource_type in HOLDS_DATA and self.action in (Action.REPLACE, Action.REMOVE)

    @property
    def may_lose_data(self) -> bool:
        """True also where only CloudFormation's execution shows whether the resource is replaced."""
        return self.loses_data or (self.resource_type in HOLDS_DATA and self.action is Action.MAY_REPLACE)


@dataclass(frozen=True, slots=True)
class ChangeSet:
    """A change set as `DescribeChangeSet` returns it, with all pages of its changes."""

    id: str
    stack_id: str
    status: str
    reason: str = ""
    changes: tuple[Change, ...] = ()

    @property
    def is_pending(self) -> bool:
        """True while CloudFormation computes the changes."""
        return self.status in ("CREATE_PENDING", "CREATE_IN_PROGRESS")

    @property
    def is_empty(self) -> bool:
        """True where the deployed stack is already what was asked for."""
        if self.status == "FAILED":
            return any(text in self.reason for text in _NO_CHANGES)
        return self.status == "CREATE_COMPLETE" and not self.changes


@dataclass(frozen=True, slots=True)
class Plan:
    """What a deployment does.

    Attributes
    ----------
    stack
        The stack as it is; None where it is to be created.
    api_key
        The key to deploy with; None: the stack keeps its own.
    permissions
        What an update newly permits.
    change_set
        What updates the stack; None where nothing changes. A new stack gets one only on execution, because it would
        create the stack.
    overwritten
        Tables with events, kept by an earlier `destroy`, that a new local stack replaces.
    """

    target: Target
    assembly: Assembly
    stack: Stack | None
    api_key: str | None = field(repr=False)
    changes: tuple[Change, ...] = ()
    permissions: tuple[Grant, ...] = ()
    change_set: ChangeSet | None = None
    overwritten: tuple[str, ...] = ()

    @property
    def action(self) -> Literal["create", "update", "unchanged"]:
        """What happens to the stack."""
        if self.stack is None:
            return "create"
        return "update" if self.change_set else "unchanged"

    @property
    def question(self) -> str | None:
        """The question to answer before the execution; None where nothing has to be approved."""
        target = self.target
        if self.action == "create" and target.is_local:
            if not self.overwritten:
                return None
            return f"This permanently deletes the events kept in {', '.join(self.overwritten)}. Continue?"
        if self.action == "create":
            where = f"account {target.account}, region {target.region}"
            return f"Create stack {target.stack_name} with {len(self.changes)} resources in {where}?"
        risks = [each for each in (self._data_risk(), self._permission_risk()) if each]
        return f"This {' and '.join(risks)}. Continue?" if risks else None

    def _data_risk(self) -> str:
        # The emulator reports every change of a type that it knows little about as a conditional replacement.
        losing = [
            each
            for each in self.changes
            if not each.follows and (each.loses_data if self.target.is_local else each.may_lose_data)
        ]
        if not losing:
            return ""
        verb = "replaces or removes" if all(each.loses_data for each in losing) else "may replace"
        return f"{verb} {', '.join(each.logical_id for each in losing)} (data loss)"

    def _permission_risk(self) -> str:
        if not (self.target.needs_approval and self.permissions):
            return ""
        count = len(self.permissions)
        return f"grants {count} new permission{'s' if count > 1 else ''}"


def change_of(entry: Mapping[str, Any]) -> Change | None:
    """Translate one entry of `DescribeChangeSet`'s `Changes`; None for one that is not about a resource."""
    resource = entry.get("ResourceChange")
    if not resource:
        return None
    details = resource.get("Details", [])
    targets = [each.get("Target", {}) for each in details]
    names = {str(target.get("Name") or target.get("Attribute", "")) for target in targets} - {""}
    return Change(
        action=_action(resource),
        logical_id=resource.get("LogicalResourceId", ""),
        resource_type=resource.get("ResourceType", ""),
        properties=tuple(sorted(names)),
        keeps_old=resource.get("PolicyAction") in ("Retain", "ReplaceAndRetain"),
        follows=bool(details) and all(_is_reference(each) for each in details),
    )


def _is_reference(detail: Mapping[str, Any]) -> bool:
    """Return True for a detail that says only: a value that this one refers to may change."""
    source = detail.get("ChangeSource")
    return detail.get("Evaluation") == "Dynamic" and source in ("ResourceAttribute", "ResourceReference")


def _action(resource: Mapping[str, Any]) -> Action:
    if resource.get("Action") == "Modify":
        replacement = {"True": Action.REPLACE, "Conditional": Action.MAY_REPLACE}
        return replacement.get(resource.get("Replacement", ""), Action.CHANGE)
    known = {"Add": Action.ADD, "Remove": Action.REMOVE, "Import": Action.IMPORT, "Dynamic": Action.MAY_REPLACE}
    return known.get(resource.get("Action", ""), Action.CHANGE)


def all_new(template: Template) -> tuple[Change, ...]:
    """Return the changes of a stack that does not exist yet."""
    resources = template.get("Resources", {})
    return in_order(Change(Action.ADD, name, resource.get("Type", "")) for name, resource in resources.items())


def in_order(changes: Iterable[Change]) -> tuple[Change, ...]:
    """Sort changes for reading: those that may lose data first."""

    def rank(change: Change) -> tuple[bool, int, str, str]:
        return not change.loses_data, list(Action).index(change.action), change.resource_type, change.logical_id

    return tuple(sorted(changes, key=rank))


def retained_tables(template: Template) -> frozenset[str]:
    """Return the logical ids of the tables that outlive their stack."""
    return frozenset(
        name
        for name, resource in template.get("Resources", {}).items()
        if resource.get("Type") == "AWS::DynamoDB::Table"
        and str(resource.get("DeletionPolicy", "")).startswith("Retain")
    )


def obstacle(stack: Stack, target: Target) -> tuple[str, str] | None:
    """Return why an operator has to act before a deployment, and the command for it; None where a deployment can begin.

    A deployment can begin by following an operation in progress, or by deleting a stack that was never created.
    """
    if stack.status in _UPDATABLE or stack.in_review or stack.in_progress or stack.failed_creation:
        return None
    reason = stack.reason or "see its events"
    if stack.status == "DELETE_FAILED":
        return f"its deletion failed ({reason})", esctl("destroy", target)
    aws = f"--stack-name {target.stack_name} --region {target.region}"
    if stack.status == "UPDATE_ROLLBACK_FAILED":
        why = f"the rollback of an update failed ({reason})"
        return why, f"aws cloudformation continue-update-rollback {aws}"
    if stack.status == "UPDATE_FAILED":
        return "an update failed with rollback disabled", f"aws cloudformation rollback-stack {aws}"
    return f"it is in state {stack.status}", f"aws cloudformation describe-stack-events {aws}"


def esctl(command: str, target: Target) -> str:
    """Return the esctl command line that acts on the same stack."""
    return f"esctl {command} {target.flags}".rstrip()
