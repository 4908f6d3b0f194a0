"""Every change that a state item may go through, as a compare-and-set: what must still be so, and what then becomes so.

The protocol of P2, P5 and R1 to R4 stands in this one file. Both adapters only carry the changes out; the simulation
(`tests/simulation`) breaks conditions one by one and watches the read model go wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from handlers.events import StreamId
from handlers.projection.state import Chunk, Document, StreamState, chunk_document, without_nones


@dataclass(frozen=True, slots=True)
class StateChange:
    """A conditional change of one state item.

    Attributes
    ----------
    expect
        Path (``replay.checkpoint``) to the value that must stand there; None: nothing may stand there.
    put
        Path to the new value.
    remove
        Paths to take away; no fault where nothing stands.
    """

    stream_id: StreamId
    expect: Mapping[str, Any]
    put: Mapping[str, Any] = field(default_factory=dict)
    remove: tuple[str, ...] = ()


def _live(state: StreamState) -> dict[str, Any]:
    """What identifies the live rows that were read (P2)."""
    return {
        "checkpoint": state.checkpoint,
        "activeGeneration": state.active_generation,
        "rewinds": state.rewinds,
    }


def _replaying(state: StreamState) -> dict[str, Any]:
    """What identifies the rows of the replay that were read."""
    replay = _running(state)
    return {
        "replay.replayId": replay.replay_id,
        "replay.generation": replay.generation,
        "replay.checkpoint": replay.checkpoint,
        "replay.chunk": chunk_document(replay.chunk),
    }


def _running(state: StreamState) -> Any:
    if state.replay is None:
        raise ValueError(f"no replay of stream {state.stream_id!r} is running")
    return state.replay


# -- live ----------------------------------------------------------------------------------------------------------------


def advance(state: StreamState, to: int, fingerprint: str | None) -> StateChange:
    """The live rows now hold the events up to ``to``."""
    put: dict[str, Any] = {"checkpoint": to}
    if state.fingerprint is None and fingerprint is not None:
        put["fingerprint"] = fingerprint
    remove = ["halted"]  # also one that a warm copy does not know of: it has been overtaken
    if state.rewound_from is not None and to >= state.rewound_from:
        remove.append("rewoundFrom")
    return StateChange(state.stream_id, _live(state), put, tuple(remove))


def halt(state: StreamState, event_id: int, error: str, at: str) -> StateChange:
    """The handler of the next event raised: the stream stands before it (P5).

    Expects the record of a halt that was read, or none: who did not know of it looks again and leaves the message be.
    """
    known = {"halted": None} if state.halted is None else {"halted.eventId": state.halted.event_id}
    return StateChange(
        state.stream_id, {**_live(state), **known}, {"halted": {"eventId": event_id, "error": error, "at": at}}
    )


def resume(state: StreamState) -> StateChange:
    """Take the halt away, so that the next message tries the event again."""
    return StateChange(state.stream_id, _live(state), remove=("halted",))


def skip(state: StreamState, at: str) -> StateChange:
    """Step over the halted event, and leave a record of it."""
    if state.halted is None or not state.is_halted:
        raise ValueError(f"stream {state.stream_id!r} is not halted")
    event_id = state.halted.event_id
    record = {"error": state.halted.error, "at": at}
    return StateChange(
        state.stream_id,
        {**_live(state), "halted.eventId": event_id},
        {"checkpoint": event_id, "skipped": {**state.skipped, str(event_id): record}},
        ("halted",),
    )


def rewind(state: StreamState, to: int) -> StateChange:
    """Set the live checkpoint back, to catch up in place (R3)."""
    came_from = max(state.checkpoint, state.rewound_from or state.checkpoint)
    return StateChange(
        state.stream_id,
        {**_live(state), "replay": None},
        {"checkpoint": to, "rewinds": state.rewinds + 1, "rewoundFrom": came_from},
        ("halted",),
    )


# -- replay --------------------------------------------------------------------------------------------------------------


def begin_replay(state: StreamState, replay_id: str, fingerprint: str, at: str) -> StateChange:
    """Start building the next generation from event 0; the generation before the active one is given up (step 1, 5)."""
    replay = {
        "replayId": replay_id,
        "generation": state.next_generation,
        "checkpoint": -1,
        "kind": "replay",
        "at": at,
        "fingerprint": fingerprint,
    }
    put: dict[str, Any] = {"replay": replay, "nextGeneration": state.next_generation + 1}
    if state.previous:
        put["sweep"] = _with(state.sweep, state.previous.generation)
    return StateChange(state.stream_id, _idle(state), put, ("previous",))


def begin_rollback(state: StreamState, replay_id: str, at: str) -> StateChange:
    """Take the previous generation up again where it stood (step 4)."""
    if state.previous is None:
        raise ValueError(f"stream {state.stream_id!r} has no previous generation")
    replay = {
        "replayId": replay_id,
        "generation": state.previous.generation,
        "checkpoint": state.previous.checkpoint,
        "kind": "rollback",
        "at": at,
        "fingerprint": state.previous.fingerprint,
    }
    return StateChange(state.stream_id, _idle(state), {"replay": without_nones(replay)}, ("previous",))


def _idle(state: StreamState) -> dict[str, Any]:
    expect: dict[str, Any] = {"replay": None, "nextGeneration": state.next_generation, **_sweeping(state)}
    if state.previous is None:
        expect["previous"] = None
    else:
        expect["previous.generation"] = state.previous.generation
        expect["previous.checkpoint"] = state.previous.checkpoint
    return expect


def restart_replay(state: StreamState, fingerprint: str, at: str) -> StateChange:
    """The projection's code changed in the middle: what is built so far is worth nothing; begin another generation."""
    replay = _running(state)
    put = {
        "replay.generation": state.next_generation,
        "replay.checkpoint": -1,
        "replay.fingerprint": fingerprint,
        "replay.kind": "replay",
        "replay.at": at,
        "nextGeneration": state.next_generation + 1,
        "sweep": _with(state.sweep, replay.generation),
    }
    expect = {**_replaying(state), "nextGeneration": state.next_generation, **_sweeping(state)}
    return StateChange(state.stream_id, expect, put, ("replay.chunk",))


