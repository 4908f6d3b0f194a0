"""Follow an operation: read each stack event exactly once, oldest first, and find the first cause of a failure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from cli.config.targets import Target
from cli.deploy.plan import Stack, esctl
from cli.errors import DeploymentError
from cli.terminal.environment import Environment

_BEGINNINGS = frozenset({"CREATE_IN_PROGRESS", "UPDATE_IN_PROGRESS", "DELETE_IN_PROGRESS", "IMPORT_IN_PROGRESS"})

# Reasons of failures that are consequences of another one.
_CASCADE = (
    "Resource creation cancelled",
    "Resource update cancelled",
    "Resource deletion cancelled",
    "The following resource(s) failed to",
)


@dataclass(frozen=True, slots=True)
class StackEvent:
    """One entry of a stack's history."""

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
        """True for events of the stack itself; a nested stack's events have another physical id."""
        return self.resource_type == "AWS::CloudFormation::Stack" and self.physical_id == self.stack_id


Pages = Callable[[], Iterator[Sequence[StackEvent]]]
"""Read a stack's events, newest first; pages are fetched lazily."""


@dataclass(slots=True)
class EventReader:
    """Reads the events of one operation, each exactly once."""

    pages: Pages
    floor: str | None = None  # id of the newest event of the operation before: reading stops there
    _seen: set[str] = field(default_factory=set)

    @classmethod
    def from_now(cls, pages: Pages) -> EventReader:
        """Return a reader that skips all current events."""
        newest = next((event for page in pages() for event in page), None)
        return cls(pages, newest.id if newest else None)

    @classmethod
    def from_operation(cls, pages: Pages) -> EventReader:
        """Return a reader that starts at the beginning of the operation in progress."""
        begun = False
        for event in (event for page in pages() for event in page):
            if begun:
                return cls(pages, event.id)
            begun = event.is_stack and event.status in _BEGINNINGS
        return cls(pages)

    def new(self) -> list[StackEvent]:
        """Return the events since the last call, oldest first.

        Events are not written in order: a new one may appear below a known one. So each page is read to its end, and
        reading stops after the first page with a known event.
        """
        found: list[StackEvent] = []
        for page in self.pages():
            known = False
            for event in page:
                known = known or event.id == self.floor or event.id in self._seen
                if event.id == self.floor:
                    break
                if event.id not in self._seen:
                    found.append(event)
            if known:
                break
        self._seen.update(event.id for event in found)
        return found[::-1]


@dataclass(frozen=True, slots=True)
class OperationResult:
    """The stack after an operation, and the operation's events, oldest first."""

    stack: Stack
    events: tuple[StackEvent, ...]

    @property
    def cause(self) -> StackEvent | None:
        """The first failure that is not a consequence of another one; None if nothing failed."""
        failed = [event for event in self.events if event.status.endswith("_FAILED")]
        own = [event for event in failed if not event.reason.startswith(_CASCADE)]
        for candidates in ([each for each in own if not each.is_stack], own, failed):
            if candidates:
                return candidates[0]
        # Rejected before any resource was touched: only the stack's own rollback event has the reason.
        return next((each for each in self.events if each.is_stack and "ROLLBACK" in each.status and each.reason), None)

    @property
    def cancelled(self) -> int:
        """How many resources failed as a consequence of another failure."""
        cascade = (each for each in self.events if not each.is_stack and each.reason.startswith(_CASCADE))
        return len({each.logical_id for each in cascade})

    @property
    def retained(self) -> list[StackEvent]:
        """The resources that a deletion kept, each once."""
        return list({each.logical_id: each for each in self.events if each.status == "DELETE_SKIPPED"}.values())


def follow(
    reader: EventReader,
    describe: Callable[[], Stack | None],
    show: Callable[[StackEvent], None],
    environment: Environment,
    target: Target,
) -> OperationResult:
    """Show the events until the operation, including its rollback, has ended."""
    events: list[StackEvent] = []
    moved_at = environment.monotonic()
    while True:
        # Read the state first: once it is final, all events of the operation are there.
        stack = describe()
        if stack is None:
            raise DeploymentError("can't follow the stack: it no longer exists")
        fresh = reader.new()
        for event in fresh:
            show(event)
        events.extend(fresh)
        if not stack.in_progress:
            return OperationResult(stack, tuple(events))
        moved_at = environment.monotonic() if fresh else moved_at
        if target.stall_s is not None and environment.monotonic() - moved_at > target.stall_s:
            raise DeploymentError(
                f"{stack.name} is {stack.status}, but nothing happened for {target.stall_s:.0f} s",
                f"The emulator was stopped during the operation. Remove the stack:  {esctl('destroy', target)}",
            )
        environment.sleep(target.poll_s)
