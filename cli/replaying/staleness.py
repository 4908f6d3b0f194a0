"""After a deployment: which read models were built by another fold than the one deployed now, and building them anew."""

from __future__ import annotations

from collections.abc import Iterable

from cli.api import Api
from cli.environment import Environment
from cli.errors import CliError
from cli.output import Output
from cli.replaying.jobs import start
from cli.replaying.running import failure, replay_to_end
from cli.replaying.standing import standings
from handlers.projection.definition import Projection


def stale(api: Api, projections: Iterable[Projection]) -> list[Projection]:
    """The projections with a stream whose rows were begun by another fold; where nothing was projected, nothing is stale.

    Raises
    ------
    CliError
    """
    return [
        projection
        for projection in projections
        if any(each.fingerprint not in (None, projection.fingerprint()) for each in standings(api, projection))
    ]


def offer_replays(
    api: Api, environment: Environment, output: Output, projections: Iterable[Projection], *, replay: bool, ask: bool
) -> None:
    """Name the read models that an older fold has built, and build them anew where that is wanted.

    Parameters
    ----------
    replay
        It is wanted.
    ask
        Else ask, where somebody is at the terminal.

    Raises
    ------
    CliError
        A replay failed; the deployment itself is done.
    """
    try:
        found = stale(api, projections)
    except CliError as error:  # the deployment has succeeded, whatever the API says now
        output.warning(f"can't tell whether read models are up to date: {error.message}")
        return
    for projection in found:
        output.warning(f"the fold of {projection.name} has changed since its read model was built")
        wanted = replay or (ask and environment.interactive and output.confirm(f"Replay {projection.name} now?"))
        if not wanted:
            output.hint(f"Build it anew, without downtime:  esctl replay --projection {projection.name}")
            continue
        _replay(api, environment, output, projection)


def _replay(api: Api, environment: Environment, output: Output, projection: Projection) -> None:
    outcome = replay_to_end(api, environment, output, projection, lambda: start(api, projection, None, 0))
    if outcome.job.failed:
        raise failure(outcome.job)
    output.success(
        f"replayed {projection.name}: {outcome.rows_before:,} rows before, {outcome.rows_after:,} after, "
        f"{outcome.rows_differing:,} differ"
    )
