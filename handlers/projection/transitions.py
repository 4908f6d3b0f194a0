"""Every change that a state item may go through, as a compare-and-set: what must still be so, and what it leads to.

The protocol of P2, P5 and R1 to R4 is in this one file. Both adapters only carry the changes out, and callers go on from
the state that a change leads to; the simulation (`tests/simulation`) breaks conditions one by one and watches the read
model go wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from handlers.core.events import NO_EVENTS, StreamId
from handlers.projection.state import (
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
        Path (``replay.checkpoint``) to the value that must be there; None: nothing may be there.
    put
        Attribute to its new value.
    remove
        Attributes to remove, whether or not they are there.
    after
        The state that the change leads to, seen from the state it was made for. What the change neither expects nor sets
        is as that state had it.
    """

    expect: Mapping[str, Any]
    put: Mapping[str, Any]
    remove: tuple[str, ...]
    after: StreamState

    @property
    def stream_id(self) -> StreamId:
        return self.after.stream_id


def _change(state: StreamState, expect: Mapping[str, Any], **fields: Any) -> StateChange:
    """Set fields of a state, each whether or not it has that value already: the state may be a stale copy."""
    after = replace(state, **fields)
    document = after.to_document()
    names = [attribute(name) for name in fields]
    put = {name: document[name] for name in names if name in document}
    return StateChange(expect, put, tuple(name for name in names if name not in document), after)


def _as_read(state: StreamState, *paths: str) -> dict[str, Any]:
    document = state.to_document()
    return {path: value_at(document, path) for path in paths}


def _live(state: StreamState) -> dict[str, Any]:
    """What identifies the live rows that were read (P2)."""
    return _as_read(state, "checkpoint", "activeGeneration", "rewinds")


def same_live_rows(one: StreamState, other: StreamState) -> bool:
    """Tell whether live rows read with one state are those of the other."""
    return _live(one) == _live(other)


def _replaying(state: StreamState) -> dict[str, Any]:
    """What identifies the rows of the replay that were read."""
    return _as_read(state, "replay.replayId", "replay.generation", "replay.checkpoint", "replay.chunk")


def _running(state: StreamState) -> Replay:
    if state.replay is None:
        raise ValueError(f"no replay of stream {state.stream_id!r} is running")
    return state.replay


# -- live ----------------------------------------------------------------------------------------------------------------


def advance(state: StreamState, to: int, fingerprint: str | None) -> StateChange:
    """The live rows now hold the events up to ``to``."""
    # Any halt has been overtaken, including one that a warm copy does not know of.
    fields: dict[str, Any] = {"checkpoint": to, "halted": None}
    if state.fingerprint is None and fingerprint is not None:
        fields["fingerprint"] = fingerprint
    if state.rewound_from is not None and to >= state.rewound_from:
        fields["rewound_from"] = None
    return _change(state, _live(state), **fields)


def halt(state: StreamState, event_id: int, error: str, at: str) -> StateChange:
    """The handler of the next event raised: the stream stops before it (P5).

    Expects the halt that was read, or none: a stale caller re-reads and keeps the message.
    """
    known = "halted" if state.halted is None else "halted.eventId"
    expect = {**_live(state), **_as_read(state, known)}
    return _change(state, expect, halted=Halted(event_id, error, at))


def resume(state: StreamState) -> StateChange:
    """Remove the halt, so that the next message tries the event again."""
    return _change(state, _live(state), halted=None)


def skip(state: StreamState, at: str) -> StateChange:
    """Step over the halted event, and leave a record of it."""
    if state.halted is None or not state.is_halted:
        raise ValueError(f"stream {state.stream_id!r} is not halted")
    event_id = state.halted.event_id
    skipped = {**state.skipped, str(event_id): {"error": state.halted.error, "at": at}}
    expect = {**_live(state), **_as_read(state, "halted.eventId")}
    return _change(state, expect, checkpoint=event_id, skipped=skipped, halted=None)


def rewind(state: StreamState, to: int) -> StateChange:
    """Set the live checkpoint back, to catch up in place (R3)."""
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
    """Start building the next generation from event 0; the generation before the active one is given up (step 1, 5)."""
    generation = state.next_generation
    fields: dict[str, Any] = {
        "replay": Replay(replay_id, generation, NO_EVENTS, "replay", at, fingerprint),
        "next_generation": generation + 1,
        "previous": None,
    }
    if state.previous:
        fields["sweep"] = _with(state.sweep, state.previous.generation)
    return _change(state, _idle(state), **fields)


