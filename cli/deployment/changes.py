"""Change sets as they are read: what each entry means for the resource, and what would lose data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cli.deployment.model import Action, Change, Template

HOLDS_DATA = frozenset({"AWS::DynamoDB::Table", "AWS::DynamoDB::GlobalTable", "AWS::SQS::Queue", "AWS::S3::Bucket"})
"""Replacing or removing one of these loses what is in it (or strands it, where the old one is retained)."""

_ORDER = tuple(Action)
_ORDER_SHOWN = (Action.REPLACE, Action.REMOVE, Action.MAY_REPLACE, Action.CHANGE, Action.ADD, Action.IMPORT)

# The two wordings of CloudFormation for a change set without changes; there is no code for it.
_EMPTY = ("didn't contain changes", "No updates are to be performed")


def is_empty(status: str, reason: str) -> bool:
    """True for a change set that failed only because nothing differs."""
    return status == "FAILED" and any(text in reason for text in _EMPTY)


def change_of(entry: Mapping[str, Any]) -> Change | None:
    """One entry of `DescribeChangeSet`'s `Changes`; None for what is no resource."""
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
        follows=bool(details) and all(_is_echo(each) for each in details),
    )


def _is_echo(detail: Mapping[str, Any]) -> bool:
    """True for a detail that says: a value that I refer to may be another one afterwards."""
    return detail.get("Evaluation") == "Dynamic" and detail.get("ChangeSource") in (
        "ResourceAttribute",
        "ResourceReference",
    )


def _action(resource: Mapping[str, Any]) -> Action:
    if resource.get("Action") == "Modify":
        replacement = {"True": Action.REPLACE, "Conditional": Action.MAY_REPLACE}
        return replacement.get(resource.get("Replacement", ""), Action.CHANGE)
    known = {"Add": Action.ADD, "Remove": Action.REMOVE, "Import": Action.IMPORT, "Dynamic": Action.MAY_REPLACE}
    return known.get(resource.get("Action", ""), Action.CHANGE)


def all_new(template: Template) -> tuple[Change, ...]:
    """The changes of a stack that doesn't exist yet: everything is added.

    Read from the template, so that looking leaves nothing behind: a change set for a new stack would make the stack.
    """
    resources = template.get("Resources", {})
    return in_order([Change(Action.ADD, name, resource.get("Type", "")) for name, resource in resources.items()])


def in_order(changes: Sequence[Change]) -> tuple[Change, ...]:
    """The changes in the order in which they are worth reading: what may lose data first."""
    return tuple(
        sorted(
            changes,
            key=lambda each: (
                each.resource_type not in HOLDS_DATA or each.action not in (Action.REPLACE, Action.REMOVE),
                _ORDER_SHOWN.index(each.action),
                each.resource_type,
                each.logical_id,
            ),
        )
    )


def losing_data(changes: Sequence[Change], *, perhaps: bool = False) -> tuple[Change, ...]:
    """The changes that replace or remove something that holds data.

    Parameters
    ----------
    perhaps
        Also those of which CloudFormation can't tell before whether they replace.
    """
    grave = {Action.REPLACE, Action.REMOVE} | ({Action.MAY_REPLACE} if perhaps else set())
    return tuple(
        each for each in changes if each.resource_type in HOLDS_DATA and each.action in grave and not each.follows
    )


def counted(changes: Sequence[Change]) -> str:
    """`3 to add, 1 to replace`: what changes by itself, without what only refers to it."""
    counts = {action: sum(each.action is action and not each.follows for each in changes) for action in _ORDER}
    return ", ".join(f"{count} to {_infinitive(action)}" for action, count in counts.items() if count) or "nothing"


def _infinitive(action: Action) -> str:
    return "replace perhaps" if action is Action.MAY_REPLACE else action.value
