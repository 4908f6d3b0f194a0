"""All changes of a state item, as compare-and-set: the expected values and the resulting state.

The protocol of P2, P5 and R1 to R4 is in this file. Adapters only execute the changes, and callers continue with the
resulting state. The simulation (`tests/simulation`) breaks conditions one at a time to prove that each is needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from handlers.core.events import NO_EVENTS, StreamId
from handlers.projection.state import (
    DONE,
    FAILED,
    REPLAY,
    ROLLBACK,
    Chunk,
    Halted,
    LastReplay,
    Previous,
    Replay,
    StreamState,
    attribute,
    value_at,
)


@dataclass(frozen=True, slots=True)
class StateChange:
    """A conditional change of one state item.

    Attributes
    ----------
    expect
        Path (``replay.checkpoint``) to its required value; None: it must be absent.
    put
        Attribute to its new value.
    remove
        Attributes to remove if they exist.
    after
        The resulting state. Values that the change neither expects nor sets are those of the state it was made for.
    """

    expect: Mapping[str, Any]
    put: Mapping[str, Any]
    remove: tuple[str, ...]
    after: StreamState

    @property
    def stream_id(self) -> StreamId:
        return self.after.stream_id


def _change(state: StreamState, expect: Mapping[str, Any], **fields: Any) -> StateChange:
    """Set fields of a state, including unchanged ones: the state may be stale."""
    after = replace(state, **fields)
    document = after.to_document()
    names = [attribute(name) for name in fields]
    put = {name: document[name] for name in names if name in document}
    return StateChange(expect, put, tuple(name for name in names if name not in document), after)


def _as_read(state: StreamState, *paths: str) -> dict[str, Any]:
    document = state.to_document()
    return {path: value_at(document, path) for path in paths}


def _live(state: StreamState) -> dict[str, Any]:
    """Return what identifies the live rows that were read (P2)."""
    return _as_read(state, "checkpoint", "activeGeneration", "rewinds")


def same_live_rows(one: StreamState, other: StreamState) -> bool:
    """Tell whether live rows read with one state are valid for the other."""
    return _live(one) == _live(other)


def _replaying(state: StreamState) -> dict[str, Any]:
    """Return what identifies the rows of the replay that were read."""
    return _as_read(state, "replay.replayId", "replay.generation", "replay.checkpoint", "replay.chunk")


def _running(state: StreamState) -> Replay:
    if state.replay is None:
        raise ValueError(f"no replay of stream {state.stream_id!r} is running")
    return state.replay


# -- live ----------------------------------------------------------------------------------------------------------------


def advance(state: StreamState, to: int, fingerprint: str | None) -> StateChange:
    """Record that the live rows reflect the events up to ``to``."""
    # This makes any halt obsolete, including one that a warm copy does not have.
    fields: dict[str, Any] = {"checkpoint": to, "halted": None}
    if state.fingerprint is None and fingerprint is not None:
        fields["fingerprint"] = fingerprint
    if state.rewound_from is not None and to >= state.rewound_from:
        fields["rewound_from"] = None
    return _change(state, _live(state), **fields)


def halt(state: StreamState, event_id: int, error: str, at: str) -> StateChange:
    """Halt the stream at the next event, whose handler raised (P5).

    Expects the halt that was read, or none: a stale caller re-reads and keeps the message.
    """
    known = "halted" if state.halted is None else "halted.eventId"
    expect = {**_live(state), **_as_read(state, known)}
    return _change(state, expect, halted=Halted(event_id, error, at))


def resume(state: StreamState) -> StateChange:
    """Remove the halt, so that the next message retries the event."""
    return _change(state, _live(state), halted=None)


def skip(state: StreamState, at: str) -> StateChange:
    """Skip the event at which the stream is halted, and record it."""
    if state.halted is None or not state.is_halted:
        raise ValueError(f"stream {state.stream_id!r} is not halted")
    event_id = state.halted.event_id
    skipped = {**state.skipped, str(event_id): {"error": state.halted.error, "at": at}}
    expect = {**_live(state), **_as_read(state, "halted.eventId")}
    return _change(state, expect, checkpoint=event_id, skipped=skipped, halted=None)


def rewind(state: StreamState, to: int) -> StateChange:
    """Reset the live checkpoint, to catch up in place (R3)."""
    return _change(
        state,
        {**_live(state), "replay": None},
        checkpoint=to,
        rewinds=state.rewinds + 1,
        rewound_from=max(state.checkpoint, state.rewound_from or state.checkpoint),
        halted=None,
    )


# -- replay --------------------------------------------------------------------------------------------------------------


def begin_replay(state: StreamState, replay_id: str, fingerprint: str, at: str) -> StateChange:
    """Start building the next generation from event 0, and abandon the previous one (steps 1 and 5)."""
    generation = state.next_generation
    fields: dict[str, Any] = {
        "replay": Replay(replay_id, generation, NO_EVENTS, REPLAY, at, fingerprint),
        "next_generation": generation + 1,
        "previous": None,
    }
    if state.previous:
        fields["sweep"] = _with(state.sweep, state.previous.generation)
    return _change(state, _idle(state), **fields)


def begin_rollback(state: StreamState, replay_id: str, at: str) -> StateChange:
    """Return to the previous generation and continue from its checkpoint (step 4)."""
    kept = _kept(state)
    replay = Replay(replay_id, kept.generation, kept.checkpoint, ROLLBACK, at, kept.fingerprint)
    return _change(state, _idle(state), replay=replay, previous=None)


def _kept(state: StreamState) -> Previous:
    if state.previous is None:
        raise ValueError(f"stream {state.stream_id!r} has no previous generation")
    return state.previous


def _idle(state: StreamState) -> dict[str, Any]:
    previous = ("previous",) if state.previous is None else ("previous.generation", "previous.checkpoint")
    return {**_as_read(state, "nextGeneration", "sweep", *previous), "replay": None}


def restart_replay(state: StreamState, fingerprint: str, at: str) -> StateChange:
    """Abandon what is built so far and start another generation, because the projection's code changed."""
    replay, generation = _running(state), state.next_generation
    return _change(
        state,
        {**_replaying(state), **_as_read(state, "nextGeneration", "sweep")},
        replay=Replay(replay.replay_id, generation, NO_EVENTS, REPLAY, at, fingerprint),
        next_generation=generation + 1,
        sweep=_with(state.sweep, replay.generation),
    )


