"""`esctl projections`: show projections; resume or skip halted streams."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.client.records import HALTED, ProjectionStatus, StreamEvent, StreamStatus, kind_word
from cli.commands import Yes
from cli.errors import ConflictError, ExitCode, NotFoundError, TimedOutError
from cli.operate import recovery
from cli.operate.health import (
    coverage,
    halted_text,
    projection_document,
    resume_command,
    skip_command,
    stream_document,
    stream_section,
)
from cli.shell.command import ListingGroup, command
from cli.shell.session import Session
from cli.terminal.tables import Column
from cli.terminal.text import visible

app = typer.Typer(cls=ListingGroup)

StreamId = Annotated[str | None, typer.Option("--stream-id", "-s", metavar="ID", help="Only this stream.")]
Wait = Annotated[
    float,
    typer.Option("--timeout", min=0, metavar="SECONDS", help="How long to wait for the catch-up; 0: don't wait."),
]


@app.command("list")
@command()
def list_projections(
    session: Session,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Only this projection.")] = None,
) -> None:
    """Show each projection with its generation, and streams with state, head, checkpoint and lag.

    Halted streams come first, then those that were furthest behind when all
    were last compared. The head is read from the event store, not from the
    projection's own records.
    """
    output = session.output
    found = recovery.projections(session.service, name)
    streams = [stream for each in found for stream in each.streams]
    percents = {each.name: _percent(session, each) for each in found}
    if not output.is_text:
        documents = [{**projection_document(each), "builtPercent": percents[each.name]} for each in found]
        more = [each.name for each in found if each.more]
        output.json({"projections": documents, "streams": [stream_document(each) for each in streams], "more": more})
        return
    output.table(_COLUMNS, [_row(each, percents[each.name]) for each in found], empty="There are no projections.")
    output.text()
    section = stream_section(found, shown=len(streams))
    output.table(section.columns, section.rows, empty=section.note)
    for each in found:
        if not each.is_complete:
            output.message(coverage(each))
        _warn(session, each)


_COLUMNS = ("projection", "streams", "generation", "building", "previous", Column("halted", "right"))


def _row(projection: ProjectionStatus, percent: int | None) -> tuple[object, ...]:
    building, previous = projection.building, projection.previous
    built = "" if percent is None else f" {percent} %"
    return (
        projection.name,
        _followed(projection),
        projection.generation,
        "" if building is None else f"{building.generation} ({kind_word(building.kind)}{built})",
        "" if previous is None else f"{previous.generation} (until {previous.at[:16].replace('T', ' ')})",
        projection.halted_text,
    )


def _followed(projection: ProjectionStatus) -> str:
    follows = projection.follows
    if follows is None:
        return "all"
    if isinstance(follows, str):
        return f"{follows}*"
    return follows[0] if len(follows) == 1 else f"{len(follows):,} named"


def _percent(session: Session, projection: ProjectionStatus) -> int | None:
    """Return how much of the generation that is being built is done; None if unknown."""
    if projection.building is None:
        return None
    try:
        return session.service.replay(projection.building.replay_id).percent
    except NotFoundError:  # records of jobs expire
        return None


def _warn(session: Session, projection: ProjectionStatus) -> None:
    """Report halted streams, and rows that other code built, with what to do about them."""
    output = session.output
    halted = [each for each in projection.streams if each.state == HALTED and each.halted is not None]
    for each in halted:
        output.warning(halted_text(each))
        output.hint(f"Retry the event:  {resume_command(each)}")
        output.hint(f"Or continue without the event:  {skip_command(each)}")
    if projection.halted > len(halted) or projection.more_halted:
        output.warning(f"{projection.name}: {projection.halted_text} streams are halted; {len(halted)} are shown")
        output.hint(f"Retry the events:  esctl projections resume {projection.name}")
    if halted:
        output.hint(f"With a corrected handler:  esctl deploy  and  esctl replay --projection {projection.name}")
    if projection.is_outdated:
        output.warning(f"{projection.name}: its rows were built by other code than the deployed")
        output.hint(f"Rebuild them without downtime:  esctl replay --projection {projection.name}")


@app.command("resume")
@command()
def resume(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The projection.")],
    stream_id: StreamId = None,
    timeout: Wait = 30.0,
) -> None:
    """Retry one halted stream, or all halted streams of a projection; they catch up from the event store.

    Fix the cause first, for example by deploying a corrected handler.
    """
    session.announce(f"Resuming {name}")
    resumed = session.service.resume(name, stream_id)
    if not resumed:
        session.output.message(f"No stream of {name} is halted.")
        _document(session, name, [], [])
        return
    streams = _wait(session, name, [each.stream_id for each in resumed], timeout)
    _document(session, name, resumed, streams)
    if session.output.is_text:
        for each in resumed:
            session.output.text(f"{name}: stream {visible(each.stream_id)} is resumed at event {each.event_id}")
    _conclude(session, streams, timeout)


@app.command("skip")
@command()
def skip(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The projection.")],
    stream_id: Annotated[str, typer.Option("--stream-id", "-s", metavar="ID", help="The halted stream.")],
    event_id: Annotated[
        int, typer.Option("--event-id", metavar="N", min=0, help="The event at which the stream is halted.")
    ],
    yes: Yes = False,
    timeout: Wait = 30.0,
) -> None:
    """Skip the event at which a stream is halted. The event stays in the store, and the skip is recorded.

    The read model then lacks that event's changes. A replay skips the event too if its handler still raises.
    """
    session.announce(f"Skipping event {event_id} of stream {visible(stream_id)} in {name}")
    if not session.output.confirm(
        f"Continue without event {event_id} of stream {visible(stream_id)} in {name}?", yes=yes
    ):
        session.output.message("Nothing was skipped.")
        return
    skipped = session.service.skip(name, stream_id, event_id)
    streams = _wait(session, name, [stream_id], timeout)
    _document(session, name, [skipped], streams)
    if session.output.is_text:
        session.output.text(f"{name}: event {event_id} of stream {visible(stream_id)} is skipped")
    _conclude(session, streams, timeout)


def _wait(session: Session, name: str, stream_ids: list[str], timeout: float) -> list[StreamStatus]:
    if not timeout:
        return []
    with session.output.progress("catching up"):
        return recovery.wait_until_caught_up(session.service, session.environment, name, stream_ids, timeout)


def _document(session: Session, name: str, changed: list[StreamEvent], streams: list[StreamStatus]) -> None:
    if not session.output.is_text:
        changes = [{"streamId": each.stream_id, "eventId": each.event_id} for each in changed]
        session.output.json(
            {"projection": name, "changed": changes, "streams": [stream_document(each) for each in streams]}
        )


def _conclude(session: Session, streams: list[StreamStatus], timeout: float) -> None:
    """Report the result of the catch-up; raise `ConflictError` or `TimedOutError` unless all streams caught up."""
    again = [each for each in streams if each.state == HALTED]
    if again:
        raise ConflictError(
            f"{halted_text(again[0])} (again)",
            f"Fix the handler and deploy it, or skip the event:  {skip_command(again[0])}",
            exit_code=ExitCode.DEGRADED,
            faults=[halted_text(each) for each in again[1:]],
        )
    behind = [each for each in streams if each.lag]
    if behind:
        raise TimedOutError(
            f"stream {visible(behind[0].stream_id)} is still {behind[0].lag} events behind after {timeout:g} seconds",
            "The catch-up continues in the background. Check it:  esctl projections",
        )
    if session.output.is_text:
        for each in streams:
            session.output.success(f"stream {visible(each.stream_id)} has caught up: checkpoint {each.checkpoint}")
