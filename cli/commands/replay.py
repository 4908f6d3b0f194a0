"""`esctl replay` and `esctl replays`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cli.command import command
from cli.errors import DegradedError, UsageError
from cli.readmodel import named_projection
from cli.session import Session
from cli.terminal.text import visible
from handlers.projection.jobs import REPLAY

if TYPE_CHECKING:
    from cli.replaying.effect import Effect
    from cli.replaying.jobs import Job
    from handlers.projection.definition import Projection


@command()
def replay(
    session: Session,
    stream_id: Annotated[
        str | None, typer.Option("--stream-id", "-s", metavar="ID", help="Only this stream; by default all.")
    ] = None,
    from_event_id: Annotated[
        int,
        typer.Option(
            "--from-event-id", metavar="N", min=0, help="Apply the events from N on again, in place, not all anew."
        ),
    ] = 0,
    projection: Annotated[
        str | None, typer.Option("--projection", "-p", metavar="NAME", help="The projection to replay.")
    ] = None,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Start it and return.")] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Compare the read model with its history, write nothing; exit code 7: differs."),
    ] = False,
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Go back to the generation before, and catch up from there.")
    ] = False,
    timeout: Annotated[
        float | None, typer.Option("--timeout", metavar="SECONDS", min=0, help="Stop waiting after this long.")
    ] = None,
) -> None:
    """Build the read model anew from history, while the old one goes on serving.

    Waits for the end and tells what changed. A replay that runs already is followed; Ctrl-C leaves it running.
    """
    _check({"--dry-run": dry_run, "--rollback": rollback, "--from-event-id": from_event_id > 0})
    _check({"--dry-run": dry_run, "--no-wait": no_wait})
    chosen = named_projection(projection)
    if dry_run:
        _audit(session, chosen, stream_id)
        return
    from cli.replaying.jobs import start, start_rollback

    def begin() -> Job:
        if rollback:
            return start_rollback(session.api, chosen, stream_id)
        return start(session.api, chosen, stream_id, from_event_id)

    if no_wait:
        _started(session, begin())
        return
    from cli.replaying.running import failure, replay_to_end
    from cli.replaying.screen import show_outcome

    outcome = replay_to_end(
        session.api, session.environment, session.output, chosen, begin, stream_id=stream_id, timeout_s=timeout
    )
    if not session.output.is_text:
        session.output.json(outcome.document(chosen.key))
    if outcome.job.failed:
        raise failure(outcome.job)
    if session.output.is_text:
        show_outcome(session.output, chosen, outcome)
        if outcome.job.kind == REPLAY:
            session.output.hint("Go back to the read model before:  esctl replay --rollback")


@command()
def replays(
    session: Session,
    replay_id: Annotated[str | None, typer.Argument(metavar="REPLAY_ID", help="Only this one, in full.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100, metavar="N", help="Show the last N.")] = 20,
) -> None:
    """List the recent replays and rollbacks, the newest first."""
    from cli.replaying.jobs import find, recent
    from cli.replaying.screen import job_pairs, job_table

    output = session.output
    if replay_id is not None:
        job = find(session.api, replay_id)
        if output.is_text:
            output.pairs(job_pairs(job))
        else:
            output.json(job.document)
        return
    jobs = recent(session.api, limit)
    if output.is_text:
        columns, rows = job_table(jobs)
        output.table(columns, rows, empty="There are no replays.")
    else:
        output.json({"replays": [job.document for job in jobs]})


def _check(options: dict[str, bool]) -> None:
    given = [name for name, is_given in options.items() if is_given]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} do not go together")


def _started(session: Session, job: Job) -> None:
    if not session.output.is_text:
        session.output.json(job.document)
        return
    session.output.text(f"{job.word} {job.replay_id} of {job.document['projection']}: {job.state}")
    session.output.hint("See how far it is:  esctl replays\nFollow it:          esctl replay")


def _audit(session: Session, projection: Projection, stream_id: str | None) -> None:
    """Show the read model beside what history makes of it.

    Raises
    ------
    DegradedError
        They differ.
    """
    from cli.replaying.effect import audit
    from cli.replaying.screen import show_differences
    from cli.replaying.standing import standings

    output = session.output
    effects: list[Effect] = []
    found = standings(session.api, projection, stream_id)
    for each in found:
        if each.halted_at is not None:
            output.warning(
                f"stream {visible(each.stream_id)} is halted at event {each.halted_at}: {each.halted_because}"
            )
        with output.progress(f"folding {visible(each.stream_id)}", max(0, each.checkpoint + 1)) as progress:
            effects.append(
                audit(session.api, projection, each, lambda count, to=progress: to.update(done=count))  # type: ignore[misc]
            )
    differing = sum(len(effect.differences) for effect in effects)
    if not output.is_text:
        output.json(_audit_document(projection, effects))
    else:
        show_differences(
            output, projection, [each for effect in effects for each in effect.differences], "is", "should be"
        )
        for effect in effects:
            events = f"{effect.checkpoint + 1:,} event{'' if effect.checkpoint == 0 else 's'}"
            output.text(
                f"{visible(effect.stream_id)}: {events}, {effect.before:,} rows, {len(effect.differences):,} differ"
            )
    if differing:
        raise DegradedError(
            f"the read model {projection.name} is not what its history makes of it: {differing:,} rows differ",
            "Build it anew:  esctl replay",
        )
    if output.is_text:
        output.success(f"The read model {projection.name} is what its history makes of it.")


def _audit_document(projection: Projection, effects: list[Effect]) -> dict[str, object]:
    return {
        "projection": projection.name,
        "rowsDiffering": sum(len(effect.differences) for effect in effects),
        "streams": [
            {
                "streamId": effect.stream_id,
                "checkpoint": effect.checkpoint,
                "rows": effect.before,
                "rowsExpected": effect.after,
                "differences": [
                    {projection.key: each.key, "is": each.one, "shouldBe": each.other} for each in effect.differences
                ],
            }
            for effect in effects
        ],
    }
