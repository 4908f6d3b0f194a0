"""Consistent pages of the read model (L1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from handlers.core.errors import GoneError
from handlers.core.events import StreamId
from handlers.projection.port import ReadModel
from handlers.projection.state import ROLLBACK, Chunk, StreamState

# A commit takes milliseconds; only a stream with continuous writes needs more than two tries.
MAX_TRIES = 5


@dataclass(frozen=True, slots=True)
class ListPage:
    """A page of rows.

    Attributes
    ----------
    rows
        Each with its key attribute, ordered by key.
    checkpoint
        The last event that the rows reflect.
    generation
        The generation of the rows; request the next page in the same one.
    next_after
        The key to continue after; None at the end.
    settled
        True if the rows are exactly the state at ``checkpoint``; False if events were applied during the read.
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
    """Read rows of the active generation, or of the generation of an earlier page.

    A query is not isolated from transactions, so this reads the state, the rows, and the state again: if the state has not
    changed, the rows match it. Otherwise it retries a few times, then returns an unsettled page rather than fail.

    Raises
    ------
    GoneError
        The generation of the earlier page was deleted: restart the list.
    """
    state = read_model.load(stream_id).state
    for attempt in range(1, MAX_TRIES + 1):
        chosen = state.active_generation if generation is None else generation
        before = _position(state, chosen)
        if before is None:
            break
        page = read_model.page(stream_id, chosen, after=after, limit=limit)
        state = read_model.load(stream_id).state
        now = _position(state, chosen)
        # The first page may return a generation that was deleted meanwhile; a later page may not.
        if now == before or (attempt == MAX_TRIES and (now or generation is None)):
            rows = tuple({key: row_key, **row} for row_key, row in page.rows)
            settled = now == before and before.complete
            return ListPage(rows, before.checkpoint, chosen, page.next_after, settled)
    raise GoneError("the page token is for rows that have been replaced since; restart the list")


@dataclass(frozen=True, slots=True)
class _Position:
    """What must not change while rows of a generation are read.

    Attributes
    ----------
    complete
        False while the rows are ahead of the checkpoint: during a rewind's catch-up, or within a page of a rollback.
    """

    checkpoint: int
    complete: bool
    rewinds: int = 0
    chunk: Chunk | None = None


def _position(state: StreamState, generation: int) -> _Position | None:
    """Return the position of a generation's rows; None if the generation was deleted."""
    if generation == state.active_generation:
        return _Position(state.checkpoint, state.is_settled, state.rewinds)
    if state.previous and generation == state.previous.generation:
        return _Position(state.previous.checkpoint, complete=True)
    replay = state.replay
    if replay and replay.kind == ROLLBACK and generation == replay.generation:
        return _Position(replay.checkpoint, replay.chunk is None, chunk=replay.chunk)
    return None