def begin_rollback(state: StreamState, replay_id: str, at: str) -> StateChange:
    """Go back to the previous generation, and on from the checkpoint it had (step 4)."""
    kept = _kept(state)
    replay = Replay(replay_id, kept.generation, kept.checkpoint, "rollback", at, kept.fingerprint)
    return _change(state, _idle(state), replay=replay, previous=None)


def _kept(state: StreamState) -> Previous:
    if state.previous is None:
        raise ValueError(f"stream {state.stream_id!r} has no previous generation")
    return state.previous


def _idle(state: StreamState) -> dict[str, Any]:
    previous = ("previous",) if state.previous is None else ("previous.generation", "previous.checkpoint")
    return {**_as_read(state, "nextGeneration", "sweep", *previous), "replay": None}


def restart_replay(state: StreamState, fingerprint: str, at: str) -> StateChange:
    """The projection's code changed in the middle: give up what is built so far, and begin another generation."""
    replay, generation = _running(state), state.next_generation
    return _change(
        state,
        {**_replaying(state), **_as_read(state, "nextGeneration", "sweep")},
        replay=Replay(replay.replay_id, generation, NO_EVENTS, "replay", at, fingerprint),
        next_generation=generation + 1,
        sweep=_with(state.sweep, replay.generation),
    )


def advance_replay(state: StreamState, to: int, at: str) -> StateChange:
    """The replay's rows now hold the events up to ``to``."""
    return _change(state, _replaying(state), replay=replace(_running(state), checkpoint=to, chunk=None, at=at))


def advance_chunk(state: StreamState, chunk: Chunk, at: str) -> StateChange:
    """Some more rows of the chunk are written; the replay's checkpoint moves when all are."""
    return _change(state, _replaying(state), replay=replace(_running(state), chunk=chunk, at=at))


def switch(state: StreamState, at: str) -> StateChange:
    """Make the replay's generation the active one (step 3).

    The one before is kept for a rollback, except during a rewind's catch-up: its rows are then ahead of its checkpoint,
    so it is no state to go back to.

    Raises
    ------
    ValueError
        The replay is behind the live checkpoint, or in the middle of a chunk: readers would go back in time.
    """
    replay = _running(state)
    if replay.checkpoint < state.checkpoint or replay.chunk is not None:
        raise ValueError("a replay may switch only at or past the live checkpoint, with its rows complete")
    expect = {**_replaying(state), **_live(state)}
    fields: dict[str, Any] = {
        "active_generation": replay.generation,
        "checkpoint": replay.checkpoint,
        "fingerprint": replay.fingerprint,
        "last_replay": LastReplay(replay.replay_id, "done", replay.checkpoint, at),
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
    """A handler raised (R4): the old generation stays active; what was built is swept, or kept if it was a rollback's."""
    replay = _running(state)
    fields: dict[str, Any] = {
        "last_replay": LastReplay(replay.replay_id, "failed", replay.checkpoint, at, event_id, error),
        "replay": None,
    }
    if replay.kind == "rollback" and replay.chunk is None:
        fields["previous"] = Previous(replay.generation, replay.checkpoint, at, replay.fingerprint)
    else:
        fields["sweep"] = _with(state.sweep, replay.generation)
    return _change(state, {**_replaying(state), **_as_read(state, "sweep")}, **fields)


def retire_previous(state: StreamState) -> StateChange:
    """The previous generation has been kept for long enough (step 5)."""
    generation = _kept(state).generation
    expect = _as_read(state, "previous.generation", "sweep")
    return _change(state, expect, sweep=_with(state.sweep, generation), previous=None)


def swept(state: StreamState, generation: int) -> StateChange:
    """The rows of a generation are deleted."""
    left = tuple(each for each in state.sweep if each != generation)
    return _change(state, _as_read(state, "sweep"), sweep=left)


def _with(sweep: tuple[int, ...], generation: int) -> tuple[int, ...]:
    return (*(each for each in sweep if each != generation), generation)
