"""Deploy, compare and destroy: make a plan, show it, have it approved, execute it and follow it to its end."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

from cli.config.keys import choose_key, keep_key
from cli.config.selection import Targets
from cli.config.settings import Settings
from cli.config.state import State
from cli.config.targets import Target
from cli.deploy.assembly import Assemblies, Assembly
from cli.deploy.aws import Assets, CloudFormation, Tables
from cli.deploy.follow import EventReader, OperationResult, follow
from cli.deploy.older_code import OlderCode
from cli.deploy.permission_diff import permission_diff
from cli.deploy.plan import KEY_PARAMETER, ChangeSet, Plan, Stack, all_new, esctl, obstacle, retained_tables
from cli.deploy.screen import OperationView, show_plan
from cli.errors import CliError, DeploymentError, ExitCode, NotDeployedError, TimedOutError, UsageError
from cli.terminal.output import Output
from stack.settings import StackSettings

CHANGE_SET_TIMEOUT_S = 600.0  # a change set of a hundred resources takes half a minute on AWS
_DELETABLE = frozenset({"DELETE_IN_PROGRESS", "CREATE_IN_PROGRESS"})


@dataclass(frozen=True, slots=True)
class DeployContext:
    """What one run of deploy, diff or destroy works with."""

    target: Target  # with its account and region
    settings: Settings
    state: State
    output: Output
    assemblies: Assemblies
    cloudformation: CloudFormation
    assets: Assets
    tables: Tables
    older_code: Callable[[Stack], OlderCode]
    yes: bool = False  # skip the confirmation prompts

    def stack(self) -> Stack | None:
        """Return the current stack, None if there is none; raise `DeploymentError` if esctl did not create it."""
        stack = self.cloudformation.stack(self.target.stack_name)
        if stack is None or stack.status == "DELETE_COMPLETE":
            return None
        if not stack.is_ours:
            raise DeploymentError(
                f"{self.target.label} was not created by esctl, so esctl does not change it",
                "Choose another name with --stack-name or STACK_NAME.",
            )
        return stack

    def approve(self, question: str) -> None:
        """Prompt for confirmation; raise if it is refused."""
        if not self.output.confirm(question, yes=self.yes):
            raise CliError("cancelled: nothing was changed")

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the target's lock: operations on one stack run one at a time."""
        record = self.target.record

        def waiting() -> None:
            pid = (self.state.read_text("locks", f"{record}.pid") or "unknown").strip()
            self.output.message(f"another deployment of {self.target.stack_name} is running (pid {pid}); waiting")

        with self.state.lock("locks", f"{record}.lock", waiting=waiting):
            self.state.write_text(f"{os.getpid()}\n", "locks", f"{record}.pid")
            yield


def deploy(ctx: DeployContext) -> tuple[Plan, Stack]:
    """Deploy the current code and settings; return the executed plan and the resulting stack.

    Errors name the first cause of a failure, the state of the stack, and the command that resolves it.
    """
    ctx, stack = _settled(ctx)
    plan = _plan(ctx, stack, _choose_key(ctx, stack))
    if stack is None or plan.action != "unchanged":
        stack = _execute(ctx, plan)
    if ctx.target.keeps_key and plan.api_key:
        keep_key(ctx.target, ctx.state, plan.api_key)
    _remember_kept(ctx, [table for table in kept_tables(ctx) if table not in stack.outputs.values()])
    Targets(ctx.state).remember(ctx.target.with_outputs(stack.outputs))
    return plan, stack


def diff(ctx: DeployContext) -> Plan:
    """Show what `deploy` would do, and change nothing."""
    stack = ctx.stack()
    if stack is not None:
        _check_obstacle(ctx, stack)
        if stack.in_progress:
            raise DeploymentError(
                f"can't compare: {ctx.target.label} is {stack.status}",
                f"Follow it to its end:  {esctl('deploy', ctx.target)}",
            )
        if stack.in_review or stack.failed_creation:
            stack = None
    plan = _plan(ctx, stack, _choose_key(ctx, stack) if stack else None)
    if plan.change_set:
        _discard(ctx, plan.change_set.id)
    if plan.action != "unchanged":
        show_plan(ctx.output, plan)
    return plan


