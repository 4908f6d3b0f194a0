"""`esctl list`: list and query the rows of a read model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated

import typer

from cli.client.projections import ITEMS, default_projection, installed_projection
from cli.client.records import Listing, Row, RowQuery
from cli.commands import HISTORY_MAX, Full, Limit
from cli.errors import UsageError
from cli.shell.command import command
from cli.shell.session import Session
from cli.terminal.tables import Column
from cli.terminal.text import plural, visible
from handlers.core.lossless_json import dumps


@command()
def list_items(
    session: Session,
    projection: Annotated[
        str | None, typer.Argument(metavar="PROJECTION", help=f"The projection; {ITEMS} by default.")
    ] = None,
    key: Annotated[
        str | None,
        typer.Argument(metavar="KEY", help="Only the row with this key; a key of several parts is a JSON array."),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option("--by", metavar="NAME=VALUE", help="Only rows with this value of an indexed attribute."),
    ] = None,
    prefix: Annotated[
        str | None, typer.Option("--prefix", metavar="TEXT", help="Only rows whose keys begin with this.")
    ] = None,
    low: Annotated[
        str | None,
        typer.Option("--from", metavar="TEXT", help="The first key; with --by, the first value that sorts the index."),
    ] = None,
    high: Annotated[
        str | None,
        typer.Option("--to", metavar="TEXT", help="The last key; with --by, the last value that sorts the index."),
    ] = None,
    newest: Annotated[
        bool, typer.Option("--newest", help="In descending order: the newest first if the order is by time.")
    ] = False,
    limit: Limit = None,
    after: Annotated[
        str | None,
        typer.Option("--after", metavar="STREAM:EVENT_ID", help="Wait until the read model has this event."),
    ] = None,
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
            metavar="TIME|EVENT_ID",
            help="Show the rows as of a time (2026-11-23T10:15:30Z; UTC if it has no offset), or of an event if the "
            "projection follows one stream.",
        ),
    ] = None,
    full: Full = False,
) -> None:
    """List the rows of a read model: all, one, or those that a query selects.

    With --as-of, the rows are computed from the events, not read.

    If the projection follows one stream, the list has a checkpoint: the last
    event applied to it. Across several streams, only a time says "as of when".
    """
    listed = Listed(
        session, projection or default_projection(), _query(key, by, prefix, low, high, newest, limit, after), limit
    )
    if full and as_of is None:
        raise UsageError("--full can only be combined with --as-of")
    if as_of is not None:
        if watch:
            raise UsageError("--as-of and --watch can't be combined: the past does not change")
        if after is not None:
            raise UsageError("--as-of and --after can't be combined: --as-of does not read the read model")
        listed.show(listed.as_of(as_of, full=full))
        return
    if watch:
        _watch(listed, interval)
        return
    listed.show(listed.read())


def _query(
    key: str | None,
    by: str | None,
    prefix: str | None,
    low: str | None,
    high: str | None,
    newest: bool,
    limit: int | None,
    after: str | None,
) -> RowQuery:
    """Return the query that the options describe.

    Raises
    ------
    UsageError
    """
    index, equals, value = (by or "").partition("=")
    if by is not None and not (index and equals and value):
        raise UsageError(f"--by can't be {by!r}: it needs a name and a value", "For example:  --by status=paid")
    given = {"--by": by, "--prefix": prefix, "--from": low, "--to": high, "--newest": newest or None, "--limit": limit}
    selecting = [name for name, option in given.items() if option is not None]
    if key is not None and selecting:
        raise UsageError(f"a KEY and {selecting[0]} can't be combined: there is one row with a key")
    if prefix is not None and (others := [name for name in ("--by", "--from", "--to") if name in selecting]):
        raise UsageError(f"--prefix and {others[0]} can't be combined")
    stream_id, _, event_id = (after or "").rpartition(":")
    if after is not None and not (stream_id and event_id.isascii() and event_id.isdigit()):
        raise UsageError(
            f"--after can't be {after!r}: it must be a stream and an eventId", "For example:  --after order-7:3"
        )
    return RowQuery(key, prefix, low, high, index or None, value or None, newest, after)


@dataclass(frozen=True, slots=True)
class Listed:
    """What is listed: the rows of a projection that a query selects, at most ``limit``."""

    session: Session
    name: str
    query: RowQuery
    limit: int | None

    def read(self) -> Listing:
        """Read the rows; all rows of a projection that follows one stream with their checkpoint."""
        projection = installed_projection(self.name)
        if self.query == RowQuery() and projection is not None and projection.only_stream is not None:
            return self.session.service.items(projection, limit=self.limit)
        return self.session.service.rows(self.name, self.query, limit=self.limit)

    def as_of(self, text: str, *, full: bool) -> Listing:
        """Compute the rows as of a moment."""
        # They load the projection engine, which a plain list can do without.
        from cli.client.projections import named_projection
        from cli.replay.as_of import moment, rows_as_of
        from cli.replay.history import Bound

        output = self.session.output
        when, projection = moment(text), named_projection(self.name)
        bound = Bound() if full else Bound(events=HISTORY_MAX)
        with output.progress(f"folding the history of {self.name}") as progress:
            listing, stopped = rows_as_of(
                self.session.service,
                projection,
                when,
                self.query,
                bound,
                lambda count: progress.update(done=count),
            )
        for each in stopped:
            where = f"stream {visible(each.stream_id)}"
            output.warning(f"{where} is halted at event {each.checkpoint + 1}: its later events are left out")
        if self.limit is None or len(listing.items) <= self.limit:
            return listing
        return Listing(listing.items[: self.limit], listing.checkpoint, complete=False)

    def show(self, listing: Listing) -> None:
        """Write the rows, and a summary to stderr."""
        output = self.session.output
        if not output.is_text:
            output.json(listing.document())
            return
        columns, cells = table_of(listing.items)
        output.table(columns, cells, empty=self.empty(listing))
        output.message(self.summary(listing))

    def empty(self, listing: Listing) -> str:
        """Return what is shown instead of an empty table."""
        return "There are no items." if listing.checkpoint is not None else "There are no such rows."

    def summary(self, listing: Listing) -> str:
        """Return the number of rows, and their checkpoint if they have one."""
        more = "" if listing.complete else ", there are more"
        counted = plural(len(listing.items), "row" if listing.checkpoint is None else "item") + more
        if listing.checkpoint is None:
            return counted
        at = "no event yet" if listing.checkpoint < 0 else f"checkpoint {listing.checkpoint}"
        moving = "" if listing.settled else ", events were applied during the read"
        return f"{counted} · {at}{moving}"


def table_of(rows: Sequence[Row]) -> tuple[list[Column], list[list[object]]]:
    """Return columns and cells: the attributes in the order of their first appearance, numbers to the right.

    The API puts the attributes of the key first.

    Examples
    --------
    >>> columns, cells = table_of([{"orderId": "7", "total": 12}, {"orderId": "8", "paid": True}])
    >>> [(column.title, column.align) for column in columns], cells[1]
    ([('orderId', 'left'), ('total', 'right'), ('paid', 'left')], ['8', '', 'true'])
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = [
        Column(visible(name), "right" if all(_is_number(row[name]) for row in rows if name in row) else "left")
        for name in names
    ]
    return columns, [[_cell(row[name]) if name in row else "" for name in names] for row in rows]


