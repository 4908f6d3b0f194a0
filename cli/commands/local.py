"""`esctl local`: manage the emulator behind the local target."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from typing import Annotated, Any

import typer

from cli.commands import Yes
from cli.config.keys import local_access_key
from cli.config.targets import LOCAL_REGION
from cli.emulator import Status
from cli.errors import NotRunningError, UsageError
from cli.shell.command import command
from cli.shell.session import Session

app = typer.Typer(no_args_is_help=True)

_PORT_MAX = 65535
# Some SDKs prefer a profile to the variables, and send a session token of other credentials.
_UNSET = ("AWS_PROFILE", "AWS_SESSION_TOKEN")


@app.command("start")
@command()
def start(
    session: Session,
    port: Annotated[
        int | None,
        typer.Option("--port", metavar="PORT", help="Listen on this port; by default the last one, or any free one."),
    ] = None,
) -> None:
    """Start the emulator with the data of its last run."""
    if port is not None and not 0 <= port <= _PORT_MAX:
        raise UsageError(f"--port can't be {port}: use a number from 0 (any free port) to {_PORT_MAX}")
    with session.output.progress("starting the emulator"):
        status = session.emulator.start(port or None)
    if not session.output.is_text:
        session.output.json(_document(session, status))
        return
    said = "The emulator is running" if status.started else "The emulator was already running"
    session.output.success(f"{said} at {status.endpoint_url}")
    if _stacks(session):
        session.output.hint("List the items:  esctl list --local")
    else:
        session.output.hint("Deploy a stack to it:  esctl deploy --local")


@app.command("stop")
@command()
def stop(
    session: Session,
    force: Annotated[
        bool, typer.Option("--force", help="Stop it even if its data can't be saved; unsaved data is lost.")
    ] = False,
) -> None:
    """Save the data and stop the emulator. If the data can't be saved, the emulator keeps running."""
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
    """Show whether the emulator is running, and where its log and data are."""
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
        session.output.hint(f"Free disk space, or make this folder writable: {status.data}")


@app.command("env")
@command()
def show_environment(session: Session) -> None:
    """Print the environment variables, with credentials, that point the AWS CLI and other tools at the emulator.

    To set them in a shell: eval "$(esctl local env)"
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
def reset(session: Session, yes: Yes = False) -> None:
    """Empty the emulator: permanently delete every local stack and all events."""
    stacks = ", ".join(_stacks(session)) or "none"
    if not session.output.confirm(f"Permanently delete every local stack ({stacks}) and all events?", yes=yes):
        session.output.message("Nothing was deleted.")
        return
    with session.output.progress("emptying the emulator"):
        session.emulator.reset()
        for target in session.targets.local():
            session.targets.forget(target)
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
