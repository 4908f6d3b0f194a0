"""`esctl streams`: the list of streams."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.shell.command import command
from cli.shell.session import Session
from cli.terminal.output import Format
from cli.terminal.text import visible


@command(Format.TEXT, Format.JSON, Format.JSONL)
def streams(
    session: Session,
    limit: Annotated[
        int | None, typer.Option("--limit", "-n", min=1, metavar="N", help="Show the first N streams; by default all.")
    ] = None,
) -> None:
    """List the streams, one a line.

    The order is the same everywhere, though not that of the alphabet. A new stream shows up within about a second.
    """
    output = session.output
    number = 0
    found: list[str] = []
    for page in session.service.stream_pages(limit=limit):
        number += len(page)
        for stream_id in page:
            if output.format is Format.JSONL:
                output.json_line({"streamId": stream_id})
            elif output.format is Format.JSON:
                found.append(stream_id)
            else:
                output.text(visible(stream_id))
        session.environment.stdout.flush()
    if output.format is Format.JSON:
        output.json({"streams": [{"streamId": stream_id} for stream_id in found]})
    if not output.is_text:
        return
    if number:
        output.message(f"{number:,} stream{'' if number == 1 else 's'}")
        output.hint("Show the events of one:  esctl events STREAM")
    else:
        output.message("There are no streams.")
        output.hint("Append a first event:  esctl add-event --type ITEM_CREATED --item-id 1 --amount 225")