def _is_number(value: object) -> bool:
    return isinstance(value, int | Decimal) and not isinstance(value, bool)


def _cell(value: object) -> object:
    """Return a value as a cell: strings and numbers as they are, everything else as JSON."""
    return value if isinstance(value, str) or _is_number(value) else dumps(value)


def _watch(listed: Listed, interval: float) -> None:
    """Show each changed list until Ctrl-C: in place on a terminal, otherwise one after the other."""
    output, environment = listed.session.output, listed.session.environment
    if output.is_text and environment.stdout_is_terminal:
        _watch_in_place(listed, interval)
        return
    before: Listing | None = None
    while True:
        listing = listed.read()
        if listing != before:
            if output.is_text:
                listed.show(listing)
            else:
                output.json_line(listing.document())
            environment.stdout.flush()
        before = listing
        environment.sleep(interval)


def _watch_in_place(listed: Listed, interval: float) -> None:
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    from cli.terminal.display import rich_table

    session = listed.session

    def screen(listing: Listing) -> Group:
        columns, cells = table_of(listing.items)
        shown = rich_table(columns, cells, "") if cells else Text(listed.empty(listing))
        return Group(shown, Text(f"{listed.summary(listing)} · Ctrl-C to stop", style="dim"))

    with Live(console=session.output.console("stdout"), auto_refresh=False, vertical_overflow="ellipsis") as live:
        while True:
            live.update(screen(listed.read()), refresh=True)
            session.environment.sleep(interval)
