"""Reading rows of the active generation, whatever replays and switches happen meanwhile (G9, L1)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from handlers.core.clock import Backoff, attempts
from handlers.core.errors import ConflictError, ContendedError, EsError, GoneError
from handlers.core.events import NO_EVENTS, StreamId
from handlers.projection.port import ReadModel, Row, RowPage, RowQuery, read_control
from handlers.projection.state import Control, StreamState

# A commit takes milliseconds; only a stream with continuous writes needs more than two tries.
MAX_TRIES = 5

# An event is usually projected within half a second, and API Gateway waits 29 seconds.
POLLING = Backoff(deadline_s=10, base_s=0.05, cap_s=0.4)

T = TypeVar("T")

QueryOf = Callable[[str | None], RowQuery]
"""Return the query, given the fingerprint of the code that folds the generation to read: it determines keys and indexes."""


class NotAppliedError(ConflictError):
    """The event that a reader asked for is not applied yet, or its stream is halted before it."""

    type = "not-applied"
    title = "Not applied yet"

    def __init__(self, event_id: int, state: StreamState) -> None:
        more: dict[str, Any] = {}
        reason = f"the checkpoint is {state.checkpoint}; repeat the request to wait longer"
        if state.halted is not None and state.is_halted:
            halted = state.halted
            more["halted"] = {"eventId": halted.event_id, "error": halted.error, "at": halted.at}
            reason = f"the stream is halted at event {halted.event_id}: {halted.error}"
        super().__init__(
            f"event {event_id} of stream {state.stream_id!r} is not applied: {reason}",
            streamId=state.stream_id,
            checkpoint=state.checkpoint,
            **more,
        )


@dataclass(frozen=True, slots=True)
class ListPage:
    """A page of rows.

    Attributes
    ----------
    rows
        With their encoded keys, in the requested order.
    generation
        The generation of the rows; request the next page in the same one.
    fingerprint
        Of the code that folds the generation.
    position
        The position to continue after; None at the end.
    checkpoint
        The last event that the rows reflect, if they are those of one stream.
    settled
        True if the rows are exactly the state at ``checkpoint``; False if events were applied during the read.
    """

    rows: tuple[tuple[str, Row], ...]
    generation: int
    fingerprint: str | None
    position: str | None
    checkpoint: int = NO_EVENTS
    settled: bool = True


class RowReader:
    """Reads the rows of one projection.

    What is read in a generation counts only if the control item did not change in between: so the generation was active
    from before the read until after it, and nothing of it was swept. The control item that the previous read ended with
    is the first one to compare, so a read costs one call more than its rows, and one more again if the item has changed.
    """

    def __init__(self, read_model: ReadModel) -> None:
        self._read_model = read_model
        self._known: Control | None = None

    def rows(self, query_of: QueryOf, generation: int | None = None) -> ListPage:
        """Read a page of rows of the active generation, or of the generation of an earlier page.

        Raises
        ------
        GoneError
            The generation of the earlier page was abandoned: restart the list.
        """

        def read(control: Control) -> ListPage:
            chosen, fingerprint = _chosen(control, generation)
            page = self._read_model.rows(chosen, query_of(fingerprint))
            return ListPage(page.rows, chosen, fingerprint, page.position)

        return self.unchanged(read)

    def stream_rows(self, stream_id: StreamId, query_of: QueryOf, generation: int | None = None) -> ListPage:
        """Read a page of rows, all of one stream, as of exactly one checkpoint (L1).

        A query is not isolated from transactions, so this reads the state, the rows, and the state again: if the state
        has not changed, the rows match it. Otherwise it retries a few times, then returns an unsettled page rather than
        fail.

        Raises
        ------
        GoneError
            As for `rows`.
        """

        def read(control: Control) -> ListPage:
            chosen, fingerprint = _chosen(control, generation)
            query = query_of(fingerprint)
            page, state, settled = self._settled(chosen, query, stream_id)
            return ListPage(page.rows, chosen, fingerprint, page.position, state.checkpoint, settled)

        return self.unchanged(read)

    def row(self, key_of: Callable[[str | None], str]) -> ListPage:
        """Read one row by its encoded key: a page of it, or an empty one."""

        def read(control: Control) -> ListPage:
            chosen, fingerprint = _chosen(control, None)
            key = key_of(fingerprint)
            found = self._read_model.load(chosen, (), [key]).rows[key]
            return ListPage(() if found is None else ((key, found.row),), chosen, fingerprint, None)

        return self.unchanged(read)

    def state(self, stream_id: StreamId) -> StreamState:
        """Read the state of a stream in the active generation."""
        return self.unchanged(lambda control: self._state(control.active, stream_id))

    def wait_for(self, stream_id: StreamId, event_id: int, polls: Iterable[object] | None = None) -> None:
        """Wait until an event is applied: whatever is read then reflects it, in later generations too (G4).

        Parameters
        ----------
        polls
            One element per attempt, with the waits in between.

        Raises
        ------
        NotAppliedError
            The polls are over, or the stream is halted before or at the event.
        """
        for _ in polling() if polls is None else polls:
            state = self.state(stream_id)
            if state.checkpoint >= event_id:
                return
            if state.is_halted:
                break
        raise NotAppliedError(event_id, state)

    def unchanged(self, read: Callable[[Control], T]) -> T:
        """Return what ``read`` returns, or raise what it raises, if the control item is the same before and after."""
        control = self._known or self.control()
        for _ in range(MAX_TRIES):
            result: T | None = None
            error: EsError | None = None
            try:
                result = read(control)
            except EsError as raised:  # for example an index that the generation does not have, and a newer one does
                error = raised
            before, control = control, self.control()
            if control.version != before.version or control.active != before.active:
                continue
            if error is not None:
                raise error
            return result  # type: ignore[return-value]
        raise ContendedError("the generations of the projection changed repeatedly; try again")

    def control(self) -> Control:
        """Read the control item."""
        self._known = read_control(self._read_model)
        return self._known

    def _settled(self, generation: int, query: RowQuery, stream_id: StreamId) -> tuple[RowPage, StreamState, bool]:
        """Read rows, the state to which they belong, and whether they are exactly those of its checkpoint."""
        state = self._state(generation, stream_id)
        for _ in range(MAX_TRIES):
            before = state
            page = self._read_model.rows(generation, query)
            state = self._state(generation, stream_id)
            if (state.checkpoint, state.rewinds) == (before.checkpoint, before.rewinds):
                return page, before, before.is_settled
        return page, before, False

    def _state(self, generation: int, stream_id: StreamId) -> StreamState:
        return self._read_model.load(generation, [stream_id]).states[stream_id]


def polling(
    monotonic: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
) -> Iterator[int]:
    """Yield the polls of `RowReader.wait_for`, for 10 seconds, with jittered waits in between."""
    return attempts(POLLING, monotonic=monotonic, sleep=sleep)


def _chosen(control: Control, generation: int | None) -> tuple[int, str | None]:
    """Return the generation to read, the active one or that of an earlier page, and the fingerprint of its code."""
    chosen = control.active if generation is None else generation
    if not control.is_alive(chosen):
        raise GoneError("the page token is for rows that have been replaced since; restart the list")
    return chosen, control.fingerprint_of(chosen)
