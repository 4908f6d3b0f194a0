"""Judging a snapshot: what is wrong, and the command that mends it."""

from __future__ import annotations

from dataclasses import dataclass
from shlex import quote as shell

from cli.observe.model import HALTED, Snapshot, StreamStatus

_SHOWN_ERROR_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Fault:
    """Something an operator has to look after.

    Attributes
    ----------
    kind
        ``api``, ``stack``, ``saving``, ``halted``, ``lag`` or ``dead-letters``.
    what
        One line.
    mend
        What to type next; empty where there is nothing to type.
    """

    kind: str
    what: str
    mend: str = ""


def faults(snapshot: Snapshot, max_lag: int) -> list[Fault]:
    """List what is degraded.

    Parameters
    ----------
    max_lag
        Events that a stream may be behind.
    """
    found = []
    if not snapshot.api.ok:
        found.append(Fault("api", f"the API does not answer: {snapshot.api.error}", "esctl doctor"))
    if snapshot.stack_status is not None and not _sound(snapshot.stack_status):
        found.append(Fault("stack", f"the stack is in {snapshot.stack_status}", "esctl deploy"))
    if snapshot.unsaved is not None:
        found.append(Fault("saving", f"the local target can't save its data: {snapshot.unsaved}", "esctl local status"))
    for stream in snapshot.streams:
        found += _of_stream(stream, max_lag)
    for queue in snapshot.queues:
        if queue.dead_letters:
            number = f"{queue.dead_letters} dead letter{'' if queue.dead_letters == 1 else 's'}"
            found.append(Fault("dead-letters", f"{number} of {queue.name}", f"esctl dead-letters list {queue.name}"))
    return found


def resume_command(stream: StreamStatus) -> str:
    """The command that tries again where a stream is halted."""
    return f"esctl projections resume {stream.projection} --stream-id {shell(stream.stream_id)}"


def _of_stream(stream: StreamStatus, max_lag: int) -> list[Fault]:
    where = f"{stream.projection}: stream {stream.stream_id}"
    if stream.state == HALTED and stream.halted is not None:
        error = str(stream.halted["error"])[:_SHOWN_ERROR_CHARACTERS]
        what = f"{where} is halted at event {stream.halted['eventId']}: {error}"
        return [Fault("halted", what, resume_command(stream))]
    if stream.lag > max_lag:
        return [Fault("lag", f"{where} is {stream.lag} events behind", "esctl tail-logs --since 10m")]
    return []


def _sound(stack_status: str) -> bool:
    """Tell whether a stack in this state works as deployed; one that is just being changed does."""
    if stack_status.endswith("_IN_PROGRESS"):
        return not stack_status.startswith(("DELETE", "ROLLBACK"))
    return stack_status in ("CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "IMPORT_COMPLETE")
