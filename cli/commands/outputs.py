"""`esctl outputs`: the deployed stack's addresses and names."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli.client.aws import key_for_calls
from cli.shell.command import command
from cli.shell.session import Session


@command()
def outputs(
    session: Session,
    show_key: Annotated[bool, typer.Option("--show-key", help="Show the API key too.")] = False,
) -> None:
    """Show the deployed stack's addresses and names: the API, the pages in the AWS console, tables, queues.

    With -o json for scripts: appending /addEvent to apiUrl gives the endpoint.
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
    # The API's address is above, and right also where the emulator's port has changed.
    rest = {name: value for name, value in sorted(target.outputs.items()) if name != "ApiUrl"}
    if not session.output.is_text:
        session.output.json(document | {"outputs": rest})
        return
    session.output.pairs(document | rest)
    if not show_key:
        session.output.hint(f"Show the API key too:  esctl outputs {target.flags} --show-key")