def _settled(ctx: DeployContext) -> tuple[DeployContext, Stack | None]:
    """Bring the stack into a deployable state; return None for it if it has to be created.

    Also return the context: on AWS, approving that a failed stack is recreated includes approving its creation.
    """
    stack = ctx.stack()
    if stack is None or stack.in_review:
        return ctx, None
    _check_obstacle(ctx, stack)
    if stack.in_progress:  # started by an earlier run, or by another user
        ctx.output.message(f"{ctx.target.label} is {stack.status}: following it to its end first.")
        reader = EventReader.from_operation(partial(ctx.cloudformation.events, stack.id))
        outcome = _watch(ctx, reader, stack.id, f"Deploying {stack.name}")
        if outcome.stack.status != "DELETE_COMPLETE" and not outcome.stack.succeeded:
            raise _deployment_failure(ctx, outcome)
        return _settled(ctx)
    if stack.failed_creation:
        ctx.output.message(f"The first creation of {ctx.target.label} failed ({stack.status}).")
        if ctx.target.needs_approval:
            ctx.approve("Such a stack can only be deleted. Delete and recreate it?")
            ctx = replace(ctx, yes=True)
        for event in _delete_stack(ctx, stack, f"Deleting the remains of {stack.name}").retained:
            ctx.output.message(f"left behind by the failed creation: {event.resource_type} {event.physical_id}")
        return ctx, None
    return ctx, stack


def _check_obstacle(ctx: DeployContext, stack: Stack) -> None:
    if found := obstacle(stack, ctx.target):
        raise DeploymentError(f"can't deploy to {ctx.target.label}: {found[0]}", f"To resolve it:  {found[1]}")


def _choose_key(ctx: DeployContext, stack: Stack | None) -> str | None:
    has_key = stack is not None and KEY_PARAMETER in stack.parameters
    return choose_key(ctx.target, ctx.settings, ctx.state, has_key=has_key)


def _plan(ctx: DeployContext, stack: Stack | None, api_key: str | None) -> Plan:
    """Return what a deployment would do to the stack (None: it has to be created)."""
    target, settings = ctx.target, ctx.settings
    older = OlderCode() if stack is None else ctx.older_code(stack)
    if older.kept:
        ctx.output.message(f"keeping the deployed code of {', '.join(older.kept)} for the rows that it built")
    if older.missing:
        ctx.output.warning(
            f"the code that built the rows of {', '.join(older.missing)} is not in the deployed asset; "
            "until a replay, the new code adds to these rows"
        )
    assembly = ctx.assemblies.get(
        StackSettings(target.stack_name, tracing=settings.tracing, strict=settings.strict, auth=settings.auth),
        validate=not target.is_local,  # the CDK's validation concerns AWS only, and takes most of the synthesis
        working=ctx.output.progress,
        older=older.folder,
    )
    if stack is None:
        kept = kept_tables(ctx) if target.is_local else []  # on AWS, every new table gets a new name
        overwritten = tuple(table for table in kept if ctx.tables.holds_items(table))
        return Plan(target, assembly, None, api_key, all_new(assembly.template), overwritten=overwritten)
    with ctx.output.progress("comparing with the deployed stack"):
        change_set = _change_set(ctx, assembly, api_key, creating=False)
    if change_set.is_empty:
        return Plan(target, assembly, stack, api_key)
    with _discarding(ctx, change_set.id):
        permissions = permission_diff(ctx.cloudformation.template(stack.id), assembly.template)
    return Plan(target, assembly, stack, api_key, change_set.changes, permissions, change_set)


def _execute(ctx: DeployContext, plan: Plan) -> Stack:
    """Show the plan, have it approved, execute it and follow it to its end."""
    creating, change_set = plan.change_set is None, plan.change_set
    with _discarding(ctx, change_set.id if change_set else None):
        if not creating or ctx.target.needs_approval:  # otherwise only additions, nothing to approve
            show_plan(ctx.output, plan)
        if plan.question:
            ctx.approve(plan.question)
        with ctx.output.progress("uploading the code"):
            uploaded = ctx.assets.upload(plan.assembly.code)
        for asset in uploaded:
            ctx.output.message(f"uploaded {asset.path.stat().st_size / 1e6:.1f} MB to {ctx.assets.bucket}")
    if change_set is None:
        if ctx.target.keeps_key and plan.api_key:  # first, so that the next run after an interruption uses the same key
            keep_key(ctx.target, ctx.state, plan.api_key)
        with ctx.output.progress("preparing the stack"):
            change_set = _change_set(ctx, plan.assembly, plan.api_key, creating=True)
    with _discarding(ctx, change_set.id, creating=creating):
        reader = EventReader.from_now(partial(ctx.cloudformation.events, change_set.stack_id))
        ctx.cloudformation.execute(change_set.id, _token())
    title = f"{'Creating' if creating else 'Updating'} {ctx.target.stack_name}"
    outcome = _watch(ctx, reader, change_set.stack_id, title, expected=len(change_set.changes))
    if not outcome.stack.succeeded:
        raise _deployment_failure(ctx, outcome)
    return outcome.stack


