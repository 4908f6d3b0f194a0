"""Each change of a state item holds only on the state that it was made for."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from handlers.core.events import StreamId
from handlers.projection import transitions
from handlers.projection.port import OutdatedError
from handlers.projection.state import Chunk, Halted, Previous, Replay, StreamState
from handlers.projection.transitions import StateChange
from tests.support.memory_read_model import MemoryReadModel

STREAM = StreamId("s")
AT = "2026-01-01T00:00:00.000Z"

LIVE = StreamState(STREAM, active_generation=1, checkpoint=5, next_generation=3, rewinds=2, fingerprint="f")
KEPT = replace(LIVE, previous=Previous(0, 4, AT, "f"), sweep=(7, 8))
HALTED = replace(LIVE, halted=Halted(6, "no", AT))
REPLAYING = replace(LIVE, replay=Replay("r", 2, 5, "replay", AT, "f"), sweep=(7,))
IN_CHUNK = replace(REPLAYING, replay=Replay("r", 2, 5, "replay", AT, "f", Chunk(9, 2)))

Change = Callable[[StreamState], StateChange]

CHANGES: dict[str, tuple[StreamState, Change]] = {
    "advance": (LIVE, lambda state: transitions.advance(state, 6, "f")),
    "halt": (LIVE, lambda state: transitions.halt(state, 6, "no", AT)),
    "resume": (HALTED, transitions.resume),
    "skip": (HALTED, lambda state: transitions.skip(state, AT)),
    "rewind": (LIVE, lambda state: transitions.rewind(state, 2)),
    "begin_replay": (KEPT, lambda state: transitions.begin_replay(state, "r2", "f", AT)),
    "begin_rollback": (KEPT, lambda state: transitions.begin_rollback(state, "r2", AT)),
    "retire_previous": (KEPT, transitions.retire_previous),
    "swept": (KEPT, lambda state: transitions.swept(state, 7)),
    "advance_replay": (REPLAYING, lambda state: transitions.advance_replay(state, 8, AT)),
    "advance_replay in a chunk": (IN_CHUNK, lambda state: transitions.advance_replay(state, 9, AT)),
    "advance_chunk": (IN_CHUNK, lambda state: transitions.advance_chunk(state, Chunk(9, 4), AT)),
    "restart_replay": (REPLAYING, lambda state: transitions.restart_replay(state, "g", AT)),
    "give_up_replay": (REPLAYING, lambda state: transitions.give_up_replay(state, 6, "no", AT)),
    "switch": (REPLAYING, lambda state: transitions.switch(state, AT)),
}
LIVE_CHANGES = {"advance", "halt", "resume", "skip", "rewind", "switch"}
REPLAY_CHANGES = {
    "advance_replay",
    "advance_replay in a chunk",
    "advance_chunk",
    "restart_replay",
    "give_up_replay",
    "switch",
}
SWEEP_CHANGES = {"begin_replay", "begin_rollback", "retire_previous", "swept", "restart_replay", "give_up_replay"}


def in_storage(state: StreamState) -> MemoryReadModel:
    """Storage that holds a state, and no more than it."""
    document: dict[str, Any] = {
        "activeGeneration": state.active_generation,
        "checkpoint": state.checkpoint,
        "nextGeneration": state.next_generation,
        "rewinds": state.rewinds,
        "fingerprint": state.fingerprint,
        "sweep": list(state.sweep) or None,
    }
    if state.previous:
        previous = state.previous
        document["previous"] = {
            "generation": previous.generation,
            "checkpoint": previous.checkpoint,
            "at": previous.at,
            "fingerprint": previous.fingerprint,
        }
    if state.halted:
        document["halted"] = {"eventId": state.halted.event_id, "error": state.halted.error, "at": state.halted.at}
    if state.replay:
        replay = state.replay
        document["replay"] = {
            "replayId": replay.replay_id,
            "generation": replay.generation,
            "checkpoint": replay.checkpoint,
            "kind": replay.kind,
            "at": replay.at,
            "fingerprint": replay.fingerprint,
        }
        if replay.chunk:
            document["replay"]["chunk"] = {"to": replay.chunk.to, "keysDone": replay.chunk.keys_done}
    read_model = MemoryReadModel()
    read_model.documents[STREAM] = {name: value for name, value in document.items() if value is not None}
    assert read_model.load(STREAM).state == state
    return read_model


def somebody_elses(name: str, state: StreamState) -> dict[str, StreamState]:
    """States that others may have led to since, each of which the change must not be applied to."""
    others: dict[str, StreamState] = {}
    if name in LIVE_CHANGES:
        others["the live checkpoint moved"] = replace(state, checkpoint=state.checkpoint + 1)
        others["another generation is active"] = replace(state, active_generation=9)
        others["the stream was rewound"] = replace(state, rewinds=state.rewinds + 1)
    if name in REPLAY_CHANGES:
        replay = state.replay
        assert replay is not None
        others["the replay has ended"] = replace(state, replay=None)
        others["the replay moved"] = replace(state, replay=replace(replay, checkpoint=replay.checkpoint + 1))
        others["the replay's chunk moved"] = replace(state, replay=replace(replay, chunk=Chunk(9, 3)))
        others["it is another replay"] = replace(state, replay=replace(replay, replay_id="other"))
        others["it builds another generation"] = replace(state, replay=replace(replay, generation=6))
    if name in SWEEP_CHANGES:
        others["more is to be swept"] = replace(state, sweep=(*state.sweep, 5))
    if name.startswith("begin_"):
        others["a replay runs"] = replace(state, replay=Replay("other", 3, -1, "replay", AT, "f"))
        others["the generation before was given up"] = replace(state, previous=None)
        others["the generation before is another one"] = replace(state, previous=Previous(2, 4, AT, "f"))
        others["a generation was begun"] = replace(state, next_generation=state.next_generation + 1)
    if name == "rewind":
        others["a replay runs"] = replace(state, replay=Replay("other", 3, -1, "replay", AT, "f"))
    if name == "skip":
        others["the halt is gone"] = replace(state, halted=None)
    if name == "halt":
        others["it is halted already"] = replace(state, halted=Halted(6, "no", AT))
    if name == "retire_previous":
        others["the generation before is being taken up again"] = replace(state, previous=None)
    return others


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_leads_to_the_state_that_it_says(name: str) -> None:
    state, change = CHANGES[name]
    read_model = in_storage(state)

    read_model.commit(change(state), {"a": {"n": 1}}, 2)

    assert change(state).after != state
    assert read_model.load(STREAM).state == change(state).after


@pytest.mark.parametrize(
    ("name", "since"), [(name, since) for name, (state, _) in CHANGES.items() for since in somebody_elses(name, state)]
)
def test_a_change_is_refused_on_a_state_that_others_led_to(name: str, since: str) -> None:
    state, change = CHANGES[name]
    read_model = in_storage(somebody_elses(name, state)[since])
    before = read_model.documents[STREAM]

    with pytest.raises(OutdatedError):
        read_model.commit(change(state), {"a": {"n": 1}}, 2)

    assert read_model.documents[STREAM] == before
    assert not read_model.rows.get((STREAM, 2))


@pytest.mark.parametrize(
    "replay",
    [Replay("r", 2, 4, "replay", AT, "f"), Replay("r", 2, 9, "replay", AT, "f", Chunk(12, 1))],
    ids=["behind the live rows", "in the middle of a chunk"],
)
def test_a_switch_that_would_take_readers_back_is_not_even_made(replay: Replay) -> None:
    with pytest.raises(ValueError, match="may switch only"):
        transitions.switch(replace(LIVE, replay=replay), AT)


def test_a_switch_keeps_the_generation_before_for_a_rollback() -> None:
    read_model = in_storage(REPLAYING)

    read_model.commit(transitions.switch(REPLAYING, AT))

    state = read_model.load(STREAM).state
    assert (state.active_generation, state.checkpoint, state.replay) == (2, 5, None)
    assert state.previous == Previous(1, 5, AT, "f")


def test_a_switch_in_the_middle_of_a_rewind_gives_the_generation_before_up() -> None:
    catching_up = replace(REPLAYING, rewound_from=9, replay=Replay("r", 2, 9, "replay", AT, "f"))

    change = transitions.switch(catching_up, AT)

    assert "previous" not in change.put
    assert (change.expect["sweep"], change.put["sweep"]) == ([7], [7, 1])


def test_a_rollback_that_fails_before_it_wrote_keeps_what_it_would_have_gone_back_to() -> None:
    read_model = in_storage(KEPT)
    read_model.commit(transitions.begin_rollback(KEPT, "b", AT))
    begun = read_model.load(STREAM).state

    read_model.commit(transitions.give_up_replay(begun, 5, "no", AT))

    assert read_model.load(STREAM).state.previous == Previous(0, 4, AT, "f")


@pytest.mark.parametrize(
    "other",
    [replace(LIVE, checkpoint=4), replace(LIVE, active_generation=2), replace(LIVE, rewinds=3)],
    ids=["the checkpoint", "the generation", "a rewind that came back to the checkpoint"],
)
def test_live_rows_are_told_apart_by(other: StreamState) -> None:
    assert not transitions.same_live_rows(LIVE, other)
    assert transitions.same_live_rows(LIVE, replace(LIVE, replay=REPLAYING.replay, halted=Halted(6, "no", AT)))


def test_a_commit_removes_a_halt_that_its_stale_copy_does_not_know_of() -> None:
    # given a warm copy from before another projector halted the stream
    read_model = in_storage(replace(LIVE, halted=Halted(6, "no", AT)))

    read_model.commit(transitions.advance(LIVE, 6, "f"))

    assert read_model.load(STREAM).state.halted is None


def test_a_commit_leaves_what_its_stale_copy_does_not_know_of_and_does_not_change() -> None:
    # given a warm copy from before a replay began
    read_model = in_storage(REPLAYING)

    read_model.commit(transitions.advance(LIVE, 6, "f"))

    assert read_model.load(STREAM).state == replace(REPLAYING, checkpoint=6)


def test_generation_numbers_are_never_used_again() -> None:
    read_model = in_storage(LIVE)
    seen: set[int] = set()
    for number in range(5):
        state = read_model.load(STREAM).state
        read_model.commit(transitions.begin_replay(state, f"r{number}", "f", AT))
        state = read_model.load(STREAM).state
        assert state.replay is not None
        assert state.replay.generation not in seen | {state.active_generation}
        seen.add(state.replay.generation)
        read_model.commit(transitions.give_up_replay(state, 0, "no", AT))
