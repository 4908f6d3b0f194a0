"""A replay from its start to its end: before, progress, after."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cli.api import Api
from cli.environment import Environment
from cli.errors import CliError
from cli.output import Output
from cli.replaying.effect import Effect, changed, listed
from cli.replaying.following import follow
from cli.replaying.jobs import Job
from cli.replaying.standing import StreamStanding, standings
from handlers.projection.definition import Projection


@dataclass(frozen=True, slots=True)
class Outcome:
    """A replay that has ended.

    Attributes
    ----------
    effects
        What it changed, stream by stream; nothing where it failed.
    seconds
        From before the first look to the end of the replay.
    """

    job: Job
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
        """As scripts get it: the job, and what it changed."""
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


def replay_to_end(
    api: Api,
    environment: Environment,
    output: Output,
    projection: Projection,
    begin: Callable[[], Job],
    *,
    stream_id: str | None = None,
    timeout_s: float | None = None,
) -> Outcome:
    """Start a job, or find the one that runs; follow it, and tell what it changed.

    Parameters
    ----------
    begin
        Starts the job.

    Raises
    ------
    CliError
        The waiting ended before the job did. A job that failed is no exception: see `failure`.
    """
    began = environment.monotonic()
    found = standings(api, projection, stream_id)
    before = {each.stream_id: listed(api, projection, each.stream_id) for each in found}
    job = begin()
    if job.replay_id in {each.replay_id for each in found}:
        output.message(f"A {job.word} is running already ({job.replay_id}): following it.")
    job = follow(api, environment, output, job, timeout_s)
    seconds = environment.monotonic() - began
    if job.failed:
        return Outcome(job, (), seconds)

    def effect(standing: StreamStanding) -> Effect:
        after = listed(api, projection, standing.stream_id)
        return changed(api, projection, standing, before[standing.stream_id], after)

    return Outcome(job, tuple(map(effect, found)), seconds)


def failure(job: Job) -> CliError:
    """The error of a job that failed."""
    return CliError(
        f"the {job.word} failed: {job.error or 'no reason given'}",
        "The read model is as it was, and is still updated. Mend the projection, then:  esctl deploy --replay",
    )
