"""`esctl replay` and `esctl replays`: rebuild, audit or roll back a read model."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.client.projections import named_projection
from cli.client.service import ReplayJob
from cli.errors import DegradedError, UsageError
from cli.replay.audit import Effect, audit, streams_of
from cli.replay.run import failure, run, start, start_rollback
from cli.replay.screen import job_pairs, job_table, show_differences, show_result
from cli.shell.command import command
from cli.shell.session import Session
from cli.terminal.text import visible
from handlers.projection.definition import Projection
from handlers.replay.jobs import REPLAY


@command()
def replay(
    session: Session,
    stream_id: Annotated[
        str | None, typer.Option("--stream-id", "-s", metavar="ID", help="Only this stream; all by default.")
    ] = None,
    from_event_id: Annotated[
        int,
        typer.Option("--from-event-id", metavar="N", min=0, help="Reapply events from N in place."),
    ] = 0,
    projection: Annotated[
        str | None, typer.Option("--projection", "-p", metavar="NAME", help="The projection to replay.")
    ] = None,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Return once the replay is started.")] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Compare the read model with its history, change nothing; exit code 7 if they differ."
        ),
    ] = False,
    rollback: Annotated[
        bool,
        typer.Option(
            "--rollback", help="Switch back to the previous generation of the read model and let it catch up."
        ),
    ] = False,
    timeout: Annotated[
        float | None, typer.Option("--timeout", metavar="SECONDS", min=0, help="Stop waiting after this long.")
    ] = None,
) -> None:
    """Rebuild the read model from history while the current one keeps serving.

    Waits for the end and shows what changed. If a replay is already running, follows it. Ctrl-C leaves it running.
    """
    _check({"--dry-run": dry_run, "--rollback": rollback, "--from-event-id": from_event_id > 0})
    _check({"--dry-run": dry_run, "--no-wait": no_wait})
    chosen = named_projection(projection)
    if dry_run:
        _audit(session, chosen, stream_id)
        return

    def begin() -> ReplayJob:
        if rollback:
            return start_rollback(session.service, chosen, stream_id)
        return start(session.service, chosen, stream_id, from_event_id)

    if no_wait:
        _started(session, begin())
        return
    outcome = run(
        session.service, session.environment, session.output, chosen, begin, stream_id=stream_id, timeout_s=timeout
    )
    if not session.output.is_text:
        session.output.json(outcome.document(chosen.key))
    if outcome.job.failed:
        raise failure(outcome.job)
    if session.output.is_text:
        show_result(session.output, chosen, outcome)
        if outcome.job.kind == REPLAY:
            session.output.hint("Roll back to the previous read model:  esctl replay --rollback")


@command()
def replays(
    session: Session,
    replay_id: Annotated[str | None, typer.Argument(metavar="REPLAY_ID", help="Show only this one, in full.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100, metavar="N", help="Show the latest N.")] = 20,
) -> None:
    """List the latest replays and rollbacks, newest first."""
    output = session.output
    if replay_id is not None:
        job = session.service.replay(replay_id)
        if output.is_text:
            output.pairs(job_pairs(job))
        else:
            output.json(job.document)
        return
    jobs = session.service.replays(limit)
    if output.is_text:
        columns, rows = job_table(jobs)
        output.table(columns, rows, empty="There are no replays.")
    else:
        output.json({"replays": [job.document for job in jobs]})


def _check(options: dict[str, bool]) -> None:
    given = [name for name, is_given in options.items() if is_given]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} can't be combined")


def _started(session: Session, job: ReplayJob) -> None:
    if not session.output.is_text:
        session.output.json(job.document)
        return
    session.output.text(f"{job.word} {job.replay_id} of {job.document['projection']}: {job.state}")
    session.output.hint("Check its progress:  esctl replays\nFollow it:           esctl replay")


def _audit(session: Session, projection: Projection, stream_id: str | None) -> None:
    """Compare the read model with its history; raise `DegradedError` if they differ."""
    output = session.output
    effects: list[Effect] = []
    found = streams_of(session.service, projection, stream_id)
    for each in found:
        if each.halted is not None:
            output.warning(
                f"stream {visible(each.stream_id)} is halted at event {each.halted.event_id}: {each.halted.error}"
            )
        with output.progress(f"folding {visible(each.stream_id)}", max(0, each.checkpoint + 1)) as progress:
            effects.append(
                audit(session.service, projection, each, lambda count, to=progress: to.update(done=count))  # type: ignore[misc]
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
            f"the read model {projection.name} does not match its history: {differing:,} rows differ",
            f"Rebuild it:  esctl replay --projection {projection.name}",
        )
    if output.is_text:
        output.success(f"The read model {projection.name} matches its history.")


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
