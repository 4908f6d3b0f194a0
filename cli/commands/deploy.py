"""`esctl deploy`, `esctl diff` and `esctl destroy`: manage the stack."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.commands import Yes
from cli.config.selection import for_deployment
from cli.config.targets import Target
from cli.deploy import older_code, run
from cli.deploy.assembly import Assemblies
from cli.deploy.aws import Assets, CloudFormation, Tables, located
from cli.deploy.plan import Plan, Stack, esctl
from cli.errors import DeploymentError, NotFoundError
from cli.replay.run import offer_replays, try_new_code
from cli.shell.command import command
from cli.shell.session import Session
from handlers.domain import registry
from stack.app import SynthesisError, synthesize
from stack.asset import source_fingerprint
from stack.settings import StackSettings


@command()
def deploy(
    session: Session,
    yes: Yes = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the changes and stop, like diff.")] = False,
    replay: Annotated[
        bool,
        typer.Option(
            "--replay", help="Replay projections whose code changed; otherwise prompts. --yes does not cover it."
        ),
    ] = False,
) -> None:
    """Deploy the stack: to AWS, or with --local to this machine.

    Shows what changes, prompts before granting permissions or deleting data, and follows the deployment to its end.
    After Ctrl-C, run it again to continue watching.
    """
    if dry_run:
        _show_diff(session, for_deployment(session.choice, session.settings))
        return
    began = session.environment.monotonic()
    ctx = _context(session, for_deployment(session.choice, session.settings), yes=yes, creates=True)
    _announce(session, "Deploying", ctx.target)
    with ctx.exclusive():
        deployed = ctx.stack()
        if deployed is not None and deployed.succeeded:
            service = session.service_for(ctx.target.with_outputs(deployed.outputs))
            try_new_code(service, session.environment, session.output, registry().values())
        plan, stack = run.deploy(ctx)
        service = session.service_for(ctx.target.with_outputs(stack.outputs))
        offer_replays(service, session.environment, session.output, registry().values(), replay=replay, ask=not yes)
    _show_deployed(session, plan, stack, session.environment.monotonic() - began)


@command()
def diff(session: Session) -> None:
    """Show what a deployment would change, and change nothing."""
    _show_diff(session, _known_target(session, changes=False))


@command()
def destroy(
    session: Session,
    yes: Yes = False,
    delete_events: Annotated[
        bool, typer.Option("--delete-events", help="Also delete the Events table, which is kept by default.")
    ] = False,
) -> None:
    """Remove the stack. The Events table is kept unless --delete-events is given."""
    ctx = _context(session, _known_target(session, changes=True), yes=yes, creates=False)
    _announce(session, "Destroying", ctx.target)
    with ctx.exclusive():
        result = run.destroy(ctx, delete_events=delete_events)
    _show_destroyed(session, ctx.target, result)


def _known_target(session: Session, *, changes: bool) -> Target:
    """Return the target selected by the flags, the settings or the last deployment.

    A command that `changes` the target uses AWS only if flags, settings or an earlier deployment select it.
    """
    try:
        return session.targets.resolve(session.choice, session.settings)
    except NotFoundError:
        target = for_deployment(session.choice, session.settings)
        if changes and not target.is_local:
            raise
        return target


def _announce(session: Session, doing: str, target: Target) -> None:
    """Name the stack, account and region before anything changes."""
    session.output.message(f"{doing} stack {target.stack_name} {target.place}")


def _context(session: Session, target: Target, *, yes: bool, creates: bool) -> run.DeployContext:
    """Compose what a deployment needs; start the emulator if it is not running."""
    if target.is_local:
        if not session.emulator.status().running:
            with session.output.progress("starting the emulator"):
                session.emulator.start()
        target = session.on_emulator(target)
    target = located(target, session.settings, session.clients_for, creates=creates)
    clients = session.clients_for(target)
    return run.DeployContext(
        target=target,
        settings=session.settings,
        state=session.state,
        output=session.output,
        assemblies=Assemblies(session.state, _synthesize, source_fingerprint),
        cloudformation=CloudFormation(clients),
        assets=Assets(clients, target),
        tables=Tables(clients, target.poll_s),
        older_code=lambda stack: older_code.find(
            older_code.DeployedStack(clients, stack, Assets(clients, target).bucket), registry(), session.state
        ),
        yes=yes,
    )


def _synthesize(settings: StackSettings, outdir: Path, validate: bool, older: Path | None) -> None:
    try:
        synthesize(settings, outdir, validate=validate, older=older)
    except SynthesisError as error:
        raise DeploymentError("can't synthesize the stack", faults=error.findings) from error


def _show_diff(session: Session, target: Target) -> None:
    ctx = _context(session, target, yes=False, creates=False)
    _announce(session, "Comparing", ctx.target)
    plan = run.diff(ctx)
    if not session.output.is_text:
        session.output.json(_document(plan, plan.action, plan.stack))
    elif plan.action == "unchanged":
        session.output.success("nothing to change")
    else:
        session.output.hint(f"Deploy it:  {esctl('deploy', ctx.target)}")


def _show_deployed(session: Session, plan: Plan, stack: Stack, seconds: float) -> None:
    output, target = session.output, plan.target.with_outputs(stack.outputs)
    action = {"create": "created", "update": "updated", "unchanged": "unchanged"}[plan.action]
    if not output.is_text:
        output.json({**_document(plan, action, stack), "seconds": round(seconds, 1)})
        return
    done = "nothing changed" if plan.action == "unchanged" else action
    output.success(f"{target.label}: {done} ({seconds:.1f} s)")
    output.pairs({**dict(sorted(target.outputs.items())), "ApiUrl": target.api_url or ""})
    output.hint("Try it:  esctl walkthrough")
    output.hint("Append an event:  esctl add-event --type ITEM_CREATED --item-id 1 --amount 225")
    output.hint("List the items:  esctl list")


def _show_destroyed(session: Session, target: Target, result: run.Destroyed) -> None:
    output = session.output
    if not output.is_text:
        left = [{"type": kind, "name": name} for kind, name in result.left]
        done = {"action": "destroyed", "deletedTables": list(result.deleted_tables), "left": left}
        output.json({**_where(target), **done})
        return
    output.success(f"{target.label}: destroyed")
    for table in result.deleted_tables:
        output.message(f"deleted table {table}")
    for kind, name in result.left:
        output.message(f"kept: {kind} {name}")
    if any(kind == "AWS::DynamoDB::Table" for kind, _ in result.left):
        output.hint(f"Delete the kept events:  {esctl('destroy --delete-events', target)}")


def _where(target: Target) -> dict[str, Any]:
    return {
        "target": target.kind,
        "stackName": target.stack_name,
        "region": target.region,
        "account": target.account,
    }


def _document(plan: Plan, action: str, stack: Stack | None) -> dict[str, Any]:
    target = plan.target.with_outputs(stack.outputs if stack else {})
    return {
        **_where(target),
        "action": action,
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
            for each in plan.changes
        ],
        "widenings": [
            {"who": each.who, "may": each.may, "on": each.on, "public": each.public} for each in plan.permissions
        ],
    }
