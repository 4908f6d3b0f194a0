"""Start replays and rollbacks, follow them to the end, and report what they changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from cli.client.records import (
    REPLAY,
    REWIND,
    ROLLBACK,
    STREAM_REPLAY,
    SWITCHING,
    Listing,
    ReplayJob,
    kind_word,
)
from cli.client.service import Service
from cli.errors import CliError, ConflictError, ExitCode, NotFoundError, TimedOutError
from cli.replay.audit import Effect, changed, check_follows, described, key_fields, new_fold
from cli.replay.history import Bound, Histories, HistoryTooLongError
from cli.terminal.environment import Environment
from cli.terminal.output import Output
from cli.terminal.text import duration, plural, shell_word
from handlers.projection.definition import Projection

_POLL_FIRST_S, _POLL_MAX_S = 0.1, 1.0
# A worker records its progress several times a second; after this long without any, the display says so.
_STALLED_S = 30.0
# How much history is folded before a deployment: some seconds.
TRIED = Bound(events=100_000, streams=1_000)
# Of several streams: rows before and after a replay are compared if there are at most so many. Ten calls each.
ROWS_COMPARED_MAX = 10_000


def how_to_follow(job: ReplayJob) -> str:
    """Return the commands that show a running job."""
    options = "--rollback" if job.kind == ROLLBACK else ""
    if job.kind in (STREAM_REPLAY, REWIND) and job.document.get("streamId"):
        options = f"--stream-id {shell_word(str(job.document['streamId']))}"
    if job.kind == REWIND:
        options += f" --from-event-id {job.document.get('fromEventId')}"
    follow_it = replay_command(job.projection, options.strip())
    return f"See its progress:  esctl replays {job.replay_id}\nFollow it:         {follow_it}"


def replay_command(projection: str, options: str = "") -> str:
    """Return the command that replays a projection."""
    return f"esctl replay --projection {projection} {options}".rstrip()


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """A job that has ended.

    Attributes
    ----------
    effect
        What it changed; None if it did not succeed, or if there are too many rows to compare.
    seconds
        Duration from before the first read to the end of the job.
    """

    job: ReplayJob
    effect: Effect | None
    seconds: float

    def document(self, projection: Projection) -> dict[str, Any]:
        """Return the JSON form: the job and its changes."""
        document: dict[str, Any] = {**self.job.document, "seconds": round(self.seconds, 3)}
        if self.effect is None:
            return document
        return document | {
            "rowsBefore": self.effect.before,
            "rowsAfter": self.effect.after,
            "rowsDiffering": len(self.effect.differences),
            "differences": [
                {**key_fields(projection, each.key), "before": each.one, "after": each.other}
                for each in self.effect.differences
            ],
        }


def start(service: Service, projection: Projection, stream_id: str | None = None, from_event_id: int = 0) -> ReplayJob:
    """Start a replay, or return the one that is running.

    Raises
    ------
    ConflictError
        A job of another kind is running.
    """
    job = service.trigger_replay(projection.name, stream_id, from_event_id)
    if from_event_id:
        return _of_kind(job, REWIND)
    return _of_kind(job, REPLAY) if stream_id is None else _of_kind(job, STREAM_REPLAY, REPLAY)


def start_rollback(service: Service, projection: Projection, stream_id: str | None = None) -> ReplayJob:
    """Start a rollback to the previous generation, or return the one that is running.

    Raises
    ------
    ConflictError
        A replay is running.
    CliError
        The previous generation is gone.
    """
    try:
        job = service.rollback(projection.name, stream_id)
    except ConflictError as error:
        raise CliError(
            f"cannot roll back: {error.message.removeprefix('refused: ')}",
            "The previous generation is kept for a day after a replay. Rebuild instead:  "
            f"{replay_command(projection.name)}",
        ) from error
    return _of_kind(job, ROLLBACK)


def run(
    service: Service,
    environment: Environment,
    output: Output,
    projection: Projection,
    begin: Callable[[], ReplayJob],
    *,
    stream_id: str | None = None,
    timeout_s: float | None = None,
) -> ReplayResult:
    """Start a job or join the running one, follow it, and return what it changed.

    Parameters
    ----------
    begin
        Starts the job.

    Raises
    ------
    CliError
        The job did not end in time. A failed job does not raise: see `failure`.
    """
    began = environment.monotonic()
    check_follows(projection, stream_id)
    running = described(service, projection).building
    before = _rows(service, projection)
    job = begin()
    if running is not None and job.replay_id == running.replay_id:
        output.message(f"A {job.word} is already running ({job.replay_id}): following it.")
    job = follow(service, environment, output, job, timeout_s)
    seconds = environment.monotonic() - began
    if job.failed or job.cancelled or before is None:
        return ReplayResult(job, None, seconds)
    after = _rows(service, projection)
    return ReplayResult(job, None if after is None else changed(service, projection, before, after), seconds)


def _rows(service: Service, projection: Projection) -> Listing | None:
    """Return all rows; None if they come from several streams, and there are too many to compare."""
    if projection.only_stream is not None:
        return service.items(projection)
    listing = service.rows(projection.name, limit=ROWS_COMPARED_MAX)
    return listing if listing.complete else None


def cancel(service: Service, projection: Projection, replay_id: str | None = None) -> ReplayJob:
    """Cancel a replay or rollback, by default the running one of the projection.

    Raises
    ------
    NotFoundError
        There is no such job, or none is running.
    ConflictError
        It has ended, or changes the rows in place.
    """
    if replay_id is None:
        building = described(service, projection).building
        if building is None:
            raise NotFoundError(
                f"no replay of {projection.name} is running that can be cancelled",
                "See the latest ones:  esctl replays",
            )
        replay_id = building.replay_id
    return service.cancel(replay_id)


def failure(job: ReplayJob) -> CliError:
    """Return the error of a job that failed or was cancelled."""
    if job.cancelled:
        return CliError(
            f"the {job.word} of {job.projection} was cancelled",
            f"The read model is still updated. Start again:  {replay_command(job.projection)}",
        )
    return CliError(
        f"the {job.word} of {job.projection} failed: {job.error or 'no reason given'}",
        "The read model is still updated. Fix the projection, then:  esctl deploy --replay",
    )


def follow(
    service: Service, environment: Environment, output: Output, job: ReplayJob, timeout_s: float | None = None
) -> ReplayJob:
    """Follow a job to its end, and return it, successful or not.

    Raises
    ------
    TimedOutError
        It did not end in time. It continues.
    CliError
        Ctrl-C. It continues.
    """
    moved_at, moved_to = environment.monotonic(), (job.done, job.segments)
    with output.progress(_title(job), job.total) as progress:

        def ask() -> ReplayJob:
            nonlocal moved_at, moved_to
            found = service.replay(job.replay_id)
            now = environment.monotonic()
            if (found.done, found.segments) != moved_to:
                moved_at, moved_to = now, (found.done, found.segments)
            if not found.ended:
                describe_it = describe if environment.stderr_is_terminal else _title
                progress.update(done=found.done, total=found.total, description=describe_it(found, now - moved_at))
            return found

        try:
            ended = (
                job
                if job.ended
                else environment.poll(
                    ask, lambda found: found.ended, timeout_s=timeout_s, pause_s=_POLL_FIRST_S, pause_max_s=_POLL_MAX_S
                )
            )
        except KeyboardInterrupt:
            raise CliError(
                f"stopped watching: the {job.word} continues", how_to_follow(job), exit_code=ExitCode.INTERRUPTED
            ) from None
    if not ended.ended:
        raise TimedOutError(
            f"the {job.word} did not end within {timeout_s:g} seconds; it continues", how_to_follow(job)
        )
    return ended


def describe(job: ReplayJob, stalled_s: float = 0) -> str:
    """Return the text of the progress bar: the job, its rate, and the remaining time, or how much is done."""
    parts = [_title(job, stalled_s)]
    if job.total is None and job.done:
        parts.append(f"{job.done:,} events")
    finished, segments = job.segments
    if segments and job.total is None:
        parts.append(f"{finished} of {segments} segments")
    if job.rate:
        parts.append(f"{job.rate:,.0f} events/s")
    if job.remaining_s is not None and job.state != SWITCHING and stalled_s < _STALLED_S:
        parts.append(f"{duration(job.remaining_s)} left")
    return " · ".join(parts)


def offer_replays(
    service: Service,
    environment: Environment,
    output: Output,
    projections: Iterable[Projection],
    *,
    replay: bool,
    ask: bool,
) -> None:
    """After a deployment, list the read models that older code built, and offer to rebuild them.

    Parameters
    ----------
    replay
        Rebuild without asking.
    ask
        Ask on an interactive terminal.

    Raises
    ------
    CliError
        A replay failed; the deployment itself succeeded.
    """
    try:
        found = _stale(service, projections)
    except CliError as error:  # the deployment has succeeded, even if the API fails now
        output.warning(f"cannot tell whether the read models are up to date: {error.message}")
        return
    for projection in found:
        output.warning(f"the code of {projection.name} has changed since its read model was built")
        if replay or (ask and environment.interactive and output.confirm(f"Replay {projection.name} now?")):
            _rebuild(service, environment, output, projection)
        else:
            output.hint(f"Rebuild it without downtime:  esctl replay --projection {projection.name}")


def try_new_code(service: Service, environment: Environment, output: Output, projections: Iterable[Projection]) -> None:
    """Before a deployment, fold history with changed code, to find an event at which a handler raises.

    Nothing is written. The rows are folded by the deployed code until a replay, so a failure is only a warning.
    """
    try:
        found = _stale(service, projections)
        for projection in found:
            began, fold = environment.monotonic(), new_fold(service, projection)
            with output.progress(f"folding the history of {projection.name} with the new code") as progress:
                histories = Histories(service, projection, TRIED, lambda count: progress.update(done=count))
                fold.all(histories)
            seconds = max(environment.monotonic() - began, 0.001)
            what = f"{plural(histories.events, 'event')} of {projection.name} with the new code"
            output.message(f"folded {what} in {seconds:.1f} s ({histories.events / seconds:,.0f} per second)")
            for each in fold.stopped.values():
                output.warning(f"a replay of {projection.name} will fail: {each.error().message}")
    except HistoryTooLongError as error:
        output.message(f"{error.message}; not folded before the deployment")
    except CliError as error:  # a stack of an earlier version, or one that fails: the deployment may be the cure
        output.message(f"the new code was not tried on history: {error.message}")


def _rebuild(service: Service, environment: Environment, output: Output, projection: Projection) -> None:
    result = run(service, environment, output, projection, lambda: start(service, projection))
    if result.job.failed or result.job.cancelled:
        raise failure(result.job)
    effect = result.effect
    rows = (
        f": {effect.before:,} rows before, {effect.after:,} after, {len(effect.differences):,} differ" if effect else ""
    )
    output.success(f"replayed {projection.name}{rows}")


def _stale(service: Service, projections: Iterable[Projection]) -> list[Projection]:
    """Return the projections whose rows other code built, unless a replay with this code is running."""
    deployed = {each.name: each for each in service.projections(limit=1)}
    found = []
    for projection in projections:
        status, own = deployed.get(projection.name), projection.fingerprint()
        if status is None:  # the deployment adds it
            continue
        being_rebuilt = status.building is not None and status.building.fingerprint == own
        if not being_rebuilt and status.generation_fingerprint not in (None, own):
            found.append(projection)
    return found


def _of_kind(job: ReplayJob, *kinds: str) -> ReplayJob:
    if job.kind not in kinds:
        raise ConflictError(
            f"cannot start a {kind_word(kinds[0])}: a {job.word} is running ({job.replay_id})",
            f"See its progress:  esctl replays {job.replay_id}",
        )
    return job


def _title(job: ReplayJob, stalled_s: float = 0) -> str:
    if stalled_s >= _STALLED_S:
        return f"{job.word} of {job.projection}: no progress; it is triggered again every two minutes"
    if job.state == SWITCHING:
        return f"{job.word} of {job.projection}: switching"
    return f"{job.word} of {job.projection}"
