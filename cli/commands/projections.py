"""`esctl projections`: where they stand, and setting going what halted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.command import command
from cli.defaultgroup import ListingGroup
from cli.errors import ConflictError, TimedOutError
from cli.mending.announcing import announce
from cli.session import Session
from cli.terminal.text import visible

if TYPE_CHECKING:
    from cli.observe.model import StreamStatus

app = typer.Typer(cls=ListingGroup, rich_markup_mode="rich", pretty_exceptions_enable=False)

StreamId = Annotated[str | None, typer.Option("--stream-id", "-s", metavar="ID", help="Only this stream.")]
Wait = Annotated[
    float, typer.Option("--timeout", min=0, metavar="SECONDS", help="How long to wait for the catch-up; 0: not at all.")
]


@app.command("list")
@command()
def list_projections(
    session: Session,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Only this projection.")] = None,
) -> None:
    """Show each projection's streams: head, checkpoint, lag, and what halted.

    The heads are the event store's own, not the projection's notes.
    """
    from cli.mending.streams import described
    from cli.observe.render import stream_document, stream_section

    streams, more = described(session, name)
    if not session.output.is_text:
        session.output.json({"streams": [stream_document(each) for each in streams], "more": more})
        return
    section = stream_section(streams, more, shown=len(streams))
    session.output.table(section.columns, section.rows, empty=section.note)
    if section.rows and section.note:
        session.output.message(section.note)
    _explain(session, streams)


@app.command("resume")
@command()
def resume(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The projection.")],
    stream_id: StreamId = None,
    timeout: Wait = 30.0,
) -> None:
    """Try again what halted: one stream, or every one of the projection. It catches up from the store.

    Do this after the cause is mended: a new deployment, or a handler that is right now.
    """
    from cli.mending.streams import resume as execute
    from cli.mending.streams import wait_until_caught_up

    announce(session, f"Resuming {name}")
    resumed = execute(session.api, name, stream_id)
    if not resumed:
        session.output.message(f"Nothing of {name} is halted.")
        _document(session, name, [], [])
        return
    streams = wait_until_caught_up(session, name, [each["streamId"] for each in resumed], timeout) if timeout else []
    _document(session, name, resumed, streams)
    if session.output.is_text:
        for each in resumed:
            session.output.text(f"{name}: stream {visible(each['streamId'])} goes on at event {each['eventId']}")
    _conclude(session, streams, timeout)


@app.command("skip")
@command()
def skip(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The projection.")],
    stream_id: Annotated[str, typer.Option("--stream-id", "-s", metavar="ID", help="The stream that is halted.")],
    event_id: Annotated[int, typer.Option("--event-id", metavar="N", min=0, help="The event that it is halted at.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    timeout: Wait = 30.0,
) -> None:
    """Step over the event that a stream is halted at; it stays in the store, and a record says that it was skipped.

    The read model is then without that event, for good: a replay skips it too where its handler still raises.
    """
    from cli.mending.streams import skip as execute
    from cli.mending.streams import wait_until_caught_up

    announce(session, f"Skipping event {event_id} of stream {visible(stream_id)} in {name}")
    if not session.output.confirm(f"Go on without event {event_id} of stream {visible(stream_id)} in {name}?", yes=yes):
        session.output.message("Nothing was skipped.")
        return
    skipped = execute(session.api, name, stream_id, event_id)
    streams = wait_until_caught_up(session, name, [stream_id], timeout) if timeout else []
    _document(session, name, [skipped], streams)
    if session.output.is_text:
        session.output.text(f"{name}: event {event_id} of stream {visible(stream_id)} is skipped")
    _conclude(session, streams, timeout)


def _document(session: Session, name: str, changed: list[dict[str, Any]], streams: list[StreamStatus]) -> None:
    from cli.observe.render import stream_document

    if not session.output.is_text:
        changes = [{"streamId": each["streamId"], "eventId": each["eventId"]} for each in changed]
        session.output.json(
            {"projection": name, "changed": changes, "streams": [stream_document(each) for each in streams]}
        )


def _conclude(session: Session, streams: list[StreamStatus], timeout: float) -> None:
    """Say how far it came.

    Raises
    ------
    ConflictError
        A stream halted again.
    TimedOutError
        One is still behind.
    """
    from cli.errors import ExitCode
    from cli.mending.streams import halted_text, skip_command
    from cli.observe.model import HALTED

    again = [each for each in streams if each.state == HALTED]
    if again:
        raise ConflictError(
            f"{halted_text(again[0])} (again)",
            f"Mend the handler or its data and deploy, or step over it:  {skip_command(again[0])}",
            exit_code=ExitCode.DEGRADED,
            faults=[halted_text(each) for each in again[1:]],
        )
    behind = [each for each in streams if each.lag]
    if behind:
        raise TimedOutError(
            f"stream {visible(behind[0].stream_id)} is still {behind[0].lag} events behind after {timeout:g} seconds",
            "It goes on by itself; look again with:  esctl projections",
        )
    if streams and session.output.is_text:
        for each in streams:
            session.output.success(f"stream {visible(each.stream_id)} is caught up: checkpoint {each.checkpoint}")


def _explain(session: Session, streams: list[StreamStatus]) -> None:
    from cli.mending.streams import halted_text, skip_command
    from cli.observe.health import resume_command
    from cli.observe.model import HALTED

    for each in streams:
        if each.state == HALTED and each.halted is not None:
            session.output.warning(halted_text(each))
            session.output.hint(f"After the cause is mended:  {resume_command(each)}")
            session.output.hint(f"Or go on without the event:  {skip_command(each)}")