def _change_set(ctx: DeployContext, assembly: Assembly, api_key: str | None, *, creating: bool) -> ChangeSet:
    """Create a change set and wait until it is ready; delete it if it has no changes."""
    ctx.assets.upload([assembly.template_file])
    url, poll_s = ctx.assets.url(assembly.template_file.key), ctx.target.poll_s
    identifier = ctx.cloudformation.create_change_set(
        ctx.target.stack_name, _token(), creating=creating, template_url=url, api_key=api_key
    )
    with _discarding(ctx, identifier, creating=creating):
        change_set = ctx.output.environment.poll(
            partial(ctx.cloudformation.change_set, identifier),
            lambda found: not found.is_pending,
            timeout_s=CHANGE_SET_TIMEOUT_S,
            pause_s=poll_s,
            pause_max_s=poll_s,
        )
        if change_set.is_pending:
            raise TimedOutError(
                f"the change set is not ready after {CHANGE_SET_TIMEOUT_S:.0f} s", "Run the command again."
            )
        if not change_set.is_empty and change_set.status != "CREATE_COMPLETE":
            raise DeploymentError(f"CloudFormation rejected the changes: {change_set.reason or change_set.status}")
    if change_set.is_empty:
        _discard(ctx, identifier, creating=creating)
    return change_set


@contextmanager
def _discarding(ctx: DeployContext, change_set_id: str | None, *, creating: bool = False) -> Iterator[None]:
    """Discard the change set if the block fails or is interrupted."""
    try:
        yield
    except BaseException:
        if change_set_id:
            _discard(ctx, change_set_id, creating=creating)
        raise


def _discard(ctx: DeployContext, change_set_id: str, *, creating: bool = False) -> None:
    """Delete an unexecuted change set, and the empty stack that creating one for a new stack leaves."""
    ctx.cloudformation.delete_change_set(change_set_id)
    stack = ctx.cloudformation.stack(ctx.target.stack_name) if creating else None
    if stack is not None and stack.in_review:
        ctx.cloudformation.delete_stack(stack.id, _token())


@dataclass(frozen=True, slots=True)
class Destroyed:
    """The retained tables that were deleted on request, and the resources (type, name) that are left."""

    deleted_tables: tuple[str, ...] = ()
    left: tuple[tuple[str, str], ...] = ()


def destroy(ctx: DeployContext, *, delete_events: bool) -> Destroyed:
    """Delete the stack, and with `delete_events` the tables that it would leave behind."""
    stack, tables = ctx.stack(), kept_tables(ctx)
    if stack is None:
        return _destroy_tables(ctx, tables, delete_events=delete_events)
    # CloudFormation can delete a stack that is being created, but not one that is being updated. The emulator can
    # delete both, and must: if it was killed during an operation, that operation never ends.
    if stack.in_progress and stack.status not in _DELETABLE and ctx.target.stall_s is None:
        raise DeploymentError(
            f"can't destroy {ctx.target.label} yet: it is {stack.status}",
            f"Follow it to its end:  {esctl('deploy', ctx.target)}",
        )
    retained = retained_tables(ctx.cloudformation.template(stack.id))
    resources = ctx.cloudformation.resources(stack.id)
    own = [table for name, table in resources.items() if name in retained and table]
    _confirm_destruction(ctx, own, delete_events=delete_events)
    # Before the deletion, so that the next run after an interruption knows the tables.
    tables = list(dict.fromkeys([*tables, *own]))
    _remember_kept(ctx, tables)
    outcome = _delete_stack(ctx, stack, f"Deleting {stack.name}")
    Targets(ctx.state).forget(ctx.target)
    deleted = _delete_tables(ctx, tables) if delete_events else ()
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
    _confirm_destruction(ctx, tables, delete_events=True)
    return Destroyed(_delete_tables(ctx, tables))


