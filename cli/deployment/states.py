"""What a stack's state allows: go on, follow what runs, make it new, or stop with the command that mends it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from cli.deployment.model import Stack
from cli.targets import Target


class Verdict(StrEnum):
    """What to do with a stack in the state it is in."""

    CREATE = "create"
    UPDATE = "update"
    FOLLOW = "follow"
    """Something runs: follow it to its end first."""
    RECREATE = "recreate"
    """The first creation failed: such a stack can only be deleted, and then made anew."""
    STUCK = "stuck"
    """A person has to decide."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict, and for a stuck stack why and what mends it."""

    verdict: Verdict
    why: str = ""
    mend: str = ""


_GOOD = frozenset(
    {
        "CREATE_COMPLETE",
        "UPDATE_COMPLETE",
        "UPDATE_ROLLBACK_COMPLETE",
        "IMPORT_COMPLETE",
        "IMPORT_ROLLBACK_COMPLETE",
    }
)
_NEVER_CREATED = frozenset({"ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED"})


def settled_well(stack: Stack) -> bool:
    """True when the last operation on the stack did what it was asked to do."""
    return stack.status in ("CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE")


def judge(stack: Stack | None, target: Target) -> Judgement:
    """What `esctl deploy` may do with the stack."""
    if stack is None or stack.status in ("DELETE_COMPLETE", "REVIEW_IN_PROGRESS"):
        # REVIEW_IN_PROGRESS: only the name is taken, by a change set that nobody executed. Another one may follow.
        return Judgement(Verdict.CREATE)
    if stack.in_progress:
        return Judgement(Verdict.FOLLOW)
    if stack.status in _GOOD:
        return Judgement(Verdict.UPDATE)
    if stack.status in _NEVER_CREATED:
        return Judgement(
            Verdict.RECREATE,
            f"its first creation failed ({stack.status}); such a stack can only be deleted and made anew",
            esctl("deploy --yes", target),
        )
    if stack.status == "DELETE_FAILED":
        return Judgement(
            Verdict.STUCK,
            f"its deletion stopped half-way ({stack.reason or stack.status})",
            esctl("destroy", target),
        )
    return Judgement(Verdict.STUCK, *_stuck_in_update(stack, target))


def _stuck_in_update(stack: Stack, target: Target) -> tuple[str, str]:
    if stack.status == "UPDATE_ROLLBACK_FAILED":
        why = f"the roll-back of an update failed ({stack.reason or 'see its events'})"
        return why, aws("continue-update-rollback", target)
    if stack.status == "UPDATE_FAILED":
        return "an update failed and roll-back was switched off for it", aws("rollback-stack", target)
    return f"it is in state {stack.status}", aws("describe-stack-events", target)


def esctl(command: str, target: Target) -> str:
    """The esctl command line that acts on the same stack."""
    return f"esctl {command} {target.flags}".rstrip()


def aws(command: str, target: Target) -> str:
    """The command line of the AWS CLI that acts on the same stack, for what esctl leaves to a person."""
    return f"aws cloudformation {command} --stack-name {target.stack_name} --region {target.region}"
