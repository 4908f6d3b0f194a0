"""Reading read models through the API, and waiting until an event is in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cli.api import Api
from cli.environment import Environment
from cli.errors import CliError, NotFoundError, TimedOutError
from handlers.projection.definition import Projection
from handlers.projections import registry

ITEMS = "test-items"
_TRIES = 3
_POLL_FIRST_S = 0.02  # an event is visible after some 50 ms
_POLL_MAX_S = 0.5


@dataclass(frozen=True, slots=True)
class Listing:
    """Rows of a read model.

    Attributes
    ----------
    items
        In the order of their keys.
    checkpoint
        The last event that is in them; -1 where there is none.
    settled
        False where events were applied while the rows were read, again and again.
    complete
        False where there are more than were asked for.
    """

    items: list[Mapping[str, Any]]
    checkpoint: int
    settled: bool = True
    complete: bool = True

    def document(self) -> dict[str, Any]:
        """As scripts get it."""
        document: dict[str, Any] = {"items": self.items, "checkpoint": self.checkpoint}
        return document if self.settled else {**document, "settled": False}


def path_of(projection: Projection) -> str:
    return f"/list{projection.pascal_name}"


def fetch(api: Api, projection: Projection, *, limit: int | None = None, stream_id: str | None = None) -> Listing:
    """All rows, or the first ``limit``, over as many pages as it takes, all at one checkpoint.

    Raises
    ------
    CliError
    """
    for _ in range(_TRIES):
        listing = _pages(api, path_of(projection), limit, stream_id)
        if listing.settled:
            return listing
    return listing


def wait_until_projected(
    api: Api, environment: Environment, projection: Projection, stream_id: str, event_id: int, timeout_s: float
) -> None:
    """Return when the event is in the read model.

    Raises
    ------
    TimedOutError
        It is not there in time.
    """
    deadline = environment.monotonic() + timeout_s
    pause = _POLL_FIRST_S
    stream = None if _is_default(projection, stream_id) else stream_id
    while True:
        checkpoint = int(api.get(path_of(projection), limit=1, streamId=stream).document["checkpoint"])
        if checkpoint >= event_id:
            return
        if environment.monotonic() + pause > deadline:
            raise TimedOutError(
                f"event {event_id} is stored, but not in the read model {projection.name} after {timeout_s:g} seconds: "
                f"its checkpoint is {checkpoint}",
                "It may just be slow; look again with:  esctl list",
            )
        environment.sleep(pause)
        pause = min(pause * 1.5, _POLL_MAX_S)


def items_projection() -> Projection:
    """The projection that ``esctl list`` shows."""
    return registry()[ITEMS]


def named_projection(name: str | None) -> Projection:
    """The projection of a name; where none is given the only one there is, or the one that ``esctl list`` shows.

    Raises
    ------
    NotFoundError
    """
    projections = registry()
    chosen = projections.get(name or ITEMS)
    if chosen is None:
        raise NotFoundError(f"there is no projection {name or ITEMS}", f"There are: {', '.join(projections)}.")
    return chosen


def following(stream_id: str) -> list[Projection]:
    """The projections that a stream feeds."""
    return [projection for projection in registry().values() if projection.follows(stream_id)]


def _is_default(projection: Projection, stream_id: str) -> bool:
    return projection.streams is not None and projection.streams[:1] == (stream_id,)


def _pages(api: Api, path: str, limit: int | None, stream_id: str | None) -> Listing:
    items: list[Mapping[str, Any]] = []
    checkpoints: set[int] = set()
    token: str | None = None
    settled = True
    while True:
        wanted = None if limit is None else limit - len(items)
        # A token names its stream; a second time, the longest ids would not fit the 10,240 bytes of a request's head.
        where = {"streamId": stream_id} if token is None else {"nextToken": token}
        page = api.get(path, limit=_page_size(wanted), **where).document
        if not isinstance(page, dict) or "items" not in page:
            raise CliError("the API's answer is not a list of items", "Is it the right address? See:  esctl outputs")
        items += page["items"]
        checkpoints.add(int(page.get("checkpoint", -1)))
        settled = settled and page.get("settled", True) is not False
        token = page.get("nextToken")
        if token is None or (limit is not None and len(items) >= limit):
            return Listing(items, min(checkpoints), settled and len(checkpoints) == 1, complete=token is None)


def _page_size(wanted: int | None) -> int | None:
    return None if wanted is None else min(wanted, 1000)
