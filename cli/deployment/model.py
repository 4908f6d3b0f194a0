"""The records that planning, executing and rendering share. All of them are frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

STACK_TYPE = "AWS::CloudFormation::Stack"

Template = Mapping[str, Any]
"""A CloudFormation template as JSON: `Resources`, `Parameters`, `Outputs` …"""


@dataclass(frozen=True, slots=True)
class Stack:
    """A stack as `DescribeStacks` shows it."""

    name: str
    id: str
    status: str
    reason: str = ""
    changed_at: str = ""
    """Last update, or creation while it was never updated: RFC 3339. It moves whenever anybody deploys."""
    outputs: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    parameters: tuple[str, ...] = ()
    """Names only: a value may be secret."""

    @property
    def in_progress(self) -> bool:
        """True while CloudFormation works on it. `REVIEW_IN_PROGRESS` is only a name, without a stack."""
        return self.status.endswith("_IN_PROGRESS") and self.status != "REVIEW_IN_PROGRESS"


@dataclass(frozen=True, slots=True)
class StackEvent:
    """One line of a stack's history."""

    id: str
    at: datetime
    logical_id: str
    physical_id: str
    resource_type: str
    status: str
    reason: str = ""
    stack_id: str = ""

    @property
    def is_stack(self) -> bool:
        """True for events of the stack itself (a nested stack's event has another physical id)."""
        return self.resource_type == STACK_TYPE and self.physical_id == self.stack_id


def short_type(resource_type: str) -> str:
    """A resource type as it is shown: `AWS::Lambda::Function` → `Lambda::Function`."""
    return resource_type.removeprefix("AWS::")


class Action(StrEnum):
    """What happens to a resource, in the words that are shown."""

    ADD = "add"
    CHANGE = "change"
    MAY_REPLACE = "may replace"
    REPLACE = "replace"
    REMOVE = "remove"
    IMPORT = "import"


@dataclass(frozen=True, slots=True)
class Change:
    """One resource of a change set."""

    action: Action
    logical_id: str
    resource_type: str
    properties: tuple[str, ...] = ()
    """What of it changes: property names, or attributes like `Tags`."""
    keeps_old: bool = False
    """The old resource stays behind (deletion policy Retain)."""
    follows: bool = False
    """Listed only because it refers to something that changes: CloudFormation looks at it again, mostly for nothing."""


@dataclass(frozen=True, slots=True)
class ChangeSet:
    """A change set as `DescribeChangeSet` shows it, all pages."""

    id: str
    stack_id: str
    status: str
    reason: str = ""
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter's new value; None means: keep the one that the stack has."""

    name: str
    value: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class ChangeSetRequest:
    """What a change set is made of. Exactly one of `template_body` and `template_url` is set."""

    stack_name: str
    creating: bool
    """The stack doesn't exist yet (or is under review only)."""
    name: str
    parameters: tuple[Parameter, ...]
    tags: Mapping[str, str]
    template_body: str | None = None
    template_url: str | None = None


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource that a stack holds now."""

    logical_id: str
    physical_id: str
    resource_type: str
    status: str
