"""`esctl replay` and `esctl replays`: rebuild, audit or roll back a read model."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.client.projections import named_projection
from cli.client.records import REPLAY, ReplayJob, StreamStatus
from cli.commands import HISTORY_MAX, Full
from cli.errors import DegradedError, UsageError
from cli.replay.audit import Effect, audit, described, key_fields
from cli.replay.history import Bound
from cli.replay.run import cancel, failure, how_to_follow, replay_command, run, start, start_rollback
from cli.replay.screen import job_pairs, job_table, show_differences, show_result
from cli.shell.command import command
from cli.shell.session import Session
from cli.terminal.text import plural, shell_word, visible
from handlers.projection.definition import Projection


@command()
def replay(
    session: Session,
    replay_id: Annotated[
        str | None, typer.Argument(metavar="REPLAY_ID", help="With --cancel: the replay to cancel.")
    ] = None,
    stream_id: Annotated[
        str | None,
        typer.Option(
            "--stream-id",
            "-s",
            metavar="ID",
            help="Only this stream's rows, in place, if other streams don't share them.",
        ),
    ] = None,
    from_event_id: Annotated[
        int,
        typer.Option("--from-event-id", metavar="N", min=0, help="Reapply a stream's events from N in place."),
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
    cancel_it: Annotated[
        bool,
        typer.Option("--cancel", help="Cancel the running replay; its rows are deleted, nothing changes for readers."),
    ] = False,
    full: Full = False,
    timeout: Annotated[
        float | None, typer.Option("--timeout", metavar="SECONDS", min=0, help="Stop waiting after this long.")
    ] = None,
) -> None:
    """Rebuild a read model from the history of all its streams, while the current one keeps serving.

    Waits for the end and shows what changed. If a replay is already running, follows it. Ctrl-C leaves it running.
    """
    modes = {"--dry-run": dry_run, "--rollback": rollback, "--cancel": cancel_it}
    _check({**modes, "--from-event-id": from_event_id > 0})
    _check({"--dry-run": dry_run, "--no-wait": no_wait})
    _check({"--dry-run": dry_run, "--cancel": cancel_it, "--stream-id": stream_id is not None})
    if full and not dry_run:
        raise UsageError("--full can only be combined with --dry-run")
    if replay_id is not None and not cancel_it:
        raise UsageError("a REPLAY_ID is only taken by --cancel", f"Show it:  esctl replays {shell_word(replay_id)}")
    chosen = named_projection(projection)
    if cancel_it:
        _cancelled(session, cancel(session.service, chosen, replay_id))
        return
    if dry_run:
        _audit(session, chosen, full)
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
        session.output.json(outcome.document(chosen))
    if outcome.job.failed or outcome.job.cancelled:
        raise failure(outcome.job)
    if session.output.is_text:
        show_result(session.output, chosen, outcome)
        if outcome.job.kind == REPLAY:
            session.output.hint(f"Roll back to the previous read model:  {replay_command(chosen.name, '--rollback')}")


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
    session.output.text(f"{job.word} {job.replay_id} of {job.projection}: {job.state}")
    session.output.hint(how_to_follow(job))


def _cancelled(session: Session, job: ReplayJob) -> None:
    if not session.output.is_text:
        session.output.json(job.document)
        return
    session.output.text(f"{job.word} {job.replay_id} of {job.projection}: {job.state}")
    session.output.hint(f"Start again:  {replay_command(job.projection)}")


def _audit(session: Session, projection: Projection, full: bool) -> None:
    """Compare the read model with its history; raise `DegradedError` if they differ."""
    output = session.output
    bound = Bound() if full else Bound(events=HISTORY_MAX)
    total = None
    if projection.only_stream is not None:
        stream = session.service.stream_status(projection.name, projection.only_stream)
        total = max(0, stream.checkpoint + 1)
        if stream.halted is not None:
            _warn_of_halt(session, stream)
    status = described(session.service, projection)
    if status.generation_fingerprint not in (None, projection.fingerprint()):
        output.warning(f"other code than this built the rows of {projection.name}: differences may be due to it")
    with output.progress(f"folding the history of {projection.name}", total) as progress:
        effect = audit(session.service, projection, bound, lambda count: progress.update(done=count))
    for each in effect.stopped:
        _warn_of_halt(session, each)
    if not output.is_text:
        output.json(_audit_document(projection, effect))
    else:
        show_differences(output, projection, effect.differences, "is", "should be")
        streams = "" if projection.only_stream else f" of {effect.streams:,} streams"
        events = f"{plural(effect.events, 'event')}{streams}"
        rows = plural(effect.before, "row")
        output.text(f"{projection.name}: {events}, {rows}, {len(effect.differences):,} differ")
    _conclude(session, projection, effect)


def _conclude(session: Session, projection: Projection, effect: Effect) -> None:
    if effect.differences:
        sure = "" if effect.settled else "; events that are being applied may explain some"
        raise DegradedError(
            f"the read model {projection.name} does not match its history: "
            f"{len(effect.differences):,} rows differ{sure}",
            f"Rebuild it:  {replay_command(projection.name)}",
        )
    if not session.output.is_text:
        return
    if effect.stopped:
        session.output.message(f"The read model {projection.name} matches its history up to the events that halt it.")
    else:
        session.output.success(f"The read model {projection.name} matches its history.")


def _warn_of_halt(session: Session, stream: StreamStatus) -> None:
    if stream.halted is not None:
        where = f"stream {visible(stream.stream_id)} is halted at event {stream.halted.event_id}"
        session.output.warning(f"{where}: {stream.halted.error}")


def _audit_document(projection: Projection, effect: Effect) -> dict[str, object]:
    differences = [
        {**key_fields(projection, each.key), "is": each.one, "shouldBe": each.other} for each in effect.differences
    ]
    found: dict[str, object] = {"rows": effect.before, "rowsExpected": effect.after, "differences": differences}
    document: dict[str, object] = {"projection": projection.name, "rowsDiffering": len(effect.differences)}
    if projection.only_stream is not None:
        stream = {"streamId": projection.only_stream, "checkpoint": effect.checkpoint}
        return {**document, "streams": [{**stream, **found}]}
    halted = [{"streamId": each.stream_id, "checkpoint": each.checkpoint} for each in effect.stopped]
    counts = {"settled": effect.settled, "eventsFolded": effect.events, "streamsFolded": effect.streams}
    return {**document, **counts, "halted": halted, **found}
