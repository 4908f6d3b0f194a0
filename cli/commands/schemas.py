"""`esctl schemas`: show the catalogue of known event types. The catalogue is part of the code, so no target is needed."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Annotated, Any

import typer

from cli.errors import NotFoundError
from cli.shell.command import command
from cli.shell.session import Session
from cli.terminal.tables import Column
from handlers import catalogue

app = typer.Typer()

_COLUMNS = (Column("type"), Column("version", "right"), Column("required"), Column("optional"), Column("description"))


@app.callback(invoke_without_command=True)
def schemas(
    context: typer.Context,
    output: Annotated[str, typer.Option("--output", "-o", metavar="FORMAT", help="text or json.")] = "text",
) -> None:
    """Show the catalogue of known event types.

    Events of these types are validated against their JSON Schema before they are stored. Events of other types are
    stored unvalidated, or rejected if the stack is deployed with STRICT=true.
    """
    if context.invoked_subcommand is None:
        _list(context, local=False, stack_name=None, region=None, profile=None, output=output)


@command()
def _list(session: Session) -> None:
    known = [(name, catalogue.schema(name)) for name in catalogue.known_types()]
    if not session.output.is_text:
        session.output.json({"types": [_summary(name, schema) for name, schema in known]})
        return
    rows = []
    for name, schema in known:
        summary = _summary(name, schema)
        required, optional = ", ".join(summary["required"]), ", ".join(summary["optional"])
        rows.append((name, summary["version"], required, optional, summary["description"]))
    session.output.table(_COLUMNS, rows, empty="The catalogue is empty.")
    session.output.hint("Show one:  esctl schemas show TYPE")


@app.command("show")
@command()
def show(
    session: Session,
    event_type: Annotated[
        str,
        typer.Argument(metavar="TYPE", help="The event type.", autocompletion=lambda: [*catalogue.known_types()]),
    ],
) -> None:
    """Show the JSON Schema (draft-07) of one event type."""
    known = catalogue.known_types()
    if event_type not in known:
        near = get_close_matches(event_type.upper(), known, n=1)
        meant = f" Did you mean {near[0]}?" if near else ""
        raise NotFoundError(
            f"there is no event type {event_type!r} in the catalogue", f"Known types: {', '.join(known)}.{meant}"
        )
    session.output.json(catalogue.schema(event_type))


def _summary(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    required = list(schema.get("required", []))
    return {
        "type": name,
        "version": catalogue.current_version(name),
        "required": required,
        "optional": [field for field in schema.get("properties", {}) if field not in required],
        "description": schema.get("description", schema.get("title", "")),
    }
