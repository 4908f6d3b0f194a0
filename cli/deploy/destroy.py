"""Destroy a stack: prompt for its name, delete it, and keep its events unless requested otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cli.config.selection import Targets
from cli.deploy.plan import esctl, retained_tables
from cli.deploy.run import DeployContext, delete_stack, kept_tables, remember_kept
from cli.errors import DeploymentError, NotDeployedError, UsageError

_DELETABLE = frozenset({"DELETE_IN_PROGRESS", "CREATE_IN_PROGRESS"})


@dataclass(frozen=True, slots=True)
class Destroyed:
    """The retained tables that were deleted on request, and the resources (type, name) that are left."""

    deleted_tables: tuple[str, ...] = ()
    left: tuple[tuple[str, str], ...] = ()


def destroy(ctx: DeployContext, *, delete_events: bool) -> Destroyed:
    """Delete the stack, and with `delete_events` the tables that it would leave behind.

    Raises
    ------
    CliError
        There is no such stack, its name was not confirmed, or the deletion failed.
    """
    stack, tables = ctx.stack(), kept_tables(ctx)
    if stack is None:
        return _destroy_tables(ctx, tables, delete_events=delete_events)
    # CloudFormation can delete a stack that is being created, but not one that is being updated. The emulator can
    # delete both, and must: if it was killed during an operation, that operation never ends.
    if stack.in_progress and stack.status not in _DELETABLE and not ctx.target.is_local:
        raise DeploymentError(
            f"can't destroy {ctx.target.label} yet: it is {stack.status}",
            f"Follow it to its end:  {esctl('deploy', ctx.target)}",
        )
    retained = retained_tables(ctx.cloudformation.template(stack.id))
    resources = ctx.cloudformation.resources(stack.id)
    own = [table for name, table in resources.items() if name in retained and table]
    _approve(ctx, own, delete_events=delete_events)
    # Before the deletion, so that the next run after an interruption knows the tables.
    tables = list(dict.fromkeys([*tables, *own]))
    remember_kept(ctx, tables)
    outcome = delete_stack(ctx, stack, f"Deleting {stack.name}")
    Targets(ctx.state).forget(ctx.target)
    deleted = _delete(ctx, tables) if delete_events else ()
    left = tuple((event.resource_type, event.physical_id) for event in outcome.retained)
    return Destroyed(deleted, tuple(each for each in left if each[1] not in deleted))


def _destroy_tables(ctx: DeployContext, tables: list[str], *, delete_events: bool) -> Destroyed:
    """Delete the tables that an already deleted stack left behind."""
    Targets(ctx.state).forget(ctx.target)
    if not tables:
        raise NotDeployedError(f"{ctx.target.label} is not deployed: there is nothing to destroy")
    if not delete_events:
        raise NotDeployedError(
            f"{ctx.target.label} is not deployed, but its events are kept in {', '.join(tables)}",
            f"Delete them:  {esctl('destroy --delete-events', ctx.target)}",
        )
    _approve(ctx, tables, delete_events=True)
    return Destroyed(_delete(ctx, tables))


def _approve(ctx: DeployContext, tables: Sequence[str], *, delete_events: bool) -> None:
    for table in tables:
        ctx.output.message(f"table {table} will be {'DELETED, with every event in it' if delete_events else 'kept'}")
    if ctx.yes:
        return
    name = ctx.target.stack_name
    typed = ctx.output.ask(f"Type the stack's name ({name}) to destroy it", hint="Add --yes to skip this prompt.")
    if typed != name:
        raise UsageError(f"nothing was changed: {typed!r} is not the stack's name", f"Type {name}, or add --yes.")


def _delete(ctx: DeployContext, tables: list[str]) -> tuple[str, ...]:
    deleted = []
    for position, table in enumerate(tables):
        if ctx.tables.delete(table):
            deleted.append(table)
        remember_kept(ctx, tables[position + 1 :])
    return tuple(deleted)
