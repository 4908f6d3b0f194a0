"""`esctl streams` and `esctl events`: list the streams, show or follow the events of one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer

from cli.client.records import Event
from cli.commands import Limit
from cli.errors import NotFoundError, UsageError
from cli.shell.command import command
from cli.shell.session import Session
from cli.terminal.output import Format
from cli.terminal.tables import TERMINAL_CHARACTERS_MAX, event_lines
from cli.terminal.text import plural, visible
from handlers.core.lossless_json import dumps

_WIDTH = 100  # of a line if the output is not a terminal


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
        output.message(plural(number, "stream"))
        output.hint("Show the events of one:  esctl events STREAM")
    else:
        output.message("There are no streams.")
        output.hint("Append an event:  esctl add-event --type ITEM_CREATED --item-id 1 --amount 225")


@command(Format.TEXT, Format.JSON, Format.JSONL)
def events(
    session: Session,
    stream_id: Annotated[str, typer.Argument(metavar="STREAM", help="The stream's id.", show_default=False)],
    first: Annotated[
        int | None,
        typer.Option(
            "--from", metavar="N", help="Start at event N; -10 is the tenth from the end.", show_default=False
        ),
    ] = None,
    limit: Limit = None,
    reverse: Annotated[bool, typer.Option("--reverse", "-r", help="Show the newest event first.")] = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Show new events until Ctrl-C.")] = False,
    interval: Annotated[
        float, typer.Option("--interval", min=0.1, max=3600, metavar="SECONDS", help="How often --follow polls.")
    ] = 1.0,
) -> None:
    """Show the events of a stream, in order, with their metadata.

    With -o jsonl, each line is an event as the API returns it; numbers keep every digit.
    """
    if follow and reverse:
        raise UsageError("--follow and --reverse can't be combined: new events are appended at the end")
    if follow and session.output.format is Format.JSON:
        raise UsageError("--follow and -o json can't be combined: the document would never end", "Use -o jsonl.")
    start = _start(session, stream_id, first)
    if follow:
        pages = _following(session, stream_id, start or 0, limit, interval)
    else:
        pages = session.service.event_pages(stream_id, first=start, limit=limit, backwards=reverse)
    try:
        number = _show(session, stream_id, pages)
    except NotFoundError as error:
        raise NotFoundError(error.message, "List the streams:  esctl streams") from error
    if session.output.is_text and not number:
        session.output.message(f"There are no events from event {start} on.")


def _start(session: Session, stream_id: str, first: int | None) -> int | None:
    """Return the first event to show; a negative number counts from the end."""
    if first is None or first >= 0:
        return first
    return max(0, session.service.head(stream_id) + 1 + first)


def _following(
    session: Session, stream_id: str, start: int, limit: int | None, interval: float
) -> Iterator[list[Event]]:
    """Yield pages until the limit, without end if there is none; wait for a stream that does not exist yet."""
    waiting, shown = False, 0
    while limit is None or shown < limit:
        left = None if limit is None else limit - shown
        try:
            for page in session.service.event_pages(stream_id, first=start + shown, limit=left):
                yield page
                shown += len(page)
        except NotFoundError:
            if not waiting:
                session.output.message(f"Stream {visible(stream_id)} does not exist yet; waiting for it ...")
            waiting = True
        if limit is None or shown < limit:
            session.environment.sleep(interval)


def _show(session: Session, stream_id: str, pages: Iterator[list[Event]]) -> int:
    """Write the events as they arrive; return their number."""
    output, environment = session.output, session.environment
    number = 0
    if output.format is Format.JSON:
        return _show_document(session, stream_id, pages)
    for page in pages:
        for event in page:
            number += 1
            if output.format is Format.JSONL:
                output.json_text(f"{dumps(event)}\n")
                continue
            cut = TERMINAL_CHARACTERS_MAX if environment.stdout_is_terminal else None
            for line in event_lines(event, width=environment.width or _WIDTH, characters_max=cut):
                output.text(line)
        environment.stdout.flush()
    return number


def _show_document(session: Session, stream_id: str, pages: Iterator[list[Event]]) -> int:
    """Write one JSON document, event by event, so that it may be larger than the memory."""
    output = session.output
    number = 0
    for page in pages:
        for event in page:
            opening = f'{{"streamId": {dumps(stream_id)}, "events": [\n  ' if number == 0 else ",\n  "
            output.json_text(opening + dumps(event))
            number += 1
    output.json_text("\n]}\n" if number else f'{{"streamId": {dumps(stream_id)}, "events": []}}\n')
    return number
