"""The projections installed here, and waiting for an event in their read models."""

from __future__ import annotations

from cli.client.service import Service
from cli.errors import NotFoundError, TimedOutError
from cli.terminal.environment import Environment
from handlers.domain import registry
from handlers.projection.definition import Projection

ITEMS = "test-items"


def items_projection() -> Projection:
    """Return the projection that ``esctl list`` shows."""
    return registry()[ITEMS]


def named_projection(name: str | None) -> Projection:
    """Return a projection by its name, by default the one that ``esctl list`` shows.

    Raises
    ------
    NotFoundError
    """
    projections = registry()
    chosen = projections.get(name or ITEMS)
    if chosen is None:
        raise NotFoundError(f"there is no projection {name or ITEMS}", f"Projections: {', '.join(projections)}.")
    return chosen


def projections_of(stream_id: str) -> list[Projection]:
    """Return the projections that follow a stream."""
    return [projection for projection in registry().values() if projection.follows(stream_id)]


def wait_until_projected(
    service: Service, environment: Environment, projection: Projection, stream_id: str, event_id: int, timeout_s: float
) -> None:
    """Wait until an event has been applied to a read model.

    Raises
    ------
    TimedOutError
    """
    checkpoint = environment.poll(
        lambda: service.checkpoint(projection, stream_id), lambda found: found >= event_id, timeout_s=timeout_s
    )
    if checkpoint < event_id:
        raise TimedOutError(
            f"event {event_id} is stored, but not in the read model {projection.name} after {timeout_s:g} seconds: "
            f"its checkpoint is {checkpoint}",
            "It may only be slow. List the items again:  esctl list",
        )
