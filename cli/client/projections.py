"""The projections installed here, and waiting for an event in their read models."""

from __future__ import annotations

from cli.client.service import Service, halted_error
from cli.errors import NotFoundError, TimedOutError
from cli.terminal.environment import Environment
from handlers.domain import registry
from handlers.projection.definition import Projection

ITEMS = "test-items"


def items_projection() -> Projection:
    """Return the projection of the walkthrough, which ``esctl list`` shows by default."""
    return registry()[ITEMS]


def default_projection() -> str:
    """Return the name of the projection that commands are about by default: the walkthrough's, or the only one."""
    names = list(registry())
    return names[0] if len(names) == 1 else ITEMS


def installed_projection(name: str) -> Projection | None:
    """Return a projection by its name; None if only the stack may have it."""
    return registry().get(name)


def named_projection(name: str | None) -> Projection:
    """Return a projection by its name, or the default one.

    Raises
    ------
    NotFoundError
    """
    wanted = name or default_projection()
    chosen = installed_projection(wanted)
    if chosen is None:
        raise NotFoundError(f"there is no projection {wanted}", f"Projections: {', '.join(registry())}.")
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
    DegradedError
        The stream is halted at that event, or at an earlier one.
    TimedOutError
    """
    name = projection.name
    found = environment.poll(
        lambda: service.stream_status(name, stream_id),
        lambda stream: stream.checkpoint >= event_id or stream.halted is not None,
        timeout_s=timeout_s,
    )
    if found.checkpoint >= event_id:
        return
    if found.halted is not None:
        raise halted_error(name, stream_id, found.halted.event_id, found.halted.error)
    raise TimedOutError(
        f"event {event_id} is stored, but not in the read model {name} after {timeout_s:g} seconds: "
        f"its checkpoint is {found.checkpoint}",
        f"It may only be slow. List the rows again:  {list_command(projection)}",
    )


def list_command(projection: Projection) -> str:
    """Return the command that lists the rows of a projection."""
    return "esctl list" if projection.name == ITEMS else f"esctl list {projection.name}"
