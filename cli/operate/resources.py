"""The resources of a deployed stack: functions and log groups from CloudFormation, queues from its outputs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from cli.client.aws import errors
from cli.errors import UsageError

if TYPE_CHECKING:
    from cli.client.aws import Clients

FUNCTION = "AWS::Lambda::Function"
LOG_GROUP = "AWS::Logs::LogGroup"

REPLAYS = "replays"
PUBLISHER = "publisher"

_DEAD_LETTERS = re.compile(r"(.+)DeadLetterQueueUrl")

QueueKind = Literal["projection", "replays", "publisher"]


@dataclass(frozen=True, slots=True)
class Resources:
    """The resources of one stack, and its status in CloudFormation, for example ``UPDATE_COMPLETE``."""

    status: str
    by_type: Mapping[str, Mapping[str, str]]  # resource type to logical id to physical id

    @property
    def functions(self) -> Mapping[str, str]:
        """Function names by logical id."""
        return self.by_type.get(FUNCTION, {})

    @property
    def log_groups(self) -> Mapping[str, str]:
        """Log group names by the function's logical id, or ``Api`` for the access log."""
        groups = self.by_type.get(LOG_GROUP, {})
        found = {name: groups[f"{name}Logs"] for name in sorted(self.functions) if f"{name}Logs" in groups}
        if "ApiAccessLogs" in groups:
            found["Api"] = groups["ApiAccessLogs"]
        return found


def find_resources(clients: Clients, stack_name: str) -> Resources:
    """Read the resources of a stack from CloudFormation; raise `CliError`."""
    client = clients.client("cloudformation")
    by_type: dict[str, dict[str, str]] = {}
    with errors():
        status = client.describe_stacks(StackName=stack_name)["Stacks"][0]["StackStatus"]
        for page in client.get_paginator("list_stack_resources").paginate(StackName=stack_name):
            for each in page["StackResourceSummaries"]:
                named = by_type.setdefault(each["ResourceType"], {})
                named[each["LogicalResourceId"]] = each.get("PhysicalResourceId", "")
    return Resources(str(status), by_type)


@dataclass(frozen=True, slots=True)
class Queue:
    """One queue and its dead-letter or failure queue."""

    name: str  # in commands: the projection's name, replays or publisher
    kind: QueueKind
    url: str | None  # None for the publisher, whose source is the table's stream
    dead_letter_url: str


def queues_of(outputs: Mapping[str, str]) -> list[Queue]:
    """Return the queues in a stack's outputs, those of projections first."""
    found = []
    for output in sorted(outputs):
        match = _DEAD_LETTERS.fullmatch(output)
        if match is None or match[1] == "Replay":
            continue
        name = _kebab(match[1])
        found.append(Queue(name, "projection", outputs.get(f"{match[1]}QueueUrl"), outputs[output]))
    if "ReplayDeadLetterQueueUrl" in outputs:
        found.append(Queue(REPLAYS, "replays", outputs.get("ReplayQueueUrl"), outputs["ReplayDeadLetterQueueUrl"]))
    if "FailureQueueUrl" in outputs:
        found.append(Queue(PUBLISHER, "publisher", None, outputs["FailureQueueUrl"]))
    return found


def _kebab(pascal: str) -> str:
    """Return the projection's name: ``TestItems`` is ``test-items``."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", pascal).lower()


def function_named(resources: Resources, wanted: str) -> str:
    """Find a function by a prefix of its logical id or service name, ignoring case; raise `UsageError` if it is not one."""
    plain = _plain(wanted)
    names = list(resources.log_groups)
    exact = [name for name in names if _plain(name) == plain]
    matching = exact or [name for name in names if _plain(name).startswith(plain)]
    if len(matching) == 1:
        return matching[0]
    problem = "matches more than one function" if matching else "no such function"
    raise UsageError(f"--function {wanted}: {problem}", f"There are: {', '.join(matching or names)}.")


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
