"""`esctl outputs`: show the deployed stack's addresses and names."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli.client.aws import key_for_calls
from cli.shell.command import command
from cli.shell.session import Session


@command()
def outputs(
    session: Session,
    show_key: Annotated[bool, typer.Option("--show-key", help="Also show the API key.")] = False,
) -> None:
    """Show the deployed stack's addresses and names: API, AWS console pages, tables, queues.

    For scripts, use -o json: apiUrl followed by /addEvent is the endpoint that appends an event.
    """
    target = session.target
    document: dict[str, Any] = {
        "stackName": target.stack_name,
        "target": target.kind,
        "region": target.region,
        "apiUrl": target.api_url,
    }
    document |= target.location | target.console_urls
    if show_key:
        document["apiKey"] = key_for_calls(target, session.settings, session.state, session.clients)
    # Above already, and there with the emulator's current port.
    rest = {name: value for name, value in sorted(target.outputs.items()) if name != "ApiUrl"}
    if not session.output.is_text:
        session.output.json(document | {"outputs": rest})
        return
    session.output.pairs(document | rest)
    if not show_key:
        session.output.hint(f"Also show the API key:  esctl outputs {target.flags} --show-key")
