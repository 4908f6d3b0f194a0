"""`esctl local`: the emulator behind the local target."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from typing import Annotated, Any

import typer

from cli.config.keys import local_access_key
from cli.config.targets import LOCAL_REGION
from cli.emulator import Status
from cli.errors import NotRunningError, UsageError
from cli.shell.command import command
from cli.shell.session import Session

app = typer.Typer(no_args_is_help=True, rich_markup_mode="rich", pretty_exceptions_enable=False)

_PORT_MAX = 65535
# Some SDKs prefer a profile to the variables, and send a token that belongs to other credentials.
_UNSET = ("AWS_PROFILE", "AWS_SESSION_TOKEN")


@app.command("start")
@command()
def start(
    session: Session,
    port: Annotated[
        int | None,
        typer.Option(
            "--port",
            metavar="PORT",
            help="Listen on this port; by default on that of the last time, else on a free one.",
        ),
    ] = None,
) -> None:
    """Start the emulator, with everything that was stored before."""
    if port is not None and not 0 <= port <= _PORT_MAX:
        raise UsageError(f"--port can't be {port}: ports are numbers from 0 (any free one) to {_PORT_MAX}")
    with session.output.progress("starting the emulator"):
        status = session.emulator.start(port or None)
    if not session.output.is_text:
        session.output.json(_document(session, status))
        return
    said = "The emulator runs" if status.started else "The emulator was already running"
    session.output.success(f"{said} at {status.endpoint_url}")
    if _stacks(session):
        session.output.hint("Look at the items:  esctl list --local")
    else:
        session.output.hint("Deploy a stack to it:  esctl deploy --local")


@app.command("stop")
@command()
def stop(
    session: Session,
    force: Annotated[
        bool, typer.Option("--force", help="Stop it even if it can't save its data; what is not saved is lost.")
    ] = False,
) -> None:
    """Save what is stored and stop the emulator. If its data can't be saved, it keeps running."""
    with session.output.progress("stopping the emulator"):
        ran = session.emulator.stop(force=force)
    if not session.output.is_text:
        session.output.json(_document(session, session.emulator.status()))
        return
    kept = "" if force else "; its data is kept"
    session.output.success(f"The emulator is stopped{kept}." if ran else "The emulator was not running.")
    session.output.hint("Start it again:  esctl local start")


@app.command("status")
@command()
def show_status(session: Session) -> None:
    """Show whether the emulator runs, and where its messages and its data are."""
    status = session.emulator.status()
    document = _document(session, status)
    if not session.output.is_text:
        session.output.json(document)
        return
    session.output.pairs(
        {
            "running": "yes" if status.running else "no",
            "address": status.endpoint_url or "-",
            "pid": status.pid or "-",
            "stacks": ", ".join(document["stacks"]) or "-",
            "saved": _saved(status),
            "log": status.log,
            "data": status.data,
        }
    )
    if not status.running:
        session.output.hint("Start it:  esctl local start")
    elif status.unsaved is not None:
        session.output.hint(f"Free disk space, or make the folder writable:  {status.data}")


@app.command("env")
@command()
def show_environment(session: Session) -> None:
    """Show the variables with which the AWS CLI and other tools reach the emulator, its credentials among them.

    For a shell: eval "$(esctl local env)"
    """
    status, access_key = session.emulator.status(), local_access_key(session.state)
    if not status.running or status.endpoint_url is None or access_key is None:
        raise NotRunningError("the local target is not running", "Start it:  esctl local start")
    variables = {
        "AWS_ENDPOINT_URL": status.endpoint_url,
        "AWS_REGION": LOCAL_REGION,
        "AWS_DEFAULT_REGION": LOCAL_REGION,
        "AWS_ACCESS_KEY_ID": access_key,
        "AWS_SECRET_ACCESS_KEY": access_key,
    }
    if not session.output.is_text:
        session.output.json(variables)
        return
    for name, value in variables.items():
        session.output.text(f"export {name}={shlex.quote(value)}")
    session.output.text(f"unset {' '.join(_UNSET)}")


@app.command("reset")
@command()
def reset(
    session: Session,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
) -> None:
    """Empty the emulator: every local stack and all its events are gone for good."""
    stacks = ", ".join(_stacks(session)) or "none"
    if not session.output.confirm(f"Remove every local stack (there is: {stacks}) and all its events?", yes=yes):
        session.output.message("Nothing was removed.")
        return
    with session.output.progress("emptying the emulator"):
        session.emulator.reset()
        session.targets.forget_local()
    if not session.output.is_text:
        session.output.json(_document(session, session.emulator.status()))
        return
    session.output.success("The emulator is empty.")
    session.output.hint("Deploy a stack to it:  esctl deploy --local")


def _stacks(session: Session) -> list[str]:
    return [target.stack_name for target in session.targets.local()]


def _saved(status: Status) -> str:
    if status.unsaved is not None:
        return f"no: {status.unsaved}"
    return "yes" if status.running else "-"


def _document(session: Session, status: Status) -> dict[str, Any]:
    return {
        "running": status.running,
        "pid": status.pid,
        "endpointUrl": status.endpoint_url,
        "stacks": _stacks(session),
        "log": str(status.log),
        "data": str(status.data),
        "unsaved": None if status.unsaved is None else asdict(status.unsaved),
    }
