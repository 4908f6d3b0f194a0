"""All changes of states and of the control item, as compare-and-set: the expected values and the resulting record.

The protocol of G1 to G8, P2, P5 and R3 is in this file. Adapters only execute the changes, and callers continue with the
resulting records. The simulation (`tests/simulation`) breaks conditions one at a time to prove that each is needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from handlers.projection.port import Change
from handlers.projection.state import (
    REPLAY,
    ROLLBACK,
    Building,
    Control,
    ControlItem,
    Document,
    Halted,
    JobItem,
    Page,
    Previous,
    StreamState,
    attribute,
    value_at,
)

CONTROL = ControlItem()

# -- a stream in a generation --------------------------------------------------------------------------------------------


def _change(state: StreamState, expect: Mapping[str, Any], **fields: Any) -> Change[StreamState]:
    """Set fields of a state, including unchanged ones: the state may be stale."""
    after = replace(state, exists=True, **fields)
    document = after.to_document()
    if not state.exists:
        return Change(state.item, {"checkpoint": None}, document, (), after)
    names = [attribute(name) for name in fields]
    put = {name: document[name] for name in names if name in document}
    return Change(state.item, expect, put, tuple(name for name in names if name not in document), after)


def _as_read(record: StreamState | Control, *paths: str) -> dict[str, Any]:
    document = record.to_document()
    return {path: value_at(document, path) for path in paths}


def _position(state: StreamState) -> dict[str, Any]:
    """Return what a change of the checkpoint depends on (G1, G4)."""
    return _as_read(state, "checkpoint", "ahead", "page")


def advance(state: StreamState, to: int, skipped: Mapping[str, Any] | None = None) -> Change[StreamState]:
    """Record that the rows reflect the events up to ``to``; creates the state at a stream's first commit (G3).

    ``skipped``: the skips that the rows rely on, if the state does not have them yet.
    """
    # This makes any halt obsolete, including one that a warm copy does not have.
    fields: dict[str, Any] = {"checkpoint": to, "halted": None, "page": None}
    if state.rewound_from is not None and to >= state.rewound_from:
        fields["rewound_from"] = None
    if skipped:
        fields["skipped"] = {**state.skipped, **skipped}
    return _change(state, _position(state), **fields)


def write_page(state: StreamState, page: Page) -> Change[StreamState]:
    """Record that some rows of a page of history are written; the checkpoint moves with the last of them."""
    return _change(state, _position(state), page=page)


def halt(state: StreamState, event_id: int, error: str, at: str) -> Change[StreamState]:
    """Halt the stream at the next event, whose handler raised (P5).

    Expects the halt that was read, or none: a stale caller re-reads and keeps the message.
    """
    expect = {**_position(state), **_as_read(state, "halted.eventId")}
    return _change(state, expect, halted=Halted(event_id, error, at))


def resume(state: StreamState) -> Change[StreamState]:
    """Remove the halt, so that the next message retries the event."""
    return _change(state, _position(state), halted=None)


def skip(state: StreamState, at: str) -> Change[StreamState]:
    """Skip the event at which the stream is halted, and record it.

    Raises
    ------
    ValueError
        The stream is not halted, or another generation must be ahead: skip the event there first.
    """
    if state.halted is None or not state.is_halted:
        raise ValueError(f"stream {state.stream_id!r} is not halted")
    if state.ahead is not None:
        raise ValueError(f"generation {state.ahead} must skip the event of stream {state.stream_id!r} first")
    event_id = state.halted.event_id
    skipped = {**state.skipped, str(event_id): {"error": state.halted.error, "at": at}}
    expect = {**_position(state), **_as_read(state, "halted.eventId")}
    return _change(state, expect, checkpoint=event_id, skipped=skipped, halted=None)


def rewind(state: StreamState, to: int) -> Change[StreamState]:
    """Reset the checkpoint, to catch up in place (R3)."""
    return _change(
        state,
        {**_position(state), "ahead": None},
        checkpoint=to,
        rewinds=state.rewinds + 1,
        rewound_from=max(state.checkpoint, state.rewound_from or state.checkpoint),
        halted=None,
    )


def follow(state: StreamState, leader: StreamState) -> Change[StreamState]:
    """Join: from now on the active generation never overtakes the new one for this stream (G5).

    Commit it together with `lead`, which has the condition on the other state.

    Raises
    ------
    ValueError
        The new generation is behind what readers may have seen.
    """
    if leader.checkpoint < state.seen:
        raise ValueError("the new generation must not be behind")
    return _change(state, _as_read(state, "checkpoint", "ahead", "rewinds"), ahead=leader.generation)


def lead(leader: StreamState) -> Change[StreamState]:
    """Join, the other half: the new generation is where it was read, and no longer follows the active one (G5)."""
    return _change(leader, _position(leader), ahead=None)


def drop_leader(state: StreamState) -> Change[StreamState]:
    """Stop following a generation that was abandoned (G7)."""
    return _change(state, _position(state), ahead=None)


def unchanged(state: StreamState) -> Change[StreamState]:
    """Check that a state is the one read, and change nothing."""
    return Change(state.item, _position(state) if state.exists else {"checkpoint": None}, {}, (), state)


# -- the generations of a projection -------------------------------------------------------------------------------------


def _control(control: Control, **fields: Any) -> Change[Control]:
    """Change the control item; its version, which everything relies on, goes up by one (G3)."""
    after = replace(control, exists=True, version=control.version + 1, **fields)
    document = after.to_document()
    names = [attribute(name) for name in ("version", *fields)]
    if not control.exists:
        return Change(CONTROL, {"version": None}, document, (), after)
    put = {name: document[name] for name in names if name in document}
    gone = tuple(name for name in names if name not in document)
    return Change(CONTROL, _as_read(control, "version"), put, gone, after)


def adopt(control: Control, fingerprint: str) -> Change[Control]:
    """Record the code that folds the active generation, once, before anything was replayed."""
    after = replace(control, exists=True, fingerprint=fingerprint)
    return Change(CONTROL, {"version": None}, after.to_document(), (), after)


def begin_replay(control: Control, replay_id: str, fingerprint: str) -> Change[Control]:
    """Start building the next generation from event 0, and abandon the previous one.

    A projection that was never replayed gets its control item: its rows are folded by the deployed code (as in `adopt`).
    """
    _idle(control)
    if not control.exists:
        control = replace(control, fingerprint=fingerprint)
    return _control(
        control,
        building=Building(control.next_generation, replay_id, REPLAY, fingerprint),
        next_generation=control.next_generation + 1,
        previous=None,
        sweep=_with_previous(control),
    )


def begin_rollback(control: Control, replay_id: str) -> Change[Control]:
    """Return to the previous generation and continue it from where it stopped."""
    _idle(control)
    kept = control.previous
    if kept is None:
        raise ValueError("there is no previous generation")
    return _control(control, building=Building(kept.generation, replay_id, ROLLBACK, kept.fingerprint), previous=None)


def restart(control: Control, fingerprint: str) -> Change[Control]:
    """Abandon what is built so far and start another generation, because the projection's code changed (R6)."""
    building = control.underway
    return _control(
        control,
        building=Building(control.next_generation, building.replay_id, REPLAY, fingerprint),
        next_generation=control.next_generation + 1,
        sweep=(*control.sweep, building.generation),
    )


