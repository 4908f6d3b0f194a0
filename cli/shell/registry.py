"""The table of commands: a new command needs one line here, and its module is imported when it is called."""

from __future__ import annotations

from dataclasses import dataclass

START = "Start here"
WORK = "Events and read models"
OPERATE = "Operations"
LOCAL = "Local target"


@dataclass(frozen=True, slots=True)
class Entry:
    """One command.

    Attributes
    ----------
    target
        ``module:attribute`` of a function decorated with `cli.shell.command.command`, or of a `typer.Typer`.
    help
        One full sentence.
    panel
        Its heading in ``esctl --help``.
    hidden
        Works, but is not listed: an alias.
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
    Entry("list", "cli.commands.list_items:list_items", "List the items of the read model.", WORK),
    Entry("list-items", "cli.commands.list_items:list_items", "An alias of list.", WORK, hidden=True),
    Entry("replay", "cli.commands.replay:replay", "Rebuild the read model from history, without downtime.", WORK),
    Entry("replays", "cli.commands.replay:replays", "List the recent replays and rollbacks.", WORK),
    Entry("status", "cli.commands.status:status", "Show the health of the system on one screen.", OPERATE),
    Entry("tail-logs", "cli.commands.tail_logs:tail_logs", "Show the functions' logs, or one event's path.", OPERATE),
    Entry("projections", "cli.commands.projections:app", "Show projections; resume or skip halted streams.", OPERATE),
    Entry("dead-letters", "cli.commands.dead_letters:app", "Show, redrive or purge failed messages.", OPERATE),
    Entry("doctor", "cli.commands.doctor:doctor", "Check this machine and the deployed stack, end to end.", OPERATE),
    Entry("cost", "cli.commands.cost:cost", "Estimate the cost of a million events from measurements.", OPERATE),
    Entry("streams", "cli.commands.streams:streams", "List the streams.", WORK),
    Entry("events", "cli.commands.events:events", "Show the events of a stream, or follow them.", WORK),
    Entry("schemas", "cli.commands.schemas:app", "Show the catalogue of known event types.", WORK),
    Entry("export", "cli.commands.transfer:export_events", "Write events to a file.", WORK),
    Entry("import", "cli.commands.transfer:import_events", "Append the events of a file, each exactly once.", WORK),
    Entry("local", "cli.commands.local:app", "Start, stop, use and reset the emulator of the local target.", LOCAL),
)
