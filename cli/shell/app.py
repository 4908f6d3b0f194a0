"""The table of commands and the Typer app.

Listing the commands imports none of them, so help and completion stay fast. A new command needs one line here.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import cache
from typing import Any

import typer
import typer.main
from typer.core import TyperCommand, TyperGroup

START = "Start here"
WORK = "Events and read models"
OPERATE = "Operations"
LOCAL = "Local target"


@dataclass(frozen=True, slots=True)
class Entry:
    """One command: its name, ``module:attribute`` of its function or Typer app, one full sentence, its heading in the help.

    A hidden one works but is not listed: an alias.
    """

    name: str
    target: str
    help: str
    panel: str
    hidden: bool = False


COMMANDS: tuple[Entry, ...] = (
    Entry("deploy", "cli.commands.deploy:deploy", "Deploy the stack to AWS, or with --local to this machine.", START),
    Entry("diff", "cli.commands.deploy:diff", "Show what a deployment would change.", START),
    Entry("walkthrough", "cli.commands.walkthrough:walkthrough", "Demonstrate the whole system, step by step.", START),
    Entry("outputs", "cli.commands.outputs:outputs", "Show the deployed stack's addresses and names.", START),
    Entry("destroy", "cli.commands.deploy:destroy", "Remove the stack.", START),
    Entry("add-event", "cli.commands.add_event:add_event", "Append an event to a stream.", WORK),
    Entry("list", "cli.commands.list_items:list_items", "List and query the rows of a read model.", WORK),
    Entry("list-items", "cli.commands.list_items:list_items", "An alias of list.", WORK, hidden=True),
    Entry("replay", "cli.commands.replay:replay", "Rebuild a read model from history, without downtime.", WORK),
    Entry("replays", "cli.commands.replay:replays", "List the recent replays and rollbacks.", WORK),
    Entry("status", "cli.commands.status:status", "Show the health of the system on one screen.", OPERATE),
    Entry("tail-logs", "cli.commands.tail_logs:tail_logs", "Show the functions' logs, or one event's path.", OPERATE),
    Entry("projections", "cli.commands.projections:app", "Show projections; resume or skip halted streams.", OPERATE),
    Entry("dead-letters", "cli.commands.dead_letters:app", "Show, redrive or purge failed messages.", OPERATE),
    Entry("doctor", "cli.commands.doctor:doctor", "Check this machine and the deployed stack, end to end.", OPERATE),
    Entry("cost", "cli.commands.cost:cost", "Estimate the cost of a million events from measurements.", OPERATE),
    Entry("streams", "cli.commands.events:streams", "List the streams.", WORK),
    Entry("events", "cli.commands.events:events", "Show the events of a stream, or follow them.", WORK),
    Entry("schemas", "cli.commands.add_event:schemas_app", "Show the catalogue of known event types.", WORK),
    Entry("export", "cli.commands.transfer:export_events", "Write events to a file.", WORK),
    Entry("import", "cli.commands.transfer:import_events", "Append the events of a file, each exactly once.", WORK),
    Entry("local", "cli.commands.local:app", "Start, stop, use and reset the emulator of the local target.", LOCAL),
)

_ENTRIES = {entry.name: entry for entry in COMMANDS}
_WANTED = "esctl.wanted"
_HELP = "Event sourcing on AWS serverless: deploy it to AWS or to this machine, and work with it."
_SETTINGS = "Settings, from the environment or a .env file: API_KEY, TRACING, STACK_NAME, AUTH, STRICT, ESCTL_TARGET."
_EXIT_CODES = (
    "Exit codes: 0 done · 1 failed · 2 wrong usage · 3 not deployed or not found · 4 credentials or access · "
    "5 version conflict · 6 timed out · 7 degraded (status) · 8 partly done · 130 interrupted."
)


class LazyGroup(TyperGroup):
    """A group that lists its commands from the table and imports a command when it is called."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [entry.name for entry in COMMANDS]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        entry = _ENTRIES.get(cmd_name)
        if entry is None:
            return None
        # Help and completion request every command; resolve_command requests the one that was typed.
        return _load(entry) if cmd_name == ctx.meta.get(_WANTED) else _stub(entry)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        ctx.meta[_WANTED] = args[0] if args else None
        try:
            return super().resolve_command(ctx, args)
        finally:
            ctx.meta.pop(_WANTED, None)


@cache
def _load(entry: Entry) -> Any:
    module, _, attribute = entry.target.partition(":")
    found = getattr(importlib.import_module(module), attribute)
    if isinstance(found, typer.Typer):
        group = typer.main.get_group(found)
        group.name, group.help = entry.name, entry.help
        for command in group.commands.values():
            _tidy(command)
        return _tidy(group)
    single = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)
    single.command(entry.name, hidden=entry.hidden)(found)
    return _tidy(typer.main.get_command(single))


def _tidy(command: Any) -> Any:
    """Remove the ``<bool>`` that Typer shows beside flags without a value."""
    for parameter in command.params:
        _without_metavar(parameter)
    make_help_option = command.get_help_option
    command.get_help_option = lambda context: _without_metavar(make_help_option(context))
    return command


def _without_metavar(parameter: Any) -> Any:
    if getattr(parameter, "is_flag", False) and parameter.metavar is None:
        parameter.metavar = ""
    return parameter


def _stub(entry: Entry) -> TyperCommand:
    return TyperCommand(
        name=entry.name,
        help=entry.help,
        short_help=entry.help,
        rich_help_panel=entry.panel,
        hidden=entry.hidden,
        callback=lambda: None,
        params=[],
        rich_markup_mode="rich",
    )


def _version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        typer.echo(f"esctl {version('esctl-serverless')}")
        raise typer.Exit


def make() -> Any:
    """Return the command group that `cli.shell.main` runs."""
    app = typer.Typer(
        name="esctl",
        cls=LazyGroup,
        help=_HELP,
        epilog=f"{_SETTINGS}\n\n{_EXIT_CODES}",
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["--help", "-h"]},
    )

    @app.callback()
    def root(
        version: bool = typer.Option(
            False, "--version", help="Show the version and exit.", callback=_version, is_eager=True
        ),
    ) -> None:
        pass

    group: Any = typer.main.get_command(app)
    # Suggestions for a mistyped command come from these names.
    group.commands.update({entry.name: _stub(entry) for entry in COMMANDS if not entry.hidden})
    return _tidy(group)
