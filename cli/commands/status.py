"""`esctl status`: the whole system on one screen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.command import command
from cli.errors import CliError, DegradedError
from cli.observe.health import Fault, faults
from cli.observe.render import Section, document, headline, sections
from cli.output import Format
from cli.session import Session
from cli.terminal.text import one_line

if TYPE_CHECKING:
    from cli.observe.model import Snapshot

MAX_LAG = 100  # what the stack's own alarm tolerates: less is a burst that is being worked off


@command(Format.TEXT, Format.JSON, Format.JSONL)
def status(
    session: Session,
    max_lag: Annotated[
        int, typer.Option("--max-lag", min=0, metavar="N", help="Events that a projection may be behind.")
    ] = MAX_LAG,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show it again and again, in place.")] = False,
    interval: Annotated[
        float, typer.Option("--interval", min=0.2, max=3600, metavar="SECONDS", help="How often --watch looks.")
    ] = 2.0,
) -> None:
    """Show how the system is doing: stack, API, projections, queues, functions.

    The exit code is 7 where something is halted, dead-lettered, broken, or further behind than --max-lag.
    """
    from cli.observe.snapshot import take

    if watch:
        _watch(session, max_lag, interval)
        return
    snapshot = take(session)
    found = faults(snapshot, max_lag)
    if session.output.is_text:
        _show(session, snapshot)
        _say(session, found)
    else:
        _write(session, snapshot, found)
    if found:
        summary = f"degraded: {len(found)} fault{'' if len(found) == 1 else 's'}"
        raise DegradedError(summary, "" if session.output.is_text else "\n".join(_mends(found)))


def _show(session: Session, snapshot: Snapshot) -> None:
    output = session.output
    output.text(headline(session.target, snapshot))
    for section in sections(snapshot):
        output.text()
        if section.rows:
            output.table(section.columns, _cells(session, section, snapshot), title=section.title)
        if section.note:
            output.text(section.note if section.rows else f"{section.title}: {section.note}")


def _say(session: Session, found: list[Fault]) -> None:
    session.output.message()
    if not found:
        session.output.success("all is well")
    for fault in found:
        session.output.warning(fault.what)
        if fault.mend:
            session.output.hint(fault.mend)


def _mends(found: list[Fault]) -> list[str]:
    return list(dict.fromkeys(fault.mend for fault in found if fault.mend))


def _write(session: Session, snapshot: Snapshot, found: list[Fault]) -> None:
    written = document(session.target, snapshot, found)
    if session.output.format is Format.JSONL:
        session.output.json_line(written)
    else:
        session.output.json(written)


def _cells(session: Session, section: Section, snapshot: Snapshot) -> Any:
    """The rows, with the states in colour where there is a terminal."""
    if section.title != "Projections" or not session.environment.stdout_is_terminal:
        return section.rows
    from cli.observe.render import state_text, styled_state

    styled = {state_text(stream): styled_state(stream) for stream in snapshot.streams}
    return [
        [styled.get(str(cell), cell) if index == 2 else cell for index, cell in enumerate(row)] for row in section.rows
    ]


def _watch(session: Session, max_lag: int, interval: float) -> None:
    """In place on a terminal; elsewhere a document a line, or one screen after another. Ends with Ctrl-C."""
    from cli.observe.snapshot import take

    if session.output.is_text and session.environment.stdout_is_terminal:
        _watch_in_place(session, max_lag, interval)
        return
    while True:
        snapshot = take(session)
        found = faults(snapshot, max_lag)
        if session.output.is_text:
            _show(session, snapshot)
            session.output.text("\n".join(one_line(fault.what) for fault in found) + "\n")
        else:
            session.output.json_line(document(session.target, snapshot, found))
        session.environment.stdout.flush()
        session.environment.sleep(interval)


def _watch_in_place(session: Session, max_lag: int, interval: float) -> None:
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    from cli.display import rich_table
    from cli.observe.snapshot import take

    def screen() -> Group:
        try:
            snapshot = take(session)
        except CliError as error:  # it may come back: a restart, a network that is away for a moment
            return Group(
                Text(f"✗ {one_line(error.message)}", style="bold red"), Text("looking again … Ctrl-C ends", style="dim")
            )
        lines: list[Any] = [Text(headline(session.target, snapshot), style="bold")]
        for section in sections(snapshot):
            if section.rows:
                lines.append(rich_table(section.columns, _cells(session, section, snapshot), section.title))
            if section.note:
                lines.append(Text(section.note if section.rows else f"{section.title}: {section.note}", style="dim"))
        found = faults(snapshot, max_lag)
        lines += [Text(f"✗ {one_line(fault.what)}", style="red") for fault in found]
        lines += [Text(f"→ {one_line(mend)}", style="cyan") for mend in _mends(found)]
        lines.append(Text(f"{'' if found else '✓ all is well · '}every {interval:g} s · Ctrl-C ends", style="dim"))
        return Group(*lines)

    with Live(console=session.output.console("stdout"), auto_refresh=False, vertical_overflow="crop") as live:
        while True:
            live.update(screen(), refresh=True)
            session.environment.sleep(interval)
