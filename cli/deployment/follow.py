"""Following an operation: every event of a stack exactly once, oldest first, and the first cause of a failure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from cli.deployment.model import Stack, StackEvent
from cli.deployment.ports import EventView, Stacks
from cli.errors import DeploymentError

POLL_AWS_S = 2.0  # quicker polling of events gets throttled, the more so when two stacks deploy at once
POLL_LOCAL_S = 0.1

_BEGINNINGS = frozenset({"CREATE_IN_PROGRESS", "UPDATE_IN_PROGRESS", "DELETE_IN_PROGRESS", "IMPORT_IN_PROGRESS"})

# Reasons of events that fail only because another one did.
_CASCADE = (
    "Resource creation cancelled",
    "Resource update cancelled",
    "Resource deletion cancelled",
    "The following resource(s) failed to",
)


@dataclass(slots=True)
class EventReader:
    """Reads the events of one operation without missing or repeating one.

    Parameters
    ----------
    floor
        The newest event that belongs to an earlier operation; nothing from there on down is read.
    """

    stacks: Stacks
    stack_id: str
    floor: str | None = None
    _seen: set[str] = field(default_factory=set)

    @classmethod
    def from_now(cls, stacks: Stacks, stack_id: str) -> EventReader:
        """A reader of what comes after the events that are there now."""
        for page in stacks.events(stack_id):
            if page:
                return cls(stacks, stack_id, floor=page[0].id)
        return cls(stacks, stack_id)

    @classmethod
    def from_operation(cls, stacks: Stacks, stack_id: str) -> EventReader:
        """A reader of the operation that runs now, from its beginning."""
        begun = False
        for page in stacks.events(stack_id):
            for event in page:
                if begun:
                    return cls(stacks, stack_id, floor=event.id)
                begun = event.is_stack and event.status in _BEGINNINGS
        return cls(stacks, stack_id)

    def new(self) -> list[StackEvent]:
        """The events that came since the last call, oldest first.

        Pages come newest first, and an event may turn up below one that was seen before (they are not written in
        order). So a page is read to its end, and reading stops after the first page that holds something known.
        """
        found: list[StackEvent] = []
        for page in self.stacks.events(self.stack_id):
            known = False
            for event in page:
                if event.id == self.floor:
                    known = True
                    break
                if event.id in self._seen:
                    known = True
                    continue
                found.append(event)
            if known:
                break
        self._seen.update(event.id for event in found)
        return found[::-1]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an operation ended."""

    stack: Stack
    events: tuple[StackEvent, ...]

    @property
    def cause(self) -> StackEvent | None:
        """The event that made it fail, None if nothing failed."""
        return first_cause(self.events)

    def skipped(self) -> list[StackEvent]:
        """Resources that a deletion kept, each once."""
        return list({each.logical_id: each for each in self.events if each.status == "DELETE_SKIPPED"}.values())


def first_cause(events: Sequence[StackEvent]) -> StackEvent | None:
    """The first failure that is nobody else's consequence.

    Parameters
    ----------
    events
        Oldest first.
    """
    failed = [event for event in events if event.status.endswith("_FAILED")]
    own = [event for event in failed if not event.reason.startswith(_CASCADE)]
    for candidates in ([each for each in own if not each.is_stack], own, failed):
        if candidates:
            return candidates[0]
    # Refused as a whole, before any resource was touched: only the stack's own roll-back says why.
    return next((each for each in events if each.is_stack and "ROLLBACK" in each.status and each.reason), None)


def cancelled_with(events: Sequence[StackEvent]) -> int:
    """How many resources failed only as a consequence."""
    return len({each.logical_id for each in events if not each.is_stack and each.reason.startswith(_CASCADE)})


@dataclass(frozen=True, slots=True)
class Pace:
    """How a running operation is watched.

    Parameters
    ----------
    poll_s
        Seconds between two looks.
    stall_s
        Give up after so many seconds without an event; None: never. An emulator that was killed in the middle of an
        operation never ends it; AWS always does, however long it takes.
    stall_hint
        What to do then.
    """

    sleep: Callable[[float], None]
    monotonic: Callable[[], float]
    poll_s: float
    stall_s: float | None = None
    stall_hint: str = ""


def follow(reader: EventReader, view: EventView, pace: Pace) -> Outcome:
    """Show the events until the operation has ended, roll-back included.

    Raises
    ------
    DeploymentError
        The stack is gone, or nothing has moved for `stall_s`.
    """
    events: list[StackEvent] = []
    moved_at = pace.monotonic()
    with view:
        while True:
            # The state first: when it is final, all events of the operation are there to be read.
            stack = reader.stacks.describe(reader.stack_id)
            if stack is None:
                raise DeploymentError("can't follow the stack: it doesn't exist any more")
            fresh = reader.new()
            for event in fresh:
                view.show(event)
            events.extend(fresh)
            if not stack.in_progress:
                return Outcome(stack, tuple(events))
            moved_at = pace.monotonic() if fresh else moved_at
            if pace.stall_s is not None and pace.monotonic() - moved_at > pace.stall_s:
                raise DeploymentError(
                    f"{stack.name} stands still: it is {stack.status}, but nothing works on it", pace.stall_hint
                )
            pace.sleep(pace.poll_s)
