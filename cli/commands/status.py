"""`esctl status`: show the system's health on one screen."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli.errors import CliError, DegradedError
from cli.operate.health import (
    Fault,
    Section,
    document,
    faults,
    headline,
    sections,
    state_text,
    styled_state,
    unchecked,
)
from cli.operate.status import Snapshot
from cli.operate.status import take_snapshot as take
from cli.shell.command import command
from cli.shell.session import Session
from cli.terminal.output import Format
from cli.terminal.text import one_line

MAX_LAG = 100  # the threshold of the stack's alarm: a smaller lag is an ordinary burst


@command(Format.TEXT, Format.JSON, Format.JSONL)
def status(
    session: Session,
    max_lag: Annotated[
        int, typer.Option("--max-lag", min=0, metavar="N", help="How many events a projection may lag behind.")
    ] = MAX_LAG,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Refresh until Ctrl-C.")] = False,
    interval: Annotated[
        float, typer.Option("--interval", min=0.2, max=3600, metavar="SECONDS", help="How often --watch refreshes.")
    ] = 2.0,
) -> None:
    """Show the health of the stack, the API, projections, queues and functions.

    Of a projection with many streams, it looks at those that are halted or were
    furthest behind, and at what the reconciler found when it last compared all.
    It says what it did not check.

    Exit code 7 if something is halted, dead-lettered or broken, if a stream is
    more than --max-lag events or five minutes behind, or if messages wait and
    are not processed.
    """
    if watch:
        _watch(session, max_lag, interval)
        return
    snapshot = take_snapshot(session)
    found = faults(snapshot, max_lag)
    if session.output.is_text:
        _show(session, snapshot)
        _say(session, snapshot, found)
    else:
        _write(session, snapshot, found)
    if found:
        summary = f"degraded: {len(found)} fault{'' if len(found) == 1 else 's'}"
        raise DegradedError(summary, "" if session.output.is_text else "\n".join(_hints(found)))


def take_snapshot(session: Session) -> Snapshot:
    """Take a snapshot of the session's target.

    Raises
    ------
    NoTargetError, NotRunningError, AccessError
        There is no stack to query, or no key for it.
    CliError
        Neither CloudFormation nor the API answers.
    """

    def unsaved() -> str | None:
        from cli.emulator.process import ask

        url = session.target.endpoint_url
        health = ask(session.state, url) if url is not None else None
        return str(health.unsaved) if health and health.unsaved else None

    return take(session.target, session.service, session.clients, unsaved, session.environment.sleep)


def _show(session: Session, snapshot: Snapshot) -> None:
    output = session.output
    output.text(headline(session.target, snapshot))
    for section in sections(snapshot):
        output.text()
        if section.rows:
            output.table(section.columns, _cells(session, section, snapshot), title=section.title)
        if section.note:
            output.text(section.note if section.rows else f"{section.title}: {section.note}")


def _say(session: Session, snapshot: Snapshot, found: list[Fault]) -> None:
    output = session.output
    output.message()
    unknown = unchecked(snapshot)
    if not found and not unknown:
        output.success("all is well")
    for fault in found:
        output.warning(fault.what)
        if fault.hint:
            output.hint(fault.hint)
    if unknown and not found:
        output.message("No fault was found. Not checked, or not finished:")
    elif unknown:
        output.message("Not checked, or not finished:")
    for each in unknown:
        output.message(f"  {one_line(each)}")


def _hints(found: list[Fault]) -> list[str]:
    return list(dict.fromkeys(fault.hint for fault in found if fault.hint))


def _write(session: Session, snapshot: Snapshot, found: list[Fault]) -> None:
    written = document(session.target, snapshot, found)
    if session.output.format is Format.JSONL:
        session.output.json_line(written)
    else:
        session.output.json(written)


def _cells(session: Session, section: Section, snapshot: Snapshot) -> Any:
    """Return the rows; on a terminal, states are coloured."""
    if section.title != "Projections" or not session.environment.stdout_is_terminal:
        return section.rows
    styled = {state_text(stream): styled_state(stream) for stream in snapshot.streams}
    return [
        [styled.get(str(cell), cell) if index == 2 else cell for index, cell in enumerate(row)] for row in section.rows
    ]


def _watch(session: Session, max_lag: int, interval: float) -> None:
    """Refresh in place on a terminal; otherwise write one document per line, or one screen after the other."""
    if session.output.is_text and session.environment.stdout_is_terminal:
        _watch_in_place(session, max_lag, interval)
        return
    while True:
        snapshot = take_snapshot(session)
        found = faults(snapshot, max_lag)
        if session.output.is_text:
            _show(session, snapshot)
            lines = [*(fault.what for fault in found), *unchecked(snapshot)]
            session.output.text("\n".join(map(one_line, lines)) + "\n")
        else:
            session.output.json_line(document(session.target, snapshot, found))
        session.environment.stdout.flush()
        session.environment.sleep(interval)


def _watch_in_place(session: Session, max_lag: int, interval: float) -> None:
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    from cli.terminal.display import rich_table

    def screen() -> Group:
        try:
            snapshot = take_snapshot(session)
        except CliError as error:  # may be a restart or a short network failure
            return Group(
                Text(f"✗ {one_line(error.message)}", style="bold red"), Text("retrying … Ctrl-C to stop", style="dim")
            )
        lines: list[Any] = [Text(headline(session.target, snapshot), style="bold")]
        for section in sections(snapshot):
            if section.rows:
                lines.append(rich_table(section.columns, _cells(session, section, snapshot), section.title))
            if section.note:
                lines.append(Text(section.note if section.rows else f"{section.title}: {section.note}", style="dim"))
        found = faults(snapshot, max_lag)
        lines += [Text(f"✗ {one_line(fault.what)}", style="red") for fault in found]
        lines += [Text(f"→ {one_line(hint)}", style="cyan") for hint in _hints(found)]
        unknown = unchecked(snapshot)
        lines += [Text(one_line(each), style="yellow") for each in unknown]
        well = "" if found or unknown else "✓ all is well · "
        lines.append(Text(f"{well}every {interval:g} s · Ctrl-C to stop", style="dim"))
        return Group(*lines)

    with Live(console=session.output.console("stdout"), auto_refresh=False, vertical_overflow="crop") as live:
        while True:
            live.update(screen(), refresh=True)
            session.environment.sleep(interval)
