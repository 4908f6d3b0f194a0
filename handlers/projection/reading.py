"""Reading the read model at one instant (L1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from handlers.errors import Gone
from handlers.events import StreamId
from handlers.projection.port import ReadModel
from handlers.projection.state import StreamState

# A commit takes milliseconds; only a stream that is written all the time needs more than two tries.
MAX_TRIES = 5


@dataclass(frozen=True, slots=True)
class ListPage:
    """Some rows of a read model.

    Attributes
    ----------
    rows
        Each with its key attribute, in the order of the keys.
    checkpoint
        The last event that is in the rows.
    generation
        The generation they are of; a next page must be asked for in the same one.
    next_after
        The key to go on after; None at the end.
    settled
        True: the rows are exactly the state at ``checkpoint``. False: events were applied while they were read.
    """

    rows: tuple[Mapping[str, Any], ...]
    checkpoint: int
    generation: int
    next_after: str | None
    settled: bool


def read_page(
    read_model: ReadModel,
    stream_id: StreamId,
    *,
    key: str,
    limit: int,
    after: str | None = None,
    generation: int | None = None,
) -> ListPage:
    """Read rows of the active generation, or go on in the one that an earlier page was of.

    State, rows, state again: if the state has not changed, the rows are exactly what it says (a query alone is not
    isolated from transactions). If it has, read again, a few times, then answer unsettled rather than fail.

    Raises
    ------
    Gone
        The generation of the earlier page has been given up since: begin again.
    """
    state = read_model.load(stream_id).state
    for attempt in range(MAX_TRIES):
        chosen = state.active_generation if generation is None else generation
        before = _identity(state, chosen)
        page = read_model.page(stream_id, chosen, after=after, limit=limit)
        state = read_model.load(stream_id).state
        same = _identity(state, chosen) == before
        if same or attempt == MAX_TRIES - 1:
            rows = tuple({key: row_key, **row} for row_key, row in page.rows)
            settled = same and (chosen != state.active_generation or state.is_settled)
            return ListPage(rows, before[0], chosen, page.next_after, settled)
    raise AssertionError("unreachable: the last try returns")


def _identity(state: StreamState, generation: int) -> tuple[int, int, int]:
    """Return what must not change while rows of a generation are read; the first is their checkpoint."""
    if generation == state.active_generation:
        return state.checkpoint, generation, state.rewinds
    if state.previous and generation == state.previous.generation:
        return state.previous.checkpoint, generation, -1
    if state.replay and state.replay.kind == "rollback" and generation == state.replay.generation:
        keys_done = state.replay.chunk.keys_done if state.replay.chunk else 0
        return state.replay.checkpoint, generation, -2 - keys_done
    raise Gone("the page token belongs to a read model that has been replaced since; begin the list again")