def advance_replay(state: StreamState, to: int, at: str) -> StateChange:
    """The replay's rows now hold the events up to ``to``."""
    return StateChange(
        state.stream_id, _replaying(state), {"replay.checkpoint": to, "replay.at": at}, ("replay.chunk",)
    )


def advance_chunk(state: StreamState, chunk: Chunk, at: str) -> StateChange:
    """Some more rows of the chunk are written; the replay's checkpoint moves when all are."""
    return StateChange(state.stream_id, _replaying(state), {"replay.chunk": chunk_document(chunk), "replay.at": at})


def switch(state: StreamState, at: str) -> StateChange:
    """Make the replay's generation the active one (step 3).

    The one before is kept for a rollback, but not in the middle of a rewind's catch-up: its rows are ahead of its
    checkpoint then, which is no state to go back to.

    Raises
    ------
    ValueError
        The replay is behind the live checkpoint, or in the middle of a chunk: readers would go back in time.
    """
    replay = _running(state)
    if replay.checkpoint < state.checkpoint or replay.chunk is not None:
        raise ValueError("a replay may switch only at or past the live checkpoint, with its rows complete")
    put: dict[str, Any] = {
        "activeGeneration": replay.generation,
        "checkpoint": replay.checkpoint,
        "lastReplay": {
            "replayId": replay.replay_id,
            "state": "done",
            "checkpoint": replay.checkpoint,
            "at": at,
        },
    }
    expect = {**_replaying(state), **_live(state)}
    if state.is_settled:
        previous: Document = {
            "generation": state.active_generation,
            "checkpoint": state.checkpoint,
            "at": at,
            "fingerprint": state.fingerprint,
        }
        put["previous"] = without_nones(previous)
    else:
        put["sweep"] = _with(state.sweep, state.active_generation)
        expect |= _sweeping(state)
    remove = ["replay", "halted", "rewoundFrom"]
    if replay.fingerprint is None:
        remove.append("fingerprint")
    else:
        put["fingerprint"] = replay.fingerprint
    return StateChange(state.stream_id, expect, put, tuple(remove))


def give_up_replay(state: StreamState, event_id: int | None, error: str, at: str) -> StateChange:
    """A handler raised (R4): the old generation stays active; what was built is swept, or kept if it was a rollback's."""
    replay = _running(state)
    expect = {**_replaying(state), **_sweeping(state)}
    last: Document = {
        "replayId": replay.replay_id,
        "state": "failed",
        "checkpoint": replay.checkpoint,
        "at": at,
        "errorEventId": event_id,
        "error": error,
    }
    put: dict[str, Any] = {"lastReplay": without_nones(last)}
    if replay.kind == "rollback" and replay.chunk is None:
        previous: Document = {
            "generation": replay.generation,
            "checkpoint": replay.checkpoint,
            "at": at,
            "fingerprint": replay.fingerprint,
        }
        put["previous"] = without_nones(previous)
    else:
        put["sweep"] = _with(state.sweep, replay.generation)
    return StateChange(state.stream_id, expect, put, ("replay",))


def retire_previous(state: StreamState) -> StateChange:
    """The previous generation has been kept for long enough (step 5)."""
    if state.previous is None:
        raise ValueError(f"stream {state.stream_id!r} has no previous generation")
    expect = {"previous.generation": state.previous.generation, **_sweeping(state)}
    return StateChange(state.stream_id, expect, {"sweep": _with(state.sweep, state.previous.generation)}, ("previous",))


def swept(state: StreamState, generation: int) -> StateChange:
    """The rows of a generation are deleted."""
    left = [each for each in state.sweep if each != generation]
    if left:
        return StateChange(state.stream_id, _sweeping(state), {"sweep": left})
    return StateChange(state.stream_id, _sweeping(state), remove=("sweep",))


def _sweeping(state: StreamState) -> dict[str, Any]:
    return {"sweep": list(state.sweep) or None}


def _with(sweep: tuple[int, ...], generation: int) -> list[int]:
    return [*(each for each in sweep if each != generation), generation]
