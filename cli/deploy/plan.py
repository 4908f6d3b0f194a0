"""A deployment as inert data, and the decisions about it: `diff` prints a plan, `deploy` executes it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from cli.config.targets import Target
from cli.deploy.assembly import Assembly, Template
from cli.deploy.permission_diff import Grant
from cli.terminal.text import plural

TAGS = {"application": "esctl"}
"""Tags that identify our stacks. They are constant because CloudFormation copies them to every resource: a changing tag
would update all resources on every deployment."""

KEY_PARAMETER = "ApiKey"
HOLDS_DATA = frozenset({"AWS::DynamoDB::Table", "AWS::DynamoDB::GlobalTable", "AWS::SQS::Queue", "AWS::S3::Bucket"})
"""Types whose contents are lost, or left in an unused resource, if the resource is replaced or removed."""

_OUTPUTS_OF_OURS = frozenset({"ApiUrl", "EventsTable"})
_SUCCEEDED = frozenset({"CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE"})
_UPDATABLE = _SUCCEEDED | {"UPDATE_ROLLBACK_COMPLETE", "IMPORT_ROLLBACK_COMPLETE"}
_FAILED_CREATION = frozenset({"ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED"})
# CloudFormation reports a change set without changes by one of two messages, without an error code.
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
    parameters: tuple[str, ...] = ()  # names only: a value may be secret

    @property
    def in_review(self) -> bool:
        """True for a stack without resources, whose first change set was not executed."""
        return self.status == "REVIEW_IN_PROGRESS"

    @property
    def in_progress(self) -> bool:
        return self.status.endswith("_IN_PROGRESS") and not self.in_review

    @property
    def succeeded(self) -> bool:
        """True if the last operation was completed, not rolled back."""
        return self.status in _SUCCEEDED

    @property
    def failed_creation(self) -> bool:
        """True if the creation failed: CloudFormation can only delete such a stack."""
        return self.status in _FAILED_CREATION

    @property
    def is_ours(self) -> bool:
        """True for a stack created by esctl, by `cdk deploy` from our assembly, or in review (it may have no tags yet)."""
        return self.in_review or self.tags.items() >= TAGS.items() or self.outputs.keys() >= _OUTPUTS_OF_OURS


class Action(StrEnum):
    """What happens to a resource, as displayed; most severe first."""

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
    properties: tuple[str, ...] = ()  # that change; or attributes such as `Tags`
    keeps_old: bool = False  # the old resource is retained
    follows: bool = False  # listed only because it references a changing resource; usually it does not change

    @property
    def loses_data(self) -> bool:
        """True if the contents of the resource are certainly lost."""
        return self.resource_type in HOLDS_DATA and self.action in (Action.REPLACE, Action.REMOVE)

    @property
    def may_lose_data(self) -> bool:
        """True also if CloudFormation decides only during execution whether to replace the resource."""
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
        return self.status in ("CREATE_PENDING", "CREATE_IN_PROGRESS")

    @property
    def is_empty(self) -> bool:
        """True if the deployed stack is up to date."""
        if self.status == "FAILED":
            return any(text in self.reason for text in _NO_CHANGES)
        return self.status == "CREATE_COMPLETE" and not self.changes


@dataclass(frozen=True, slots=True)
class Plan:
    """What a deployment does.

    The change set is None if nothing changes; that of a new stack is made on execution, because it creates the stack.
    """

    target: Target
    assembly: Assembly
    stack: Stack | None  # None: it will be created
    api_key: str | None = field(repr=False)  # None: the stack keeps its own
    changes: tuple[Change, ...] = ()
    permissions: tuple[Grant, ...] = ()  # that an update adds
    change_set: ChangeSet | None = None
    overwritten: tuple[str, ...] = ()  # tables with events, kept by an earlier destroy, that a new local stack replaces

    @property
    def action(self) -> Literal["create", "update", "unchanged"]:
        if self.stack is None:
            return "create"
        return "update" if self.change_set else "unchanged"

    @property
    def question(self) -> str | None:
        """The confirmation prompt; None if nothing needs approval."""
        target = self.target
        if self.action == "create" and not target.needs_approval:
            if not self.overwritten:
                return None
            return f"This permanently deletes the events kept in {', '.join(self.overwritten)}. Continue?"
        if self.action == "create":
            where = f"account {target.account}, region {target.region}"
            return f"Create stack {target.stack_name} with {len(self.changes)} resources in {where}?"
        risks = [each for each in (self._data_risk(), self._permission_risk()) if each]
        return f"This {' and '.join(risks)}. Continue?" if risks else None

    def _data_risk(self) -> str:
        # The emulator reports every change of a type it does not model as a conditional replacement.
        losing = [
            each
            for each in self.changes
            if not each.follows and (each.may_lose_data if self.target.needs_approval else each.loses_data)
        ]
        if not losing:
            return ""
        verb = "replaces or removes" if all(each.loses_data for each in losing) else "may replace"
        return f"{verb} {', '.join(each.logical_id for each in losing)} (data loss)"

    def _permission_risk(self) -> str:
        if not (self.target.needs_approval and self.permissions):
            return ""
        return f"grants {plural(len(self.permissions), 'new permission')}"


def change_of(entry: Mapping[str, Any]) -> Change | None:
    """Translate an entry of `DescribeChangeSet`'s `Changes`; return None if it does not concern a resource."""
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
    """Return True if the detail only says that a referenced value may change."""
    source = detail.get("ChangeSource")
    return detail.get("Evaluation") == "Dynamic" and source in ("ResourceAttribute", "ResourceReference")


def _action(resource: Mapping[str, Any]) -> Action:
    if resource.get("Action") == "Modify":
        replacement = {"True": Action.REPLACE, "Conditional": Action.MAY_REPLACE}
        return replacement.get(resource.get("Replacement", ""), Action.CHANGE)
    known = {"Add": Action.ADD, "Remove": Action.REMOVE, "Import": Action.IMPORT, "Dynamic": Action.MAY_REPLACE}
    return known.get(resource.get("Action", ""), Action.CHANGE)


def all_new(template: Template) -> tuple[Change, ...]:
    """Return the changes that create the stack."""
    resources = template.get("Resources", {})
    return in_order(Change(Action.ADD, name, resource.get("Type", "")) for name, resource in resources.items())


def in_order(changes: Iterable[Change]) -> tuple[Change, ...]:
    """Sort the changes: data loss first, then by severity."""

    def rank(change: Change) -> tuple[bool, int, str, str]:
        return not change.loses_data, list(Action).index(change.action), change.resource_type, change.logical_id

    return tuple(sorted(changes, key=rank))


def retained_tables(template: Template) -> frozenset[str]:
    """Return the logical ids of the tables that are kept when their stack is deleted."""
    return frozenset(
        name
        for name, resource in template.get("Resources", {}).items()
        if resource.get("Type") == "AWS::DynamoDB::Table"
        and str(resource.get("DeletionPolicy", "")).startswith("Retain")
    )


def obstacle(stack: Stack, target: Target) -> tuple[str, str] | None:
    """Return why a deployment can't start, and the command that resolves it; None if it can start.

    It can start while an operation is in progress (it is followed first), or if the creation failed (it is deleted).
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
    """Return the esctl command line for this target."""
    return f"esctl {command} {target.flags}".rstrip()
