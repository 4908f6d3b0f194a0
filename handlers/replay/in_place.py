"""Folding one stream again in the active generation, where each row comes from one stream."""

from __future__ import annotations

from handlers.core.errors import ContendedError
from handlers.core.events import EventId, StreamId
from handlers.projection import transitions
from handlers.projection.engine import Projector, plain, row_changes
from handlers.projection.fold import Folded, fold, keys_of, prepare
from handlers.projection.port import (
    MAX_COMMIT_BYTES,
    MAX_COMMIT_ROWS,
    MAX_LOST_RACES,
    Commit,
    OutdatedError,
    ReadModel,
    Row,
)
from handlers.store import EventStore


class CannotReplayStreamError(Exception):
    """The stream's rows do not fit one transaction, or are not its own; the message says what to do."""


def replay_stream(projector: Projector, store: EventStore, read_model: ReadModel, stream_id: StreamId) -> None:
    """Replace the rows of a stream by those that its events up to the checkpoint give, in one transaction.

    Raises
    ------
    HandlerFailedError
        A handler raised; nothing was changed.
    CannotReplayStreamError
        It has more rows than a transaction holds, or other streams may write them too.
    ContendedError
        Live events kept winning.
    """
    for _ in range(MAX_LOST_RACES):
        control = projector.control(fresh=True)
        projection = projector.code.of(control.fingerprint_of(control.active))
        if not projection.rows_per_stream:
            raise CannotReplayStreamError(
                "several streams may write a row that is read now; replay the whole projection"
            )
        state = read_model.load(control.active, [stream_id]).states[stream_id]
        total, checkpoint = Folded(-1), -1
        rows: dict[str, Row | None] = {}
        while checkpoint < state.checkpoint:
            events = store.read(stream_id, EventId(checkpoint + 1)).events
            prepared = prepare(projection, (each for each in events if each.event_id <= state.checkpoint))
            for key in keys_of(prepared, limit=len(prepared) * MAX_COMMIT_ROWS):
                rows.setdefault(key, None)
            folded = fold(projection, prepared, rows, checkpoint, skipped=state.skipped)
            if folded.failure is not None:
                raise folded.failure
            total.sizes.update(folded.sizes)
            too_large = len(rows) > MAX_COMMIT_ROWS or sum(total.sizes.values()) > MAX_COMMIT_BYTES
            if too_large or folded.checkpoint == checkpoint:
                raise CannotReplayStreamError(
                    f"the rows of stream {stream_id!r} are more than a transaction holds ({MAX_COMMIT_ROWS} rows, "
                    f"{MAX_COMMIT_BYTES:,} bytes); replay the whole projection"
                )
            rows.update(folded.changed)
            total.changed.update(folded.changed)
            checkpoint = folded.checkpoint
        stored = read_model.load(control.active, (), list(total.changed)).rows if total.changed else {}
        changes = row_changes(projection, total, stored)
        if plain(stored) == total.changed:
            return
        try:
            read_model.commit(Commit((transitions.unchanged(state),), changes, control.active))
        except OutdatedError:
            continue
        return
    raise ContendedError(f"stream {stream_id!r} is contended; try again")
