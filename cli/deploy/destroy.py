"""Destroy a stack: have it approved by name, delete it, and keep its events unless told otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cli.config.selection import Targets
from cli.deploy.plan import esctl, retained_tables
from cli.deploy.run import Job, delete_stack, kept_tables, remember_kept
from cli.errors import DeploymentError, NotDeployedError, UsageError

_DELETABLE = frozenset({"DELETE_IN_PROGRESS", "CREATE_IN_PROGRESS"})


@dataclass(frozen=True, slots=True)
class Destroyed:
    """What was deleted beside the stack, and what was not.

    Attributes
    ----------
    deleted_tables
        Retained tables that were deleted on request.
    left
        What is left behind: resource type and name.
    """

    deleted_tables: tuple[str, ...] = ()
    left: tuple[tuple[str, str], ...] = ()


def destroy(job: Job, *, delete_events: bool) -> Destroyed:
    """Delete the stack, and with `delete_events` the tables that it would leave behind.

    Raises
    ------
    CliError
        There is no such stack, its name was not typed, or the deletion failed: with its first cause.
    """
    stack, tables = job.stack(), kept_tables(job)
    if stack is None:
        return _destroy_tables(job, tables, delete_events=delete_events)
    # CloudFormation can delete a stack that is being created, but not one that is being updated. The emulator can
    # delete both, and has to: one that was killed during an operation never ends it.
    if stack.in_progress and stack.status not in _DELETABLE and not job.target.is_local:
        raise DeploymentError(
            f"can't destroy {job.target.label} yet: it is {stack.status}",
            f"Follow it to its end:  {esctl('deploy', job.target)}",
        )
    retained = retained_tables(job.cloudformation.template(stack.id))
    resources = job.cloudformation.resources(stack.id)
    own = [table for name, table in resources.items() if name in retained and table]
    _approve(job, own, delete_events=delete_events)
    # Before the deletion: after an interruption, a second call still knows the tables.
    tables = list(dict.fromkeys([*tables, *own]))
    remember_kept(job, tables)
    outcome = delete_stack(job, stack, f"Deleting {stack.name}")
    Targets(job.state).forget(job.target)
    deleted = _delete(job, tables) if delete_events else ()
    left = tuple((event.resource_type, event.physical_id) for event in outcome.retained)
    return Destroyed(deleted, tuple(each for each in left if each[1] not in deleted))


def _destroy_tables(job: Job, tables: list[str], *, delete_events: bool) -> Destroyed:
    """Delete what a stack left behind that is gone already."""
    Targets(job.state).forget(job.target)
    if not tables:
        raise NotDeployedError(f"{job.target.label} is not deployed: there is nothing to destroy")
    if not delete_events:
        raise NotDeployedError(
            f"{job.target.label} is not deployed, but its events are still kept in {', '.join(tables)}",
            f"Delete them too:  {esctl('destroy --delete-events', job.target)}",
        )
    _approve(job, tables, delete_events=True)
    return Destroyed(_delete(job, tables))


def _approve(job: Job, tables: Sequence[str], *, delete_events: bool) -> None:
    for table in tables:
        job.output.message(f"table {table} will be {'DELETED, with every event in it' if delete_events else 'kept'}")
    if job.yes:
        return
    name = job.target.stack_name
    typed = job.output.ask(f"Type the stack's name ({name}) to destroy it", hint="Add --yes to approve it.")
    if typed != name:
        raise UsageError(f"nothing was changed: {typed!r} is not the stack's name", f"Type {name}, or add --yes.")


def _delete(job: Job, tables: list[str]) -> tuple[str, ...]:
    deleted = []
    for position, table in enumerate(tables):
        if job.tables.delete(table):
            deleted.append(table)
        remember_kept(job, tables[position + 1 :])
    return tuple(deleted)
