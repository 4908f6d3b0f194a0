"""Reading the read model at one instant (L1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from handlers.core.errors import GoneError
from handlers.core.events import StreamId
from handlers.projection.port import ReadModel
from handlers.projection.state import Chunk, StreamState

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
    GoneError
        The generation of the earlier page has been given up since: begin again.
    """
    state = read_model.load(stream_id).state
    for attempt in range(1, MAX_TRIES + 1):
        chosen = state.active_generation if generation is None else generation
        before = _standing(state, chosen)
        if before is None:
            break
        page = read_model.page(stream_id, chosen, after=after, limit=limit)
        state = read_model.load(stream_id).state
        now = _standing(state, chosen)
        # Without a token it does not matter that the generation was given up in the meantime: there is another one.
        if now == before or (attempt == MAX_TRIES and (now or generation is None)):
            rows = tuple({key: row_key, **row} for row_key, row in page.rows)
            settled = now == before and before.complete
            return ListPage(rows, before.checkpoint, chosen, page.next_after, settled)
    raise GoneError("the page token belongs to a read model that has been replaced since; begin the list again")


@dataclass(frozen=True, slots=True)
class _Standing:
    """What must not change while rows of a generation are read.

    Attributes
    ----------
    complete
        False while the rows are ahead of the checkpoint: in a rewind's catch-up, and in the middle of a rollback's chunk.
    """

    checkpoint: int
    complete: bool
    rewinds: int = 0
    chunk: Chunk | None = None


def _standing(state: StreamState, generation: int) -> _Standing | None:
    """Return where the rows of a generation stand; None when it has been given up."""
    if generation == state.active_generation:
        return _Standing(state.checkpoint, state.is_settled, state.rewinds)
    if state.previous and generation == state.previous.generation:
        return _Standing(state.previous.checkpoint, complete=True)
    replay = state.replay
    if replay and replay.kind == "rollback" and generation == replay.generation:
        return _Standing(replay.checkpoint, replay.chunk is None, chunk=replay.chunk)
    return None
