"""Start replays and rollbacks, follow them to the end, and report what they changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from cli.client.service import ReplayJob, Service, StreamStatus, kind_word
from cli.errors import CliError, ConflictError, ExitCode, TimedOutError
from cli.replay.audit import Effect, changed, streams_of
from cli.terminal.environment import Environment
from cli.terminal.output import Output
from cli.terminal.text import duration
from handlers.projection.definition import Projection
from handlers.replay.jobs import REPLAY, REWIND, ROLLBACK, SWITCHING

_POLL_FIRST_S, _POLL_MAX_S = 0.1, 1.0
# A worker records its progress several times a second; after this long without any, the display says so.
_STALLED_S = 30.0
HOW_TO_FOLLOW = "See its progress:  esctl replays\nFollow it again:   esctl replay"


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """A job that has ended.

    Attributes
    ----------
    effects
        Its changes, one per stream; empty if it failed.
    seconds
        Duration from before the first read to the end of the job.
    """

    job: ReplayJob
    effects: tuple[Effect, ...]
    seconds: float

    @property
    def rows_before(self) -> int:
        return sum(each.before for each in self.effects)

    @property
    def rows_after(self) -> int:
        return sum(each.after for each in self.effects)

    @property
    def rows_differing(self) -> int:
        return sum(len(each.differences) for each in self.effects)

    def document(self, key: str) -> dict[str, Any]:
        """Return the JSON form: the job and its changes."""
        document: dict[str, Any] = {**self.job.document, "seconds": round(self.seconds, 3)}
        if self.job.failed:
            return document
        return document | {
            "rowsBefore": self.rows_before,
            "rowsAfter": self.rows_after,
            "rowsDiffering": self.rows_differing,
            "differences": [
                {"streamId": effect.stream_id, key: each.key, "before": each.one, "after": each.other}
                for effect in self.effects
                for each in effect.differences
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
    return _of_kind(job, REWIND if from_event_id else REPLAY)


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
            "The previous generation is kept for a day after a replay. Rebuild instead:  esctl replay",
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
    found = streams_of(service, projection, stream_id)
    before = {each.stream_id: service.rows(projection, stream_id=each.stream_id) for each in found}
    job = begin()
    if job.replay_id in {each.replay.replay_id for each in found if each.replay}:
        output.message(f"A {job.word} is already running ({job.replay_id}): following it.")
    job = follow(service, environment, output, job, timeout_s)
    seconds = environment.monotonic() - began
    if job.failed:
        return ReplayResult(job, (), seconds)

    def effect(stream: StreamStatus) -> Effect:
        after = service.rows(projection, stream_id=stream.stream_id)
        return changed(service, projection, stream, before[stream.stream_id], after)

    return ReplayResult(job, tuple(map(effect, found)), seconds)


def failure(job: ReplayJob) -> CliError:
    """Return the error of a job that failed."""
    return CliError(
        f"the {job.word} failed: {job.error or 'no reason given'}",
        "The read model is unchanged and still updated. Fix the projection, then:  esctl deploy --replay",
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
    moved_at, moved_to = environment.monotonic(), job.done
    with output.progress(_title(job), job.total) as progress:

        def ask() -> ReplayJob:
            nonlocal moved_at, moved_to
            found = service.replay(job.replay_id)
            now = environment.monotonic()
            if found.done != moved_to:
                moved_at, moved_to = now, found.done
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
                f"stopped watching: the {job.word} continues", HOW_TO_FOLLOW, exit_code=ExitCode.INTERRUPTED
            ) from None
    if not ended.ended:
        raise TimedOutError(f"the {job.word} did not end within {timeout_s:g} seconds; it continues", HOW_TO_FOLLOW)
    return ended


def describe(job: ReplayJob, stalled_s: float = 0) -> str:
    """Return the text of the progress bar: the job, its rate, and the remaining time."""
    parts = [_title(job, stalled_s)]
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
        found = [each for each in projections if _is_stale(service, each)]
    except CliError as error:  # the deployment has succeeded, even if the API fails now
        output.warning(f"cannot tell whether the read models are up to date: {error.message}")
        return
    for projection in found:
        output.warning(f"the code of {projection.name} has changed since its read model was built")
        if replay or (ask and environment.interactive and output.confirm(f"Replay {projection.name} now?")):
            _rebuild(service, environment, output, projection)
        else:
            output.hint(f"Rebuild it without downtime:  esctl replay --projection {projection.name}")


def _rebuild(service: Service, environment: Environment, output: Output, projection: Projection) -> None:
    result = run(service, environment, output, projection, lambda: start(service, projection))
    if result.job.failed:
        raise failure(result.job)
    output.success(
        f"replayed {projection.name}: {result.rows_before:,} rows before, {result.rows_after:,} after, "
        f"{result.rows_differing:,} differ"
    )


def _is_stale(service: Service, projection: Projection) -> bool:
    """Return whether other code built any rows; a stream that was never projected has no fingerprint."""
    fingerprints = {each.fingerprint for each in streams_of(service, projection)}
    return bool(fingerprints - {None, projection.fingerprint()})


def _of_kind(job: ReplayJob, kind: str) -> ReplayJob:
    if job.kind != kind:
        raise ConflictError(
            f"cannot start a {kind_word(kind)}: a {job.word} is running ({job.replay_id})",
            "See its progress:  esctl replays",
        )
    return job


def _title(job: ReplayJob, stalled_s: float = 0) -> str:
    if stalled_s >= _STALLED_S:
        return f"{job.word} of {job.projection}: no progress; it is triggered again every minute"
    if job.state == SWITCHING:
        return f"{job.word} of {job.projection}: switching"
    return f"{job.word} of {job.projection}"
