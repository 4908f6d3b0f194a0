"""Each change of a state or of the control item applies only to the record that it was made for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.core.events import StreamId
from handlers.projection import transitions
from handlers.projection.port import Change, Commit, OutdatedError, read_control
from handlers.projection.state import (
    DONE,
    FAILED,
    REPLAY,
    ROLLBACK,
    SHARDS,
    Building,
    Control,
    Halted,
    JobItem,
    Previous,
    StateItem,
    StreamState,
    shard_of,
)
from tests.support.memory_read_model import MemoryReadModel

STREAM = StreamId("s")
AT = "2026-01-01T00:00:00.000Z"

# -- a stream's state ------------------------------------------------------------------------------------------------------

UNBORN = StreamState(STREAM, 1)
LIVE = StreamState(STREAM, 1, exists=True, checkpoint=5, rewinds=2)
FOLLOWING = replace(LIVE, ahead=2)
HALTED = replace(LIVE, halted=Halted(6, "no", AT))
REWOUND = replace(LIVE, rewound_from=9)
LEADER = replace(LIVE, generation=2, checkpoint=7)

StateChange = Callable[[StreamState], Change[StreamState]]

STATE_CHANGES: dict[str, tuple[StreamState, StateChange]] = {
    "advance": (LIVE, lambda state: transitions.advance(state, 6)),
    "advance behind another generation": (FOLLOWING, lambda state: transitions.advance(state, 6)),
    "advance with a skip": (LIVE, lambda state: transitions.advance(state, 6, {"6": {"error": "no", "at": AT}})),
    "advance past a halt": (HALTED, lambda state: transitions.advance(state, 6)),
    "advance to where a rewind began": (REWOUND, lambda state: transitions.advance(state, 9)),
    "the first commit": (UNBORN, lambda state: transitions.advance(state, 3)),
    "a first commit that follows": (replace(UNBORN, ahead=2), lambda state: transitions.advance(state, 3)),
    "halt": (LIVE, lambda state: transitions.halt(state, 6, "no", AT)),
    "halt at once": (UNBORN, lambda state: transitions.halt(state, 0, "no", AT)),
    "halt again": (HALTED, lambda state: transitions.halt(state, 6, "still not", AT)),
    "resume": (HALTED, transitions.resume),
    "skip": (HALTED, lambda state: transitions.skip(state, AT)),
    "rewind": (LIVE, lambda state: transitions.rewind(state, 2)),
    "follow": (LIVE, lambda state: transitions.follow(state, LEADER)),
    "lead": (FOLLOWING, transitions.lead),
    "drop_leader": (FOLLOWING, transitions.drop_leader),
}


def storage_of(state: StreamState) -> MemoryReadModel:
    """Storage that holds a state, as other changes have led to it."""
    read_model = MemoryReadModel()
    if state.exists:
        born = replace(state, exists=False)
        read_model.commit(Commit((Change(state.item, {"checkpoint": None}, born.to_document(), (), state),)))
    return read_model


def stored(read_model: MemoryReadModel, state: StreamState) -> StreamState:
    return read_model.load(state.generation, [state.stream_id]).states[state.stream_id]


def states_of_others(name: str, state: StreamState) -> dict[str, StreamState]:
    """States to which others may have led since, and to which the change must not apply."""
    if not state.exists:
        return {"the stream has a state already": LIVE}
    others = {
        "the checkpoint moved": replace(state, checkpoint=state.checkpoint + 1),
        "a replay has joined": replace(state, ahead=9),
        "the state was swept": UNBORN,
    }
    if state.ahead is not None:
        others["the generation ahead was dropped"] = replace(state, ahead=None)
    if name == "follow":
        others["the stream was rewound and caught up"] = replace(state, rewinds=state.rewinds + 1)
    if name == "halt":
        others["it is halted already"] = replace(state, halted=Halted(6, "no", AT))
    if name in {"skip", "halt again"}:
        others["it was resumed"] = replace(state, halted=None)
        others["it is halted elsewhere"] = replace(state, halted=Halted(7, "no", AT))
    return others


@pytest.mark.parametrize("name", STATE_CHANGES)
def test_a_change_leads_to_the_state_that_it_promises(name: str) -> None:
    state, change = STATE_CHANGES[name]
    read_model = storage_of(state)

    read_model.commit(Commit((change(state),)))

    assert change(state).after != state
    assert stored(read_model, state) == change(state).after


@pytest.mark.parametrize(
    ("name", "since"),
    [(name, since) for name, (state, _) in STATE_CHANGES.items() for since in states_of_others(name, state)],
)
def test_a_change_is_refused_on_a_state_to_which_others_led(name: str, since: str) -> None:
    state, change = STATE_CHANGES[name]
    other = states_of_others(name, state)[since]
    read_model = storage_of(other)

    with pytest.raises(OutdatedError) as refused:
        read_model.commit(Commit((change(state),)))

    assert refused.value.items == {state.item}
    assert stored(read_model, state) == other


def test_a_commit_removes_a_halt_that_its_stale_copy_does_not_have() -> None:
    # given a warm copy from before another projector halted the stream
    read_model = storage_of(HALTED)

    read_model.commit(Commit((transitions.advance(LIVE, 6),)))

    assert stored(read_model, LIVE) == replace(LIVE, checkpoint=6)


def test_a_commit_keeps_what_its_stale_copy_does_not_have_and_does_not_change() -> None:
    # given a warm copy from before a rewind that has come back to the same checkpoint
    since = replace(LIVE, rewinds=3, rewound_from=9, skipped={"1": {"error": "no", "at": AT}})
    read_model = storage_of(since)

    read_model.commit(Commit((transitions.advance(LIVE, 6),)))

    assert stored(read_model, LIVE) == replace(since, checkpoint=6)


def test_only_the_next_event_halts_a_stream() -> None:
    assert HALTED.is_halted
    assert not replace(HALTED, checkpoint=6).is_halted, "an operator or a fixed handler has got past it"


def test_a_rewind_is_complete_when_the_stream_is_where_it_was() -> None:
    rewound = transitions.rewind(LIVE, 2).after
    again = transitions.rewind(transitions.advance(rewound, 3).after, -1).after

    assert (rewound.checkpoint, rewound.rewound_from, rewound.rewinds, rewound.is_settled) == (2, 5, 3, False)
    assert (again.checkpoint, again.rewound_from, again.rewinds) == (-1, 5, 4)
    assert not transitions.advance(again, 4).after.is_settled
    assert transitions.advance(again, 5).after == replace(LIVE, rewinds=4)


def test_a_stream_is_not_rewound_while_a_replay_has_joined_it() -> None:
    with pytest.raises(OutdatedError):
        storage_of(FOLLOWING).commit(Commit((transitions.rewind(FOLLOWING, 2),)))


def test_skips_are_recorded_one_after_the_other() -> None:
    first = transitions.skip(HALTED, AT).after
    second = transitions.skip(transitions.halt(first, 7, "nor this", AT).after, AT).after

    assert (second.checkpoint, second.halted) == (7, None)
    assert second.skipped == {"6": {"error": "no", "at": AT}, "7": {"error": "nor this", "at": AT}}
    # A generation being built takes over the skips that it relies on.
    advanced = transitions.advance(first, 9, {"9": {"error": "no", "at": AT}}).after
    assert list(advanced.skipped) == ["6", "9"]


def test_an_event_is_skipped_only_at_a_halt_and_first_in_the_generation_ahead() -> None:
    with pytest.raises(ValueError, match="is not halted"):
        transitions.skip(LIVE, AT)
    with pytest.raises(ValueError, match="is not halted"):
        transitions.skip(replace(HALTED, checkpoint=6), AT)
    with pytest.raises(ValueError, match="generation 2 must skip"):
        transitions.skip(replace(HALTED, ahead=2), AT)


@pytest.mark.parametrize(("checkpoint", "allowed"), [(4, False), (5, True), (6, True)])
def test_a_stream_joins_only_a_generation_that_is_not_behind(checkpoint: int, allowed: bool) -> None:
    leader = replace(LEADER, checkpoint=checkpoint)

    if allowed:
        assert transitions.follow(LIVE, leader).after.ahead == 2
    else:
        with pytest.raises(ValueError, match="must not be behind"):
            transitions.follow(LIVE, leader)


def test_a_rewound_stream_joins_only_a_generation_that_has_what_readers_have_seen() -> None:
    rewound = transitions.rewind(LIVE, 2).after

    assert transitions.follow(rewound, LEADER).after.ahead == 2
    with pytest.raises(ValueError, match="must not be behind"):
        transitions.follow(rewound, replace(LEADER, checkpoint=4))


def test_a_join_is_refused_if_either_state_has_changed() -> None:
    for since in (replace(LIVE, checkpoint=6), replace(LEADER, checkpoint=6)):
        read_model = storage_of(since)
        other = LEADER if since.generation == 1 else LIVE
        read_model.commit(Commit((Change(other.item, {}, other.to_document(), (), other),)))

        with pytest.raises(OutdatedError):
            read_model.commit(Commit((transitions.follow(LIVE, LEADER), transitions.lead(LEADER))))

        assert stored(read_model, LIVE).ahead is None


@pytest.mark.parametrize("state", [LIVE, FOLLOWING, UNBORN])
def test_a_state_is_checked_without_a_change(state: StreamState) -> None:
    read_model = storage_of(state)

    read_model.commit(Commit((transitions.unchanged(state),)))

    assert stored(read_model, state) == state
    with pytest.raises(OutdatedError):
        storage_of(replace(LIVE, checkpoint=9)).commit(Commit((transitions.unchanged(state),)))


# -- the first commit of a stream ------------------------------------------------------------------------------------------


def test_a_birth_is_refused_once_the_generations_have_changed() -> None:
    read_model = MemoryReadModel()
    began = transitions.begin_replay(Control(), "r", "f")
    read_model.commit(Commit((began,), fences=began.after.version))
    birth = transitions.advance(UNBORN, 0)

    with pytest.raises(OutdatedError):
        read_model.commit(Commit((birth,), born_at=0))
    read_model.commit(Commit((birth,), born_at=began.after.version))


def test_births_check_one_fence() -> None:
    states = [StreamState(StreamId(f"s{number}"), 1) for number in range(40)]
    births = [transitions.advance(state, 0) for state in states]

    assert Commit((transitions.advance(LIVE, 6), *births), born_at=3).births == {shard_of(states[0].stream_id)}
    assert Commit(tuple(births)).births == frozenset()
    assert {shard_of(f"stream {number}") for number in range(1000)} == set(range(SHARDS))


# -- the generations of a projection ---------------------------------------------------------------------------------------

NEVER_REPLAYED = Control()
IDLE = Control(True, 1, "f1", None, Previous(0, AT, "f0"), 3, 7, (2,))
BUILDING = Control(True, 1, "f1", Building(3, "r", REPLAY, "f3"), None, 4, 7, (2,))
RETURNING = Control(True, 1, "f1", Building(0, "r", ROLLBACK, "f0"), None, 3, 7)

ControlChange = Callable[[Control], Change[Control]]

CONTROL_CHANGES: dict[str, tuple[Control, ControlChange]] = {
    "adopt": (NEVER_REPLAYED, lambda control: transitions.adopt(control, "f")),
    "begin the first replay": (NEVER_REPLAYED, lambda control: transitions.begin_replay(control, "r", "f")),
    "begin_replay": (IDLE, lambda control: transitions.begin_replay(control, "r", "f3")),
    "begin_rollback": (IDLE, lambda control: transitions.begin_rollback(control, "r")),
    "restart": (BUILDING, lambda control: transitions.restart(control, "f4")),
    "switch": (BUILDING, lambda control: transitions.switch(control, AT)),
    "switch back": (RETURNING, lambda control: transitions.switch(control, AT)),
    "abandon": (BUILDING, transitions.abandon),
    "retire_previous": (IDLE, transitions.retire_previous),
    "swept": (IDLE, lambda control: transitions.swept(control, 2)),
}
LED_TO: dict[str, Control] = {
    "adopt": Control(True, 0, "f"),
    "begin the first replay": Control(True, 0, "f", Building(1, "r", REPLAY, "f"), None, 2, 1),
    "begin_replay": Control(True, 1, "f1", Building(3, "r", REPLAY, "f3"), None, 4, 8, (2, 0)),
    "begin_rollback": Control(True, 1, "f1", Building(0, "r", ROLLBACK, "f0"), None, 3, 8, (2,)),
    "restart": Control(True, 1, "f1", Building(4, "r", REPLAY, "f4"), None, 5, 8, (2, 3)),
    "switch": Control(True, 3, "f3", None, Previous(1, AT, "f1"), 4, 8, (2,)),
    "switch back": Control(True, 0, "f0", None, Previous(1, AT, "f1"), 3, 8),
    "abandon": Control(True, 1, "f1", None, None, 4, 8, (2, 3)),
    "retire_previous": Control(True, 1, "f1", None, None, 3, 8, (2, 0)),
    "swept": Control(True, 1, "f1", None, Previous(0, AT, "f0"), 3, 8),
}


def storage_with(control: Control) -> MemoryReadModel:
    read_model = MemoryReadModel()
    if control.exists:
        put = control.to_document()
        read_model.commit(Commit((Change(transitions.CONTROL, {}, put, (), control),)))
    return read_model


def stored_control(read_model: MemoryReadModel) -> Control:
    return read_control(read_model)


@pytest.mark.parametrize("name", CONTROL_CHANGES)
def test_a_change_of_the_generations_leads_to_what_it_promises(name: str) -> None:
    control, change = CONTROL_CHANGES[name]
    read_model = storage_with(control)

    read_model.commit(Commit((change(control),)))

    assert stored_control(read_model) == change(control).after == LED_TO[name]


@pytest.mark.parametrize(
    ("name", "since"),
    [
        (name, since)
        for name, (control, _) in CONTROL_CHANGES.items()
        for since, (same, _) in CONTROL_CHANGES.items()
        if same == control
    ],
)
def test_of_two_changes_of_the_generations_one_is_refused(name: str, since: str) -> None:
    (control, change), (_, other) = CONTROL_CHANGES[name], CONTROL_CHANGES[since]
    read_model = storage_with(control)
    read_model.commit(Commit((other(control),)))
    before = stored_control(read_model)

    with pytest.raises(OutdatedError):
        read_model.commit(Commit((change(control),)))

    assert stored_control(read_model) == before


def test_a_replay_may_begin_right_after_the_code_was_recorded() -> None:
    read_model = MemoryReadModel()
    adopted = transitions.adopt(Control(), "f")
    read_model.commit(Commit((adopted,)))

    read_model.commit(Commit((transitions.begin_replay(stored_control(read_model), "r", "g"),)))

    assert stored_control(read_model).fingerprint_of(0) == "f"
    assert stored_control(read_model).fingerprint_of(1) == "g"


@pytest.mark.parametrize(
    ("change", "control", "error"),
    [
        (lambda control: transitions.begin_replay(control, "r2", "f"), BUILDING, "a replay is running"),
        (lambda control: transitions.begin_rollback(control, "r2"), BUILDING, "a replay is running"),
        (transitions.retire_previous, BUILDING, "a replay is running"),
        (lambda control: transitions.begin_rollback(control, "r"), NEVER_REPLAYED, "no previous generation"),
        (lambda control: transitions.switch(control, AT), IDLE, "no replay is running"),
        (lambda control: transitions.restart(control, "f"), IDLE, "no replay is running"),
        (transitions.abandon, IDLE, "no replay is running"),
    ],
)
def test_a_change_that_has_no_meaning_is_not_made(change: ControlChange, control: Control, error: str) -> None:
    with pytest.raises(ValueError, match=error):
        change(control)


def test_each_generation_has_the_code_that_it_was_built_with() -> None:
    assert [IDLE.fingerprint_of(generation) for generation in (0, 1, 2)] == ["f0", "f1", None]
    assert [BUILDING.fingerprint_of(generation) for generation in (0, 1, 3)] == [None, "f1", "f3"]


def test_rows_are_written_only_in_generations_that_may_be_read() -> None:
    assert [generation for generation in range(5) if IDLE.is_alive(generation)] == [0, 1]
    assert [generation for generation in range(5) if BUILDING.is_alive(generation)] == [1, 3]
    assert [generation for generation in range(5) if IDLE.may_lead(generation)] == [1]
    assert [generation for generation in range(5) if BUILDING.may_lead(generation)] == [1, 3]


STEPS: dict[str, ControlChange] = {
    "replay": lambda control: transitions.begin_replay(control, "r", "f"),
    "rollback": lambda control: transitions.begin_rollback(control, "r"),
    "restart": lambda control: transitions.restart(control, "f"),
    "switch": lambda control: transitions.switch(control, AT),
    "abandon": transitions.abandon,
    "retire": transitions.retire_previous,
    "sweep": lambda control: transitions.swept(control, control.sweep[0]),
}


@given(st.lists(st.sampled_from(sorted(STEPS))))
def test_a_generation_has_one_role_at_a_time_and_its_number_is_never_reused(steps: list[str]) -> None:
    control, gone = Control(), set[int]()
    for step in steps:
        before = control
        try:
            control = STEPS[step](control).after
        except (ValueError, IndexError):  # not possible now
            continue
        if step == "sweep":
            gone.add(before.sweep[0])
        others = [each.generation for each in (control.building, control.previous) if each is not None]
        known = [control.active, *others, *control.sweep]
        assert len(known) == len(set(known))
        assert not gone & set(known)
        assert gone | set(known) == set(range(control.next_generation))
        assert control.version == before.version + 1


# -- documents and jobs ----------------------------------------------------------------------------------------------------

HALTS = st.builds(Halted, st.integers(0), st.text(), st.text())
SKIPS = st.dictionaries(st.integers(0).map(str), st.just({"error": "no", "at": AT}))
STATES = st.builds(
    StreamState,
    st.just(STREAM),
    st.just(1),
    exists=st.just(True),
    checkpoint=st.integers(-1),
    ahead=st.none() | st.integers(0),
    rewinds=st.integers(0),
    rewound_from=st.none() | st.integers(-1),
    halted=st.none() | HALTS,
    skipped=SKIPS,
)
CONTROLS = st.builds(
    Control,
    exists=st.just(True),
    active=st.integers(0),
    fingerprint=st.none() | st.text(),
    building=st.none() | st.builds(Building, st.integers(0), st.text(), st.text(), st.none() | st.text()),
    previous=st.none() | st.builds(Previous, st.integers(0), st.text(), st.none() | st.text()),
    next_generation=st.integers(1),
    version=st.integers(0),
    sweep=st.lists(st.integers(0)).map(tuple),
)


@given(STATES)
def test_a_state_is_read_as_it_was_written(state: StreamState) -> None:
    assert StreamState.from_document(StateItem(1, STREAM), state.to_document()) == state


@given(CONTROLS)
def test_a_control_item_is_read_as_it_was_written(control: Control) -> None:
    assert Control.from_document(control.to_document()) == control


def test_what_does_not_exist_is_read_as_its_default() -> None:
    assert StreamState.from_document(StateItem(1, STREAM), {}) == UNBORN
    assert Control.from_document({}) == NEVER_REPLAYED


def test_a_document_has_no_empty_attributes() -> None:
    assert LIVE.to_document() == {"checkpoint": 5, "rewinds": 2}
    assert Control().to_document() == {"active": 0, "nextGeneration": 1, "version": 0}


@pytest.mark.parametrize("error", [None, {"streamId": "s", "eventId": 3, "error": "no"}])
def test_a_job_ends_once(error: dict[str, Any] | None) -> None:
    read_model = MemoryReadModel()
    read_model.commit(Commit((transitions.end_job("r", FAILED, AT, error),)))

    with pytest.raises(OutdatedError):
        read_model.commit(Commit((transitions.end_job("r", DONE, AT),)))

    expected = {"state": FAILED, "finishedAt": AT} | ({} if error is None else {"error": error})
    assert read_model.read(JobItem("r")) == expected
