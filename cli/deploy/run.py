"""Execute a deployment: make a plan, show it, have it approved, run its change set and follow it to its end."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

from cli.config.keys import choose_key, keep_key
from cli.config.selection import Targets
from cli.config.settings import Settings
from cli.config.state import State
from cli.config.targets import Target
from cli.deploy.assembly import Assemblies, Assembly, upload
from cli.deploy.aws import Assets, CloudFormation, Tables
from cli.deploy.follow import EventReader, Outcome, follow, poll_s
from cli.deploy.permission_diff import permission_diff
from cli.deploy.plan import KEY_PARAMETER, ChangeSet, Plan, Stack, all_new, esctl, obstacle
from cli.deploy.screen import OperationView, show_plan
from cli.errors import CliError, DeploymentError, ExitCode, TimedOutError
from cli.terminal.output import Output
from stack.settings import StackSettings

CHANGE_SET_PATIENCE_S = 600.0  # a change set of a hundred resources takes half a minute on AWS
LOCK_MESSAGE_AFTER_S = 0.5


@dataclass(frozen=True, slots=True)
class Job:
    """One run of deploy, diff or destroy.

    Attributes
    ----------
    target
        With its account and region.
    yes
        Approve everything that would be asked.
    """

    target: Target
    settings: Settings
    state: State
    output: Output
    assemblies: Assemblies
    cloudformation: CloudFormation
    assets: Assets
    tables: Tables
    yes: bool = False

    def stack(self) -> Stack | None:
        """Return the stack as it is now, None if there is none.

        Raises
        ------
        DeploymentError
            A stack of this name exists that is not ours.
        """
        stack = self.cloudformation.stack(self.target.stack_name)
        if stack is None or stack.status == "DELETE_COMPLETE":
            return None
        if not stack.is_ours:
            raise DeploymentError(
                f"{self.target.label} was not made by esctl, so esctl does not change it",
                "Choose another name with --stack-name or STACK_NAME.",
            )
        return stack

    def approve(self, question: str) -> None:
        """Ask for a yes; raise where there is none."""
        if not self.output.confirm(question, yes=self.yes):
            raise CliError("cancelled: nothing was changed")

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the target's lock, so that its stack is deployed or destroyed once at a time.

        The system releases the lock of a process that dies.
        """
        from filelock import FileLock, Timeout  # it loads asyncio: 40 ms

        folder, holder = "locks", f"{self.target.record}.pid"
        lock = FileLock(self.state.directory(folder) / f"{self.target.record}.lock", mode=0o600)
        try:
            lock.acquire(timeout=LOCK_MESSAGE_AFTER_S)
        except Timeout:
            pid = (self.state.read_text(folder, holder) or "unknown").strip()
            self.output.message(f"another deployment of {self.target.stack_name} is running (pid {pid}); waiting")
            lock.acquire()
        try:
            self.state.write_text(f"{os.getpid()}\n", folder, holder)
            yield
        finally:
            lock.release()


def deploy(job: Job) -> tuple[Plan, Stack]:
    """Bring the stack to what code and settings say; return what was done, and the stack as it is now.

    Raises
    ------
    CliError
        With the first cause of a failure, the state of the stack, and the command that resolves it.
    """
    job, stack = _settled(job)
    plan = _plan(job, stack, _choose_key(job, stack))
    if stack is None or plan.action != "unchanged":
        stack = _execute(job, plan)
    if job.target.keeps_key and plan.api_key:
        keep_key(job.target, job.state, plan.api_key)
    remember_kept(job, [table for table in kept_tables(job) if table not in stack.outputs.values()])
    Targets(job.state).remember(job.target.with_outputs(stack.outputs))
    return plan, stack


def diff(job: Job) -> Plan:
    """Show what `deploy` would do; leave nothing behind.

    Raises
    ------
    CliError
        An operation is in progress, or an operator has to resolve the state of the stack first.
    """
    stack = job.stack()
    if stack is not None:
        _check_obstacle(job, stack)
        if stack.in_progress:
            raise DeploymentError(
                f"can't compare: {job.target.label} is {stack.status}",
                f"Follow it to its end:  {esctl('deploy', job.target)}",
            )
        if stack.in_review or stack.failed_creation:
            stack = None
    plan = _plan(job, stack, _choose_key(job, stack) if stack else None)
    if plan.change_set:
        _discard(job, plan.change_set.id)
    if plan.action != "unchanged":
        show_plan(job.output, plan)
    return plan


