"""Following a replay to its end, with a display that never hides an error."""

from __future__ import annotations

from cli.api import Api
from cli.environment import Environment
from cli.errors import CliError, ExitCode, TimedOutError
from cli.output import Output
from cli.replaying.jobs import Job, find
from handlers.projection.jobs import SWITCHING

_POLL_FIRST_S = 0.1
_POLL_MAX_S = 1.0
# A worker notes its progress several times a second; after this long without any, the reader is told.
_STILL_S = 30.0
HOW_TO_FOLLOW = "See how far it is:  esctl replays\nFollow it again:    esctl replay"


def follow(api: Api, environment: Environment, output: Output, job: Job, timeout_s: float | None = None) -> Job:
    """Return the job as it ended, well or not.

    Raises
    ------
    TimedOutError
        It has not ended in time. It goes on.
    CliError
        Ctrl-C: it goes on without a watcher.
    """
    began = moved = environment.monotonic()
    pause = _POLL_FIRST_S
    with output.progress(_title(job), job.total) as progress:
        try:
            while not job.ended:
                now = environment.monotonic()
                if timeout_s is not None and now - began >= timeout_s:
                    raise TimedOutError(
                        f"the {job.word} has not ended within {timeout_s:g} seconds: it goes on", HOW_TO_FOLLOW
                    )
                environment.sleep(pause)
                pause = min(pause * 1.5, _POLL_MAX_S)
                before, job = job, find(api, job.replay_id)
                if job.ended:
                    break
                moved = now if job.done != before.done else moved
                still_s = now - moved
                description = describe(job, still_s) if environment.stderr_is_terminal else _title(job, still_s)
                progress.update(done=job.done, total=job.total, description=description)
        except KeyboardInterrupt:
            raise CliError(
                f"stopped watching: the {job.word} goes on without you", HOW_TO_FOLLOW, exit_code=ExitCode.INTERRUPTED
            ) from None
    return job


def describe(job: Job, still_s: float = 0) -> str:
    """What stands before the bar: what is done, at which rate, and how long it will take."""
    parts = [_title(job, still_s)]
    if job.rate:
        parts.append(f"{job.rate:,.0f} events/s")
    if job.left_s is not None and job.state != SWITCHING and still_s < _STILL_S:
        parts.append(f"{duration(job.left_s)} left")
    return " · ".join(parts)


def duration(seconds: float) -> str:
    """A time as people say it.

    Examples
    --------
    >>> duration(0.42), duration(95), duration(7325)
    ('0.4 s', '1 min 35 s', '2 h 2 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def _title(job: Job, still_s: float = 0) -> str:
    if still_s >= _STILL_S:
        return f"{job.word} of {job.document['projection']}: no progress for a while, it is nudged every minute"
    if job.state == SWITCHING:
        return f"{job.word} of {job.document['projection']}: switching"
    return f"{job.word} of {job.document['projection']}"