def advance_replay(state: StreamState, to: int, at: str) -> StateChange:
    """Record that the replay's rows reflect the events up to ``to``."""
    return _change(state, _replaying(state), replay=replace(_running(state), checkpoint=to, chunk=None, at=at))


def advance_chunk(state: StreamState, chunk: Chunk, at: str) -> StateChange:
    """Record that more rows of the page are written; the replay's checkpoint moves when all are."""
    return _change(state, _replaying(state), replay=replace(_running(state), chunk=chunk, at=at))


def switch(state: StreamState, at: str) -> StateChange:
    """Make the replay's generation the active one (step 3).

    The previously active one is kept for a rollback, except during a rewind's catch-up, when its rows are ahead of its
    checkpoint.

    Raises
    ------
    ValueError
        The replay is behind the live checkpoint or within a page: readers would go back in time.
    """
    replay = _running(state)
    if replay.checkpoint < state.checkpoint or replay.chunk is not None:
        raise ValueError("a replay may switch only at or past the live checkpoint, with its rows complete")
    expect = {**_replaying(state), **_live(state)}
    fields: dict[str, Any] = {
        "active_generation": replay.generation,
        "checkpoint": replay.checkpoint,
        "fingerprint": replay.fingerprint,
        "last_replay": LastReplay(replay.replay_id, DONE, replay.checkpoint, at),
        "replay": None,
        "halted": None,
        "rewound_from": None,
    }
    if state.is_settled:
        fields["previous"] = Previous(state.active_generation, state.checkpoint, at, state.fingerprint)
    else:
        fields["sweep"] = _with(state.sweep, state.active_generation)
        expect |= _as_read(state, "sweep")
    return _change(state, expect, **fields)


def give_up_replay(state: StreamState, event_id: int | None, error: str, at: str) -> StateChange:
    """End a replay whose handler raised (R4): its generation is swept, or kept if it was a rollback."""
    replay = _running(state)
    fields: dict[str, Any] = {
        "last_replay": LastReplay(replay.replay_id, FAILED, replay.checkpoint, at, event_id, error),
        "replay": None,
    }
    if replay.kind == ROLLBACK and replay.chunk is None:
        fields["previous"] = Previous(replay.generation, replay.checkpoint, at, replay.fingerprint)
    else:
        fields["sweep"] = _with(state.sweep, replay.generation)
    return _change(state, {**_replaying(state), **_as_read(state, "sweep")}, **fields)


def retire_previous(state: StreamState) -> StateChange:
    """Abandon the previous generation after its retention time (step 5)."""
    generation = _kept(state).generation
    expect = _as_read(state, "previous.generation", "sweep")
    return _change(state, expect, sweep=_with(state.sweep, generation), previous=None)


def swept(state: StreamState, generation: int) -> StateChange:
    """Record that the rows of a generation are deleted."""
    left = tuple(each for each in state.sweep if each != generation)
    return _change(state, _as_read(state, "sweep"), sweep=left)


def _with(sweep: tuple[int, ...], generation: int) -> tuple[int, ...]:
    return (*(each for each in sweep if each != generation), generation)
