"""What deploying and destroying are given: the target, the ports, and how to watch. Everything is injected."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from cli.deployment.assembly import Assemblies
from cli.deployment.follow import EventReader, Outcome, Pace, follow
from cli.deployment.model import Stack, Template
from cli.deployment.ports import AssetStore, ChangeSets, Reporter, Stacks, Tables
from cli.deployment.records import Records
from cli.deployment.states import esctl
from cli.errors import CliError, DeploymentError, ExitCode
from cli.settings import Settings
from cli.state import State
from cli.targets import Target, Targets

TAG = "application"
TAGS = {TAG: "esctl"}
"""On every stack (the template says so too, for `cdk deploy`), so that a stack that is not ours is recognized. It never
changes: a stack tag is put on every resource, so a changing one would touch all of them at every deployment."""

_OUTPUTS_OF_OURS = frozenset({"ApiUrl", "EventsTable"})


@dataclass(frozen=True, slots=True)
class Services:
    """The ports to one account and region."""

    stacks: Stacks
    change_sets: ChangeSets
    assets: AssetStore
    tables: Tables


@dataclass(frozen=True, slots=True)
class Job:
    """One run of deploy, diff or destroy.

    Attributes
    ----------
    target
        With its account and region.
    sources
        The fingerprint of the code that would be deployed.
    yes
        Consent was given beforehand.
    """

    target: Target
    settings: Settings
    services: Services
    reporter: Reporter
    pace: Pace
    state: State
    assemblies: Assemblies
    sources: Callable[[], str]
    yes: bool = False
    after: tuple[Callable[[Target], None], ...] = field(default=())
    """What to do after a deployment that succeeded, changed or not; each gets the target with its outputs."""

    @property
    def records(self) -> Records:
        """What was deployed from here before."""
        return Records(self.state)

    @property
    def targets(self) -> Targets:
        """The remembered targets."""
        return Targets(self.state)

    def stack(self) -> Stack | None:
        """The stack as it is now, None if there is none.

        Raises
        ------
        DeploymentError
            A stack of this name exists and is not ours.
        """
        stack = self.services.stacks.describe(self.target.stack_name)
        if stack is None or stack.status == "DELETE_COMPLETE":
            return None
        if not is_ours(stack):
            raise DeploymentError(
                f"{self.target.label} was not made by esctl: it is left alone",
                "Choose another name with --stack-name or STACK_NAME.",
            )
        return stack

    def watch(self, reader: EventReader, title: str, *, expected: int = 0) -> Outcome:
        """Follow an operation to its end.

        Raises
        ------
        CliError
            Ctrl-C: the operation goes on, nobody looks.
        """
        try:
            return follow(reader, self.reporter.watching(title, expected), self.pace)
        except KeyboardInterrupt:
            command = "destroy" if title.startswith("Deleting") else "deploy"
            raise CliError(
                f"stopped watching: {title[0].lower()}{title[1:]} goes on without you",
                f"Follow it again:  {esctl(command, self.target)}",
                exit_code=ExitCode.INTERRUPTED,
            ) from None


def is_ours(stack: Stack) -> bool:
    """True for a stack that esctl made, or that `cdk deploy` made of our assembly.

    A stack in review holds nothing yet and may show no tags: whoever executes a change set first has it.
    """
    return (
        stack.status == "REVIEW_IN_PROGRESS"
        or stack.tags.get(TAG) == TAGS[TAG]
        or stack.outputs.keys() >= _OUTPUTS_OF_OURS
    )


def retained(template: Template, resource_type: str) -> frozenset[str]:
    """Logical ids of the resources that outlive their stack."""
    return frozenset(
        name
        for name, resource in template.get("Resources", {}).items()
        if resource.get("Type") == resource_type and str(resource.get("DeletionPolicy", "")).startswith("Retain")
    )


def failure(doing: str, outcome: Outcome, target: Target, hint: str) -> DeploymentError:
    """The error of an operation that failed: its first cause, not the cascade."""
    from cli.deployment.follow import cancelled_with

    stack, cause = outcome.stack, outcome.cause
    if cause is None:
        return DeploymentError(f"{doing} failed: the stack is {stack.status} {stack.reason}".rstrip(), hint)
    what = "the stack" if cause.is_stack else f"{cause.logical_id} ({cause.resource_type})"
    faults = [f"the stack is now {stack.status}"]
    cancelled = cancelled_with(outcome.events)
    if cancelled:
        faults.append(f"cancelled because of it: {cancelled} more")
    return DeploymentError(f"{doing} failed at {what}: {cause.reason or cause.status}", hint, faults=faults)
