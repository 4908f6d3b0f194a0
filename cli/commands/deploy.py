"""`esctl deploy`, `esctl diff` and `esctl destroy`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.command import command
from cli.errors import DeploymentError, NotFoundError
from cli.session import Session
from cli.targets import Target, for_deployment

if TYPE_CHECKING:
    from cli.deployment.deploy import Result
    from cli.deployment.destroy import Destroyed
    from cli.deployment.job import Job
    from stack.settings import StackSettings

AfterSteps = tuple[Callable[[Target], None], ...]

LOCAL_STALL_S = 30.0  # the emulator makes a resource within a second; so long a silence is a dead operation

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask: consent to everything that would be asked.")]


@command()
def deploy(
    session: Session,
    yes: Yes = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the changes and stop, like diff.")] = False,
    replay: Annotated[
        bool,
        typer.Option("--replay", help="Replay projections whose fold has changed; else asked, and --yes is no answer."),
    ] = False,
) -> None:
    """Deploy the stack: to AWS, or with --local to this machine.

    Shows what changes, asks where permissions widen or data could be lost, and follows the deployment to its end. Run
    it again after Ctrl-C to go on watching.
    """
    if dry_run:
        _show_diff(session, for_deployment(session.choice, session.settings))
        return
    from cli.deployment.deploy import deploy as execute

    began = session.environment.monotonic()
    target = _up(session, for_deployment(session.choice, session.settings))
    job = _job(session, target, yes=yes, creates=True, after=_after_steps(session, replay=replay, ask=not yes))
    _name(session, "Deploying", job.target)
    result = execute(job)
    _deployed(session, job, result, session.environment.monotonic() - began)


@command()
def diff(session: Session) -> None:
    """Show what a deployment would change, and change nothing."""
    _show_diff(session, _known_target(session, changes=False))


@command()
def destroy(
    session: Session,
    yes: Yes = False,
    delete_events: Annotated[
        bool, typer.Option("--delete-events", help="Delete the Events table too, which is kept otherwise.")
    ] = False,
) -> None:
    """Remove the stack. The Events table is kept unless you say --delete-events."""
    from cli.deployment.destroy import destroy as execute

    job = _job(session, _up(session, _known_target(session, changes=True)), yes=yes, creates=False)
    _name(session, "Destroying", job.target)
    _destroyed(session, job, execute(job, delete_events=delete_events))


def _known_target(session: Session, *, changes: bool) -> Target:
    """The target that the flags, the settings or the last deployment name.

    Parameters
    ----------
    changes
        The command changes it: then nothing but flags, settings or an earlier deployment chooses AWS.
    """
    try:
        return session.targets.resolve(session.choice, session.settings)
    except NotFoundError:
        target = for_deployment(session.choice, session.settings)
        if changes and not target.is_local:
            raise
        return target


def _name(session: Session, doing: str, target: Target) -> None:
    """Say where something is about to happen, before it does."""
    where = f"account {target.account}, region {target.region}"
    place = f"on the local target ({target.endpoint_url})" if target.is_local else f"in {where}"
    session.output.message(f"{doing} stack {target.stack_name} {place}")


def _up(session: Session, target: Target) -> Target:
    """The local target with its address; the emulator is started if it isn't up."""
    if not target.is_local:
        return target
    if not session.emulator.status().running:
        with session.output.progress("starting the emulator"):
            session.emulator.start()
    return session.on_emulator(target)


def _job(session: Session, target: Target, *, yes: bool, creates: bool, after: AfterSteps = ()) -> Job:
    """The composition root of deploying."""
    from cli.deployment.assembly import Assemblies
    from cli.deployment.assets import S3AssetStore
    from cli.deployment.checks import checked_target
    from cli.deployment.cloudformation import CloudFormationChangeSets, CloudFormationStacks
    from cli.deployment.follow import POLL_AWS_S, POLL_LOCAL_S, Pace
    from cli.deployment.job import Job, Services
    from cli.deployment.reporter import OutputReporter
    from cli.deployment.tables import DynamoTables
    from stack.asset import source_fingerprint

    target = checked_target(target, session.settings, session.clients_for, creates=creates)
    clients = session.clients_for(target)
    poll_s, stall_s = (POLL_LOCAL_S, LOCAL_STALL_S) if target.is_local else (POLL_AWS_S, None)
    cloudformation = clients.client("cloudformation")
    return Job(
        target=target,
        settings=session.settings,
        services=Services(
            stacks=CloudFormationStacks(cloudformation),
            change_sets=CloudFormationChangeSets(cloudformation),
            assets=S3AssetStore(clients, target),
            tables=DynamoTables(clients, poll_s),
        ),
        reporter=OutputReporter(session.output, brief=target.is_local),
        pace=Pace(
            session.environment.sleep,
            session.environment.monotonic,
            poll_s,
            stall_s,
            f"The emulator was stopped in the middle. Remove what is left:  esctl destroy {target.flags}",
        ),
        state=session.state,
        assemblies=Assemblies(session.state, _synthesize),
        sources=source_fingerprint,
        yes=yes,
        after=after,
    )