def _confirm_destruction(ctx: DeployContext, tables: list[str], *, delete_events: bool) -> None:
    for table in tables:
        ctx.output.message(f"table {table} will be {'DELETED, with every event in it' if delete_events else 'kept'}")
    if ctx.yes:
        return
    name = ctx.target.stack_name
    typed = ctx.output.ask(f"Type the stack's name ({name}) to destroy it", hint="Add --yes to skip this prompt.")
    if typed != name:
        raise UsageError(f"nothing was changed: {typed!r} is not the stack's name", f"Type {name}, or add --yes.")


def _delete_tables(ctx: DeployContext, tables: list[str]) -> tuple[str, ...]:
    deleted = []
    for position, table in enumerate(tables):
        if ctx.tables.delete(table):
            deleted.append(table)
        _remember_kept(ctx, tables[position + 1 :])
    return tuple(deleted)


def _delete_stack(ctx: DeployContext, stack: Stack, title: str) -> OperationResult:
    """Delete the stack, or follow a deletion in progress."""
    events = partial(ctx.cloudformation.events, stack.id)
    if stack.status == "DELETE_IN_PROGRESS":
        reader = EventReader.from_operation(events)
    else:
        reader = EventReader.from_now(events)
        ctx.cloudformation.delete_stack(stack.id, _token())
    outcome = _watch(ctx, reader, stack.id, title)
    if outcome.stack.status != "DELETE_COMPLETE":
        raise _failure("the deletion", outcome, f"Fix the cause, then:  {esctl('destroy', ctx.target)}")
    return outcome


def _watch(ctx: DeployContext, reader: EventReader, stack_id: str, title: str, *, expected: int = 0) -> OperationResult:
    """Follow an operation to its end; on Ctrl-C raise `CliError` and leave the operation running."""
    try:
        with OperationView(ctx.output, title, expected=expected, brief=ctx.target.is_local) as view:
            describe = partial(ctx.cloudformation.stack, stack_id)
            return follow(reader, describe, view.show, ctx.output.environment, ctx.target)
    except KeyboardInterrupt:
        command = "destroy" if title.startswith("Deleting") else "deploy"
        raise CliError(
            f"stopped watching: CloudFormation is still {title[0].lower()}{title[1:]}",
            f"Follow it again:  {esctl(command, ctx.target)}",
            exit_code=ExitCode.INTERRUPTED,
        ) from None


def _token() -> str:
    """Return a new client token: CloudFormation executes repeated calls with the same token only once."""
    return f"esctl-{secrets.token_hex(8)}"


def _failure(operation: str, outcome: OperationResult, hint: str) -> DeploymentError:
    """Return the error of a failed operation: its first cause, not the cascade."""
    stack, cause = outcome.stack, outcome.cause
    if cause is None:
        return DeploymentError(f"{operation} failed: the stack is {stack.status} {stack.reason}".rstrip(), hint)
    what = "the stack" if cause.is_stack else f"{cause.logical_id} ({cause.resource_type})"
    faults = [f"the stack is now {stack.status}"]
    if outcome.cancelled:
        faults.append(f"{outcome.cancelled} more cancelled as a consequence")
    return DeploymentError(f"{operation} failed at {what}: {cause.reason or cause.status}", hint, faults=faults)


def _deployment_failure(ctx: DeployContext, outcome: OperationResult) -> DeploymentError:
    if found := obstacle(outcome.stack, ctx.target):
        return _failure("the deployment", outcome, f"To resolve it:  {found[1]}")
    rest = "The update was rolled back."
    if outcome.stack.failed_creation:
        rest = "The next deployment removes its remains."
    return _failure("the deployment", outcome, f"{rest} Fix the cause, then:  {esctl('deploy', ctx.target)}")


def kept_tables(ctx: DeployContext) -> list[str]:
    """Return the tables that destroyed stacks of this name left behind."""
    file = ("kept", f"{ctx.target.record}.json")
    tables = (ctx.state.read_json(*file) or {}).get("tables")
    if isinstance(tables, list):
        return [str(table) for table in tables]
    if (path := ctx.state.path(*file)).exists():
        ctx.output.warning(f"{path} is damaged: the tables kept by an earlier destroy are unknown")
    return []


def _remember_kept(ctx: DeployContext, tables: Sequence[str]) -> None:
    file = ("kept", f"{ctx.target.record}.json")
    if tables:
        ctx.state.write_json({"tables": list(tables)}, *file)
    else:
        ctx.state.remove(*file)
