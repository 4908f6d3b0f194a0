"""Destroying: name it → ask → delete → follow → say what stays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cli.deployment.changeset import token
from cli.deployment.follow import EventReader, Outcome
from cli.deployment.job import Job, failure, retained
from cli.deployment.model import Resource, Stack
from cli.deployment.states import esctl
from cli.errors import CliError, DeploymentError, NotDeployedError, UsageError

_TABLE = "AWS::DynamoDB::Table"
_DELETABLE = frozenset({"DELETE_IN_PROGRESS", "CREATE_IN_PROGRESS"})


@dataclass(frozen=True, slots=True)
class Destroyed:
    """What is gone and what is left.

    Attributes
    ----------
    stack
        The stack as it was; None where only tables of an earlier one were deleted.
    deleted_tables
        Retained tables that were deleted on request.
    left
        What stays behind: resource type and name.
    """

    stack: Stack | None
    deleted_tables: tuple[str, ...] = ()
    left: tuple[tuple[str, str], ...] = ()


def destroy(job: Job, *, delete_events: bool) -> Destroyed:
    """Delete the stack, and with `delete_events` the tables that it would leave behind.

    Raises
    ------
    CliError
        There is no such stack, the name was not typed, or the deletion failed: with its first cause.
    """
    stack = job.stack()
    kept_before = job.records.of(job.target).kept_tables
    if stack is None:
        return _without_stack(job, kept_before, delete_events=delete_events)
    # CloudFormation deletes what is being created, but nothing that is being updated; the emulator deletes either, and
    # it has to: one that was killed in the middle of an operation never ends it.
    if stack.in_progress and stack.status not in _DELETABLE and not job.target.is_local:
        raise DeploymentError(
            f"can't destroy {job.target.label} yet: it is {stack.status}",
            f"Follow it to its end:  {esctl('deploy', job.target)}",
        )
    kept = _kept_tables(job, stack)
    _ask(job, [each.physical_id for each in kept], delete_events=delete_events)
    # Written down before: if we are interrupted, a second call still knows which tables the stack left behind.
    tables = tuple(dict.fromkeys([*kept_before, *(each.physical_id for each in kept)]))
    outcome = _delete(job, stack, tables)
    job.targets.forget(job.target)
    deleted = _delete_tables(job, tables) if delete_events else ()
    left = [(event.resource_type, event.physical_id) for event in outcome.skipped()]
    return Destroyed(stack, deleted, tuple(each for each in left if each[1] not in deleted))


def _without_stack(job: Job, tables: Sequence[str], *, delete_events: bool) -> Destroyed:
    """The stack is gone, but what it left can still be deleted."""
    job.targets.forget(job.target)
    if not tables:
        job.records.destroyed(job.target, ())
        raise NotDeployedError(f"{job.target.label} is not deployed: there is nothing to destroy")
    if not delete_events:
        raise NotDeployedError(
            f"{job.target.label} is not deployed, but its events are still kept in {', '.join(tables)}",
            f"Delete them too:  {esctl('destroy --delete-events', job.target)}",
        )
    _ask(job, tables, delete_events=True)
    return Destroyed(None, _delete_tables(job, tables))


def _kept_tables(job: Job, stack: Stack) -> list[Resource]:
    names = retained(job.services.stacks.template(stack.id), _TABLE)
    return [each for each in job.services.stacks.resources(stack.id) if each.logical_id in names and each.physical_id]


def _ask(job: Job, tables: Sequence[str], *, delete_events: bool) -> None:
    if tables:
        fate = "DELETED, with every event in it" if delete_events else "kept"
        for table in tables:
            job.reporter.say(f"table {table} will be {fate}")
    if job.yes:
        return
    name = job.target.stack_name
    typed = job.reporter.type_in(f"Type the stack's name ({name}) to destroy it")
    if typed != name:
        raise UsageError(f"nothing was changed: {typed!r} is not the stack's name", f"Type {name}, or add --yes.")


def _delete(job: Job, stack: Stack, tables: Sequence[str]) -> Outcome:
    stacks = job.services.stacks
    if stack.status == "DELETE_IN_PROGRESS":
        reader = EventReader.from_operation(stacks, stack.id)
    else:
        reader = EventReader.from_now(stacks, stack.id)
        job.records.destroyed(job.target, tables)
        stacks.delete(stack.id, token())
    outcome = job.watch(reader, f"Deleting {stack.name}")
    if outcome.stack.status != "DELETE_COMPLETE":
        hint = f"Mend the cause, then again:  {esctl('destroy', job.target)}"
        raise failure("the deletion", outcome, job.target, hint)
    return outcome


def _delete_tables(job: Job, tables: Sequence[str]) -> tuple[str, ...]:
    deleted = []
    for place, table in enumerate(tables):
        try:
            if job.services.tables.delete(table):
                deleted.append(table)
        except CliError:
            job.records.destroyed(job.target, tables[place:])
            raise
    job.records.destroyed(job.target, ())
    return tuple(deleted)