def _settled(job: Job) -> tuple[Job, Stack | None]:
    """Bring the stack into a state that can be deployed to; None where it has to be created.

    The job is returned too: on AWS, approving that a failed stack is created again approves its creation.
    """
    stack = job.stack()
    if stack is None or stack.in_review:
        return job, None
    _check_obstacle(job, stack)
    if stack.in_progress:  # started by an earlier call, or by somebody else
        job.output.message(f"{job.target.label} is {stack.status}: following it to its end first.")
        reader = EventReader.from_operation(partial(job.cloudformation.events, stack.id))
        outcome = _watch(job, reader, stack.id, f"Deploying {stack.name}")
        if outcome.stack.status != "DELETE_COMPLETE" and not outcome.stack.succeeded:
            raise _deployment_failure(job, outcome)
        return _settled(job)
    if stack.failed_creation:
        job.output.message(f"The first creation of {job.target.label} failed ({stack.status}).")
        if job.target.needs_approval:
            job.approve("Such a stack can only be deleted. Delete it and create it again?")
            job = replace(job, yes=True)
        for event in delete_stack(job, stack, f"Removing what is left of {stack.name}").retained:
            job.output.message(f"left behind by the failed creation: {event.resource_type} {event.physical_id}")
        return job, None
    return job, stack


def _check_obstacle(job: Job, stack: Stack) -> None:
    if found := obstacle(stack, job.target):
        raise DeploymentError(f"can't deploy to {job.target.label}: {found[0]}", f"To resolve it:  {found[1]}")


def _choose_key(job: Job, stack: Stack | None) -> str | None:
    has_key = stack is not None and KEY_PARAMETER in stack.parameters
    return choose_key(job.target, job.settings, job.state, has_key=has_key)


def _plan(job: Job, stack: Stack | None, api_key: str | None) -> Plan:
    """Find out what a deployment would do to the stack; None: it has to be created."""
    target, settings = job.target, job.settings
    assembly = job.assemblies.get(
        StackSettings(target.stack_name, tracing=settings.tracing, strict=settings.strict, auth=settings.auth),
        validate=not target.is_local,  # the CDK's own validation is about AWS, and most of a synthesis
        working=job.output.progress,
    )
    if stack is None:
        kept = kept_tables(job) if target.is_local else []  # on AWS every new table has a new name
        overwritten = tuple(table for table in kept if job.tables.holds_items(table))
        return Plan(target, assembly, None, api_key, all_new(assembly.template), overwritten=overwritten)
    with job.output.progress("comparing with the deployed stack"):
        change_set = _change_set(job, assembly, api_key, creating=False)
    if change_set.is_empty:
        return Plan(target, assembly, stack, api_key)
    with _discarding(job, change_set.id):
        permissions = permission_diff(job.cloudformation.template(stack.id), assembly.template)
    return Plan(target, assembly, stack, api_key, change_set.changes, permissions, change_set)


def _execute(job: Job, plan: Plan) -> Stack:
    """Show the plan, have it approved, and run it to its end."""
    creating, change_set = plan.change_set is None, plan.change_set
    with _discarding(job, change_set.id if change_set else None):
        if not (creating and job.target.is_local):  # additions only, and nothing to approve
            show_plan(job.output, plan)
        if plan.question:
            job.approve(plan.question)
        with job.output.progress("uploading the code"):
            uploaded = upload(plan.assembly.code, job.assets)
        for asset in uploaded:
            job.output.message(f"uploaded {asset.path.stat().st_size / 1e6:.1f} MB to {job.assets.bucket}")
    if change_set is None:
        if job.target.keeps_key and plan.api_key:  # beforehand: after an interruption, the next run uses the same key
            keep_key(job.target, job.state, plan.api_key)
        with job.output.progress("preparing the stack"):
            change_set = _change_set(job, plan.assembly, plan.api_key, creating=True)
    with _discarding(job, change_set.id, creating=creating):
        reader = EventReader.from_now(partial(job.cloudformation.events, change_set.stack_id))
        job.cloudformation.execute(change_set.id, _token())
    title = f"{'Creating' if creating else 'Updating'} {job.target.stack_name}"
    outcome = _watch(job, reader, change_set.stack_id, title, expected=len(change_set.changes))
    if not outcome.stack.succeeded:
        raise _deployment_failure(job, outcome)
    return outcome.stack


def _change_set(job: Job, assembly: Assembly, api_key: str | None, *, creating: bool) -> ChangeSet:
    """Make a change set and wait until it is computed; one without changes is deleted again.

    Raises
    ------
    DeploymentError
        CloudFormation refuses the changes.
    TimedOutError
        It is not ready in time.
    """
    upload([assembly.template_file], job.assets)
    url, environment = job.assets.url(assembly.template_file.key), job.output.environment
    identifier = job.cloudformation.create_change_set(
        job.target.stack_name, _token(), creating=creating, template_url=url, api_key=api_key
    )
    with _discarding(job, identifier, creating=creating):
        deadline = environment.monotonic() + CHANGE_SET_PATIENCE_S
        while (change_set := job.cloudformation.change_set(identifier)).is_pending:
            if environment.monotonic() > deadline:
                raise TimedOutError(f"the change set is not ready after {CHANGE_SET_PATIENCE_S:.0f} s", "Deploy again.")
            environment.sleep(poll_s(job.target))
        if not change_set.is_empty and change_set.status != "CREATE_COMPLETE":
            raise DeploymentError(f"CloudFormation refuses the changes: {change_set.reason or change_set.status}")
    if change_set.is_empty:
        _discard(job, identifier, creating=creating)
    return change_set