def _after_steps(session: Session, *, replay: bool, ask: bool) -> AfterSteps:
    """What follows a successful deployment; each step gets the target with its outputs."""

    def offer_replays(target: Target) -> None:
        from cli.replay.run import offer_replays as offer
        from handlers.projections import registry

        offer(
            session.service_for(target),
            session.environment,
            session.output,
            registry().values(),
            replay=replay,
            ask=ask,
        )

    return (offer_replays,)


def _synthesize(settings: StackSettings, outdir: Path, validate: bool) -> None:
    from stack.app import SynthesisError, synthesize

    try:
        synthesize(settings, outdir, validate=validate)
    except SynthesisError as error:
        raise DeploymentError("the stack can't be synthesized", faults=error.findings) from error


def _show_diff(session: Session, target: Target) -> None:
    from cli.deployment.deploy import diff as plan

    job = _job(session, _up(session, target), yes=False, creates=False)
    _name(session, "Comparing", job.target)
    result = plan(job)
    if not session.output.is_text:
        session.output.json(_document(job, result))
    elif result.action == "unchanged":
        session.output.success("nothing to change")
    else:
        session.output.hint(f"To deploy it:  esctl deploy {job.target.flags}".rstrip())


def _deployed(session: Session, job: Job, result: Result, seconds: float) -> None:
    output, stack = session.output, result.stack
    target = job.target.with_outputs(stack.outputs if stack else {})
    if not output.is_text:
        output.json({**_document(job, result), "seconds": round(seconds, 1)})
        return
    done = {"unchanged": "nothing changed", "created": "created", "updated": "updated"}[result.action]
    output.success(f"{target.label}: {done} ({seconds:.1f} s)")
    output.pairs({**dict(sorted(target.outputs.items())), "ApiUrl": target.api_url or ""})
    output.hint("Try it:  esctl walkthrough")
    output.hint("Append an event:  esctl add-event --type ITEM_CREATED --item-id 1 --amount 225")
    output.hint("List the items:  esctl list")


def _destroyed(session: Session, job: Job, result: Destroyed) -> None:
    output = session.output
    if not output.is_text:
        output.json(
            {
                **_where(job.target),
                "action": "destroyed",
                "deletedTables": list(result.deleted_tables),
                "left": [{"type": kind, "name": name} for kind, name in result.left],
            }
        )
        return
    output.success(f"{job.target.label}: destroyed")
    for table in result.deleted_tables:
        output.message(f"deleted table {table}")
    for kind, name in result.left:
        output.message(f"left behind: {kind} {name}")
    if any(kind == "AWS::DynamoDB::Table" for kind, _ in result.left):
        output.hint(f"Delete what is left of the events:  esctl destroy --delete-events {job.target.flags}".rstrip())


def _where(target: Target) -> dict[str, Any]:
    return {
        "target": target.kind,
        "stackName": target.stack_name,
        "region": target.region,
        "account": target.account,
    }


def _document(job: Job, result: Result) -> dict[str, Any]:
    stack = result.stack
    target = job.target.with_outputs(stack.outputs if stack else {})
    return {
        **_where(target),
        "action": result.action,
        "stackId": stack.id if stack else None,
        "status": stack.status if stack else None,
        "apiUrl": target.api_url,
        "outputs": dict(target.outputs),
        "changes": [
            {
                "action": each.action.value,
                "logicalId": each.logical_id,
                "type": each.resource_type,
                "properties": list(each.properties),
                "keepsOld": each.keeps_old,
                "follows": each.follows,
            }
            for each in result.changes
        ],
        "widenings": [
            {"who": each.who, "may": each.may, "on": each.on, "public": each.public} for each in result.widenings
        ],
    }
