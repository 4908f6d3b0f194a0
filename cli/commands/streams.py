"""`esctl streams`: list the streams."""

from __future__ import annotations

from cli.commands import Limit
from cli.shell.command import command
from cli.shell.session import Session
from cli.terminal.output import Format
from cli.terminal.text import visible


@command(Format.TEXT, Format.JSON, Format.JSONL)
def streams(session: Session, limit: Limit = None) -> None:
    """List the streams, one per line.

    The order is stable, but not alphabetical. A new stream appears within about a second.
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
        output.hint("Append an event:  esctl add-event --type ITEM_CREATED --item-id 1 --amount 225")
