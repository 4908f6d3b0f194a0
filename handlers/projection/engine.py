"""The projector: catches a stream's rows up to its head (P1 to P5).

A message only says that there is work; the state determines which, and the event store fills gaps between messages.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from handlers.core.clock import Clock, rfc3339
from handlers.core.errors import ContendedError, HandlerFailedError
from handlers.core.events import StreamId
from handlers.core.messages import Hint
from handlers.projection import transitions
from handlers.projection.definition import Projection, Row
from handlers.projection.fold import Folded, Prepared, fold, keys_of
from handlers.projection.port import OutdatedError, ReadModel, Snapshot
from handlers.projection.rows import UnstorableError, check_row
from handlers.projection.state import StreamState
from handlers.store import EventStore

# The loser of a race re-reads. Losing more often in one call means that something else is wrong; the message is retried.
MAX_LOST_RACES = 20
# Streams, and rows of each, that stay warm between invocations.
MAX_WARM_STREAMS = 256
MAX_WARM_ROWS = 500
# One integer per replayed stream: 10,000 take a megabyte.
MAX_GENERATIONS = 10_000
# Only small rows stay warm, so that 256 streams of 500 rows take at most 128 MB.
MAX_WARM_ROW_BYTES = 1024


@dataclass(frozen=True, slots=True)
class CatchUp:
    """The result of catching up a stream.

    Attributes
    ----------
    applied
        Number of events by which this call advanced the checkpoint, handled by the projection or not.
    checkpoint
        The last applied event.
    halted
        True if the stream is halted at an event whose handler raised.
    finished
        False if time ran out before the target; the reconciler continues (P6).
    """

    applied: int
    checkpoint: int
    halted: bool = False
    finished: bool = True


class Projector:
    """Catches up streams of one projection.

    Parameters
    ----------
    pause
        Called before a retry with the number of races lost before.
    """

    def __init__(
        self,
        projection: Projection,
        store: EventStore,
        read_model: ReadModel,
        clock: Clock,
        *,
        pause: Callable[[int], None] = lambda lost: None,
    ) -> None:
        self._projection = projection
        self._store = store
        self._read_model = read_model
        self._clock = clock
        self._pause = pause
        self._fingerprint = projection.fingerprint()
        self._warm: OrderedDict[StreamId, Snapshot] = OrderedDict()
        self._generations: dict[StreamId, int] = {}

    def catch_up(
        self,
        stream_id: StreamId,
        hints: Iterable[Hint],
        *,
        retry_halted: bool = False,
        has_time: Callable[[], bool] = lambda: True,
    ) -> CatchUp:
        """Apply at least all events up to the highest one in the hints.

        Parameters
        ----------
        retry_halted
            Retry the event at which the stream is halted: the code may have been fixed since.
        has_time
            Checked after each commit; stops if False.

        Raises
        ------
        HandlerFailedError
            A handler raised. All events before are applied, and the halt is recorded.
        ContendedError
            Other writers kept winning.
        """
        hints = list(hints)
        offered: dict[int, Prepared] = {
            hint.event_id: Prepared(self._projection, hint.event) for hint in hints if hint.event is not None
        }
        target = max((hint.event_id for hint in hints), default=-1)
        if any(hint.fresh for hint in hints):
            snapshot: Snapshot | None = self._refreshed(stream_id, self._warm.pop(stream_id, None))
        else:
            snapshot = self._warm.get(stream_id)
        applied = 0
        events: Sequence[Prepared] = ()
        for lost in range(MAX_LOST_RACES):
            try:
                while True:
                    snapshot = snapshot or self._look(stream_id, offered.values())
                    state = snapshot.state
                    if state.is_halted and not retry_halted:
                        return CatchUp(applied, state.checkpoint, halted=True)
                    if state.checkpoint >= target:
                        return CatchUp(applied, state.checkpoint)
                    events = _from(events, state.checkpoint + 1) or self._following(state, target, offered)
                    if not events:  # a hint beyond the head
                        return CatchUp(applied, state.checkpoint)
                    after = self._apply(snapshot, events)
                    applied += after.state.checkpoint - state.checkpoint
                    snapshot = after
                    self._keep(snapshot)
                    if not has_time():
                        checkpoint = snapshot.state.checkpoint
                        return CatchUp(applied, checkpoint, finished=checkpoint >= target)
            except OutdatedError:
                self._warm.pop(stream_id, None)
                snapshot = None
                self._pause(lost)
        raise ContendedError(f"projection {self._projection.name}: stream {stream_id!r} is contended")

    def _refreshed(self, stream_id: StreamId, warm: Snapshot | None) -> Snapshot:
        """Re-read the state; warm rows stay valid if nobody else has written."""
        state = self._read_model.load(stream_id).state
        if warm and transitions.same_live_rows(warm.state, state):
            return replace(warm, state=state)
        return Snapshot(state, {}, state.active_generation)

    def _look(self, stream_id: StreamId, offered: Iterable[Prepared]) -> Snapshot:
        """Read the state, and in the same call the rows of the offered events (P4).

        Only the state has their generation: the last known one, or 0, is right until the next replay, and a wrong guess
        costs one more call.
        """
        generation = self._generations.get(stream_id, 0)
        snapshot = self._read_model.load(stream_id, keys_of(offered), generation)
        if snapshot.state.active_generation != generation:
            if len(self._generations) >= MAX_GENERATIONS:
                self._generations.clear()
            self._generations[stream_id] = snapshot.state.active_generation
        return snapshot

    def _following(self, state: StreamState, target: int, offered: Mapping[int, Prepared]) -> Sequence[Prepared]:
        """Return the events after the checkpoint without gaps, as offered or from the store (P1)."""
        wanted = range(state.checkpoint + 1, target + 1)
        if all(event_id in offered for event_id in wanted):
            return [offered[event_id] for event_id in wanted]
        page = self._store.read(state.stream_id, state.checkpoint + 1)
        return [offered.get(event.event_id) or Prepared(self._projection, event) for event in page.events]

    def _apply(self, snapshot: Snapshot, events: Sequence[Prepared]) -> Snapshot:
        """Fold events and commit the rows in one transaction (P2, P3)."""
        state = snapshot.state
        keys = keys_of(events)
        known = snapshot.rows if snapshot.generation == state.active_generation else {}
        if any(key not in known for key in keys):
            loaded = self._read_model.load(state.stream_id, keys, state.active_generation)
            if not transitions.same_live_rows(loaded.state, state):
                raise OutdatedError("the state has moved on")
            known = {**known, **loaded.rows}
        rows: dict[str, Row | None] = {key: known[key] for key in keys}
        folded = fold(self._projection, events, rows, state.checkpoint, skipped=state.skipped)
        if folded.checkpoint > state.checkpoint:
            change = transitions.advance(state, folded.checkpoint, self._fingerprint)
            self._read_model.commit(change, _changes(folded, rows), state.active_generation)
            state = change.after
        if folded.failure:
            self._halt(state, folded.failure)
        return Snapshot(state, _warm_rows(known, folded), state.active_generation)

    def _halt(self, state: StreamState, failure: HandlerFailedError) -> None:
        self._warm.pop(state.stream_id, None)
        at = rfc3339(self._clock.now())
        try:
            self._read_model.commit(transitions.halt(state, failure.event_id, failure.error, at))
        except OutdatedError:
            # boto3 retries a call whose response was lost: the record may be our own.
            recorded = self._read_model.load(state.stream_id).state.halted
            if recorded is None or (recorded.event_id, recorded.at) != (failure.event_id, at):
                raise
        raise failure

    def _keep(self, snapshot: Snapshot) -> None:
        self._warm[snapshot.state.stream_id] = snapshot
        self._warm.move_to_end(snapshot.state.stream_id)
        if len(self._warm) > MAX_WARM_STREAMS:
            self._warm.popitem(last=False)


def _from(events: Sequence[Prepared], first: int) -> Sequence[Prepared]:
    """Return a page's events from ``first`` on: a page that takes several commits is read once."""
    if not events or not events[0].event.event_id <= first <= events[-1].event.event_id:
        return ()
    return events[first - events[0].event.event_id :]


def _changes(folded: Folded, before: Mapping[str, Row | None]) -> dict[str, Row | None]:
    """Return the rows that differ, compared by their repr because ``True == 1``."""
    return {key: row for key, row in folded.changed.items() if repr(row) != repr(before[key])}


def _is_small(row: Row | None) -> bool:
    try:
        return row is None or check_row(row) <= MAX_WARM_ROW_BYTES
    except UnstorableError:  # written by other code: a type that no handler may return
        return False


def _warm_rows(known: Mapping[str, Row | None], folded: Folded) -> dict[str, Row | None]:
    """Return the rows to keep warm, most recently changed last; rows of an older checkpoint stay valid."""
    rows = {key: row for key, row in known.items() if key not in folded.changed and _is_small(row)}
    rows |= {key: row for key, row in folded.changed.items() if folded.sizes[key] <= MAX_WARM_ROW_BYTES}
    return dict(list(rows.items())[-MAX_WARM_ROWS:])
