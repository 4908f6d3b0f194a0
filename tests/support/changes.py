"""Walks through the projection protocol, and how their outcomes are compared."""

import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from handlers.core.events import StreamId
from handlers.projection import transitions
from handlers.projection.port import Change, Commit, IndexEntry, OutdatedError, ReadModel, RowChange, read_control
from handlers.projection.state import Control, Item, StreamState

AT = "2026-01-01T00:00:00.000Z"


def outcome(read_model: ReadModel, commit: Commit) -> tuple[frozenset[Item], frozenset[str]] | None:
    """What a commit contradicts; None if it was done."""
    try:
        read_model.commit(commit)
    except OutdatedError as error:
        return error.items, error.keys
    return None


def state_changes(state: StreamState, step: int) -> list[Change[StreamState]]:
    """Changes that a state allows."""
    following = StreamState(state.stream_id, state.generation + 1, exists=True, checkpoint=state.seen)
    changes = [
        transitions.advance(state, state.checkpoint + 1 + step, {str(step): {"error": "no", "at": AT}}),
        transitions.advance(state, state.checkpoint + 1),
        transitions.halt(state, state.checkpoint + 1, "no", AT),
        transitions.resume(state),
        transitions.unchanged(state),
        transitions.follow(state, following),
        transitions.drop_leader(state),
    ]
    if state.is_halted and state.ahead is None:
        changes.append(transitions.skip(state, AT))
    if state.checkpoint > 0:
        changes.append(transitions.rewind(state, state.checkpoint - 1))
    return changes


def control_changes(control: Control, step: int) -> list[Change[Control]]:
    """Changes that a control item allows."""
    if not control.exists:
        return [transitions.adopt(control, f"f{step}"), transitions.begin_replay(control, f"r{step}", "f")]
    if control.building is not None:
        return [
            transitions.restart(control, f"f{step}"),
            transitions.switch(control, AT),
            transitions.abandon(control),
        ]
    changes = [transitions.begin_replay(control, f"r{step}", "f")]
    if control.previous is not None:
        changes += [transitions.begin_rollback(control, f"r{step}"), transitions.retire_previous(control)]
    if control.sweep:
        changes.append(transitions.swept(control, control.sweep[0]))
    return changes


class Walk:
    """Draws random commits for one stream and two rows, on current and on old states."""

    def __init__(self, read_model: ReadModel, draw: Callable[[Any], Any], st: Any) -> None:
        self._read_model = read_model
        self._draw = draw
        self._st = st
        self.stream_id = StreamId(f"walk-{uuid.uuid4().hex}")
        self._seen: list[tuple[StreamState, Control, dict[str, str | None]]] = [self._now()]

    def next(self, step: int) -> Commit:
        """A commit that may or may not be outdated."""
        self._seen.append(self._now())
        state, control, versions = self._some()
        changes: list[Change[Any]] = []
        fences = None
        if self._yes():
            changes.append(self._one(state_changes(state, step)))
        if self._yes():
            changed = self._one(control_changes(control, step))
            changes.append(changed)
            fences = changed.after.version or None  # `adopt` leaves it at 0
        rows = [self._row(key, version, step) for key, version in versions.items() if not changes or self._yes()]
        return Commit(tuple(changes), tuple(rows), 0, self._one([None, control.version]), fences)

    def _row(self, key: str, version: str | None, step: int) -> RowChange:
        entries = tuple(IndexEntry(slot, self._one("xy"), self._one("pq")) for slot in (1, 5) if self._yes())
        row = {"step": step} if self._yes() or version is None else None
        return RowChange(key, version, self._yes(), row, uuid.uuid4().hex, entries)

    def _now(self) -> tuple[StreamState, Control, dict[str, str | None]]:
        found = self._read_model.load(0, [self.stream_id], ["a", "b"])
        versions = {key: None if row is None else row.version for key, row in found.rows.items()}
        return found.states[self.stream_id], read_control(self._read_model), versions

    def _some(self) -> tuple[StreamState, Control, dict[str, str | None]]:
        """Return what is stored, or sometimes what was."""
        state, _, _ = self._one([self._seen[-1], self._seen[-1], self._one(self._seen)])
        _, control, versions = self._one([self._seen[-1], self._seen[-1], self._one(self._seen)])
        return state, control, versions

    def _yes(self) -> bool:
        return bool(self._draw(self._st.booleans()))

    def _one(self, choices: Any) -> Any:
        return self._draw(self._st.sampled_from(choices))


def exactly(value: Any) -> str:
    """Text that distinguishes True from 1; numbers by value, however they are written."""
    if isinstance(value, dict):
        return str({name: exactly(each) for name, each in sorted(value.items())})
    if isinstance(value, list):
        return str([exactly(each) for each in value])
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        text = format(Decimal(value), "f")
        return text.rstrip("0").rstrip(".") if "." in text else text
    return repr(value)