@contextmanager
def _discarding(job: Job, change_set_id: str | None, *, creating: bool = False) -> Iterator[None]:
    """Discard the change set where the block fails or is interrupted."""
    try:
        yield
    except BaseException:
        if change_set_id:
            _discard(job, change_set_id, creating=creating)
        raise


def _discard(job: Job, change_set_id: str, *, creating: bool = False) -> None:
    """Delete a change set that nobody executes, and the empty stack that comes with one for a new stack."""
    job.cloudformation.delete_change_set(change_set_id)
    stack = job.cloudformation.stack(job.target.stack_name) if creating else None
    if stack is not None and stack.in_review:
        job.cloudformation.delete_stack(stack.id, _token())


def delete_stack(job: Job, stack: Stack, title: str) -> Outcome:
    """Delete the stack, or follow its deletion where that is in progress.

    Raises
    ------
    CliError
        The deletion failed, with its first cause, or Ctrl-C.
    """
    events = partial(job.cloudformation.events, stack.id)
    if stack.status == "DELETE_IN_PROGRESS":
        reader = EventReader.from_operation(events)
    else:
        reader = EventReader.from_now(events)
        job.cloudformation.delete_stack(stack.id, _token())
    outcome = _watch(job, reader, stack.id, title)
    if outcome.stack.status != "DELETE_COMPLETE":
        raise _failure("the deletion", outcome, f"Fix the cause, then:  {esctl('destroy', job.target)}")
    return outcome


def _watch(job: Job, reader: EventReader, stack_id: str, title: str, *, expected: int = 0) -> Outcome:
    """Follow an operation to its end.

    Raises
    ------
    CliError
        Ctrl-C: the operation continues, unwatched.
    """
    try:
        with OperationView(job.output, title, expected=expected, brief=job.target.is_local) as view:
            describe = partial(job.cloudformation.stack, stack_id)
            return follow(reader, describe, view.show, job.output.environment, job.target)
    except KeyboardInterrupt:
        command = "destroy" if title.startswith("Deleting") else "deploy"
        raise CliError(
            f"stopped watching: CloudFormation is still {title[0].lower()}{title[1:]}",
            f"Follow it again:  {esctl(command, job.target)}",
            exit_code=ExitCode.INTERRUPTED,
        ) from None


def _token() -> str:
    """Return a new client token: CloudFormation executes a call that is repeated with the same one only once."""
    return f"esctl-{secrets.token_hex(8)}"


def _failure(operation: str, outcome: Outcome, hint: str) -> DeploymentError:
    """Return the error of an operation that failed: its first cause, not the cascade."""
    stack, cause = outcome.stack, outcome.cause
    if cause is None:
        return DeploymentError(f"{operation} failed: the stack is {stack.status} {stack.reason}".rstrip(), hint)
    what = "the stack" if cause.is_stack else f"{cause.logical_id} ({cause.resource_type})"
    faults = [f"the stack is now {stack.status}"]
    if outcome.cancelled:
        faults.append(f"cancelled because of it: {outcome.cancelled} more")
    return DeploymentError(f"{operation} failed at {what}: {cause.reason or cause.status}", hint, faults=faults)


def _deployment_failure(job: Job, outcome: Outcome) -> DeploymentError:
    if found := obstacle(outcome.stack, job.target):
        return _failure("the deployment", outcome, f"To resolve it:  {found[1]}")
    rest = "The stack is as it was before."
    if outcome.stack.failed_creation:
        rest = "The next deployment removes what is left of it."
    return _failure("the deployment", outcome, f"{rest} Fix the cause, then:  {esctl('deploy', job.target)}")


def kept_tables(job: Job) -> list[str]:
    """Return the tables that destroyed stacks of this name left behind."""
    path = job.state.path("kept", f"{job.target.record}.json")
    if not path.exists():
        return []
    tables = (job.state.read_json("kept", path.name) or {}).get("tables")
    if not isinstance(tables, list):
        job.output.warning(f"{path} is damaged: tables kept by an earlier destroy are unknown")
        return []
    return [str(table) for table in tables]


def remember_kept(job: Job, tables: Sequence[str]) -> None:
    """Remember the tables that a destroyed stack leaves behind."""
    if tables:
        job.state.write_json({"tables": list(tables)}, "kept", f"{job.target.record}.json")
    else:
        job.state.remove("kept", f"{job.target.record}.json")
