"""Walks through the projection protocol, and how their outcomes are compared."""

from decimal import Decimal
from typing import Any

from handlers.projection import transitions
from handlers.projection.definition import Row
from handlers.projection.port import OutdatedError, ReadModel
from handlers.projection.state import Chunk, StreamState
from handlers.projection.transitions import StateChange

AT = "2026-01-01T00:00:00.000Z"


def outcome(read_model: ReadModel, change: StateChange, rows: dict[str, Row | None] | None) -> str:
    try:
        read_model.commit(change, rows)
    except OutdatedError:
        return "outdated"
    return "done"


def possible_changes(state: StreamState, step: int) -> list[StateChange]:
    """Every transition that a state allows."""
    changes = [
        transitions.advance(state, state.checkpoint + 2, "f"),
        transitions.halt(state, state.checkpoint + 1, "no", AT),
        transitions.resume(state),
    ]
    if state.is_halted:
        changes.append(transitions.skip(state, AT))
    if state.checkpoint > 0 and state.replay is None:
        changes.append(transitions.rewind(state, state.checkpoint - 1))
    if state.sweep:
        changes.append(transitions.swept(state, state.sweep[0]))
    if state.replay is None:
        changes.append(transitions.begin_replay(state, f"r{step}", "f", AT))
        if state.previous:
            changes += [transitions.begin_rollback(state, f"b{step}", AT), transitions.retire_previous(state)]
        return changes
    replay = state.replay
    changes += [
        transitions.advance_replay(state, replay.checkpoint + 2, AT),
        transitions.advance_chunk(state, Chunk(replay.checkpoint + 3, step), AT),
        transitions.restart_replay(state, "g", AT),
        transitions.give_up_replay(state, 3, "no", AT),
    ]
    if replay.checkpoint >= state.checkpoint and replay.chunk is None:
        changes += [transitions.switch(state, AT)] * 3
    return changes


def exactly(value: Any) -> str:
    """Text that tells True from 1; numbers by value, however they are written."""
    if isinstance(value, dict):
        return str({name: exactly(each) for name, each in sorted(value.items())})
    if isinstance(value, list):
        return str([exactly(each) for each in value])
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        text = format(Decimal(value), "f")
        return text.rstrip("0").rstrip(".") if "." in text else text
    return repr(value)
