"""`esctl list`: list the items of the read model."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli.client.projections import items_projection
from cli.client.service import Listing
from cli.commands import Limit
from cli.errors import UsageError
from cli.shell.command import command
from cli.shell.session import Session
from cli.terminal.tables import Column

COLUMNS = (Column("itemId"), Column("amount", "right"))
_EMPTY = "There are no items."


@command()
def list_items(
    session: Session,
    limit: Limit = None,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Show the list again whenever it changes, until Ctrl-C.")
    ] = False,
    interval: Annotated[
        float, typer.Option("--interval", min=0.1, max=3600, metavar="SECONDS", help="How often --watch polls.")
    ] = 1.0,
    as_of: Annotated[
        str | None,
        typer.Option(
            "--as-of",
            metavar="EVENT_ID|TIME",
            help="Show the list as of an event or a time (2026-11-23T10:15:30Z; UTC if it has no offset).",
        ),
    ] = None,
) -> None:
    """List the items of the read model, and its checkpoint: the last event applied to it.

    With --as-of, the list is computed from the events; the read model is not read.
    """
    if as_of is not None:
        if watch:
            raise UsageError("--as-of and --watch can't be combined: the past does not change")
        _show(session, _as_of(session, as_of, limit))
        return
    if watch:
        _watch(session, limit, interval)
        return
    _show(session, session.service.rows(items_projection(), limit=limit))


def _as_of(session: Session, text: str, limit: int | None) -> Listing:
    from cli.replay.audit import moment, rows_as_of  # loads the projection engine, which a plain list can do without

    when = moment(text)
    with session.output.progress("folding history"):
        listing = rows_as_of(session.service, items_projection(), when)
    if limit is None or len(listing.items) <= limit:
        return listing
    return Listing(listing.items[:limit], listing.checkpoint, complete=False)


def rows(items: list[Any]) -> list[tuple[object, object]]:
    """Return the cells of a table of items."""
    return [(item.get("itemId"), item.get("amount")) for item in items]


def _show(session: Session, listing: Listing) -> None:
    if not session.output.is_text:
        session.output.json(listing.document())
        return
    session.output.table(COLUMNS, rows(listing.items), empty=_EMPTY)
    session.output.message(_summary(listing))


def _summary(listing: Listing) -> str:
    number = len(listing.items)
    more = "" if listing.complete else ", there are more"
    at = "no event yet" if listing.checkpoint < 0 else f"checkpoint {listing.checkpoint}"
    moving = "" if listing.settled else ", events were applied during the read"
    return f"{number} item{'' if number == 1 else 's'}{more} · {at}{moving}"


def _watch(session: Session, limit: int | None, interval: float) -> None:
    """Show each changed list until Ctrl-C: in place on a terminal, otherwise one after the other."""
    output = session.output
    if output.is_text and session.environment.stdout_is_terminal:
        _watch_in_place(session, limit, interval)
        return
    before: Listing | None = None
    while True:
        listing = session.service.rows(items_projection(), limit=limit)
        if listing != before:
            if output.is_text:
                _show(session, listing)
            else:
                output.json_line(listing.document())
            session.environment.stdout.flush()
        before = listing
        session.environment.sleep(interval)


def _watch_in_place(session: Session, limit: int | None, interval: float) -> None:
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    from cli.terminal.display import rich_table

    def screen(listing: Listing) -> Group:
        shown = rich_table(COLUMNS, rows(listing.items), "") if listing.items else Text(_EMPTY)
        return Group(shown, Text(f"{_summary(listing)} · Ctrl-C to stop", style="dim"))

    with Live(console=session.output.console("stdout"), auto_refresh=False, vertical_overflow="ellipsis") as live:
        while True:
            live.update(screen(session.service.rows(items_projection(), limit=limit)), refresh=True)
            session.environment.sleep(interval)