def switch(control: Control, at: str) -> Change[Control]:
    """Make the built generation the active one; the old one is kept for a rollback (G6)."""
    building = control.underway
    return _control(
        control,
        active=building.generation,
        fingerprint=building.fingerprint,
        building=None,
        previous=Previous(control.active, at, control.fingerprint),
    )


def abandon(control: Control) -> Change[Control]:
    """Give up the generation being built (G8): a handler raised, or an operator cancelled.

    After a rollback too: its generation must not become `building` again, as states may still follow it.
    """
    return _control(control, building=None, sweep=(*control.sweep, control.underway.generation))


def retire_previous(control: Control) -> Change[Control]:
    """Abandon the previous generation after its retention time."""
    _idle(control)
    return _control(control, previous=None, sweep=_with_previous(control))


def swept(control: Control, generation: int) -> Change[Control]:
    """Record that nothing of a generation is left."""
    return _control(control, sweep=tuple(each for each in control.sweep if each != generation))


def _idle(control: Control) -> None:
    if control.building is not None:
        raise ValueError("a replay is running")


def _with_previous(control: Control) -> tuple[int, ...]:
    return control.sweep if control.previous is None else (*control.sweep, control.previous.generation)


def end_job(replay_id: str, state: str, at: str, error: Mapping[str, Any] | None = None) -> Change[Document]:
    """Record how a replay ended, unless it has ended already.

    Parameters
    ----------
    state
        ``done``, ``failed`` or ``cancelled``.
    error
        ``{"streamId", "eventId", "error"}``, as far as known.
    """
    put: Document = {"state": state, "finishedAt": at}
    if error is not None:
        put["error"] = dict(error)
    return Change(JobItem(replay_id), {"finishedAt": None}, put, (), put)
