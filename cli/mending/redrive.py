"""Redriving: doing what a dead letter stands for, and only then deleting it.

A letter is a hint, and the store is the truth: a projection's letters are not sent again (old messages among new ones),
but the projection catches up from the store. A replay's letters are sent again, for each stands for a slice to be done.
What the publisher could not announce, the reconciler finds by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from cli.mending.letters import Letter, LetterBox
from cli.observe.model import HALTED, StreamStatus
from cli.observe.resources import Queue
from cli.terminal.text import visible

LETTERS_MAX = 1000  # of one queue, in one run


class Repairs(Protocol):
    """What redriving does to the system."""

    def streams(self, projection: str | None, stream_ids: Sequence[str] | None) -> list[StreamStatus]:
        """Return where streams of a projection stand; all of them where none are named."""
        ...

    def resume(self, projection: str, stream_id: str) -> None:
        """Set a halted stream going again."""
        ...

    def reconcile(self) -> None:
        """Have everything nudged that lags."""
        ...

    def caught_up(self, projection: str | None, stream_ids: Sequence[str] | None) -> list[StreamStatus]:
        """Wait until streams are at their heads, or halted, or time is up; returns where they then stand."""
        ...

    def send_again(self, letter: Letter) -> None:
        """Send a replay's letter to the queue that it comes from."""
        ...


@dataclass(slots=True)
class Redriven:
    """What became of one queue's letters.

    Attributes
    ----------
    done
        How many were done and deleted.
    kept
        Those that stay, each with the reason.
    resumed
        Streams that were set going again.
    """

    queue: str
    done: int = 0
    kept: list[tuple[Letter, str]] = field(default_factory=list)
    resumed: list[str] = field(default_factory=list)
    halted: list[StreamStatus] = field(default_factory=list)


def plan(queue: Queue, letters: Sequence[Letter]) -> list[str]:
    """Say what redriving a queue would do, a line each."""
    if not letters:
        return []
    if queue.kind == "replays":
        return [f"send again: {letter.about}" for letter in letters if letter.replay_id is not None]
    if queue.kind == "publisher":
        return [f"compare every projection with the store, then delete {len(letters)} letters"]
    streams = dict.fromkeys(letter.stream_id for letter in letters if letter.stream_id is not None)
    lines = [f"catch up stream {visible(stream_id)} of {queue.name} from the store" for stream_id in streams]
    return [*lines, f"then delete the letters of {queue.name} that are done"]


def redrive(queue: Queue, box: LetterBox, repairs: Repairs) -> Redriven:
    """Do what a queue's letters stand for; those that are done are deleted.

    Raises
    ------
    CliError
    """
    result = Redriven(queue.name)
    letters = box.peek(LETTERS_MAX)
    if not letters:
        return result
    if queue.kind == "replays":
        return _send_again(box, repairs, result)
    if queue.kind == "publisher":
        return _reconcile(box, repairs, result)
    return _catch_up(queue.name, box, repairs, result, letters)


def _catch_up(name: str, box: LetterBox, repairs: Repairs, result: Redriven, letters: Sequence[Letter]) -> Redriven:
    named = list(dict.fromkeys(letter.stream_id for letter in letters if letter.stream_id is not None))
    before = repairs.streams(name, named)
    for stream in before:
        if stream.state == HALTED:
            repairs.resume(name, stream.stream_id)
            result.resumed.append(stream.stream_id)
    if any(stream.lag and stream.state != HALTED for stream in before):
        repairs.reconcile()
    after = {stream.stream_id: stream for stream in repairs.caught_up(name, named)}
    result.halted = [stream for stream in after.values() if stream.state == HALTED]
    result.done, kept = box.delete_where(lambda letter: not _reason(letter, after, named))
    result.kept = [(letter, _reason(letter, after, named)) for letter in kept]
    return result


def _reason(letter: Letter, streams: Mapping[str, StreamStatus], named: Sequence[str]) -> str:
    """Why a projection's letter has to stay; empty where it is done."""
    if letter.stream_id is None or letter.event_id is None:
        return "unreadable: look at it, then purge"
    if letter.stream_id not in named:
        return "came while the others were redriven: redrive again"
    stream = streams.get(letter.stream_id)
    if stream is None:  # the projection does not follow it any more
        return ""
    if stream.checkpoint >= letter.event_id or letter.event_id > stream.head:
        return ""
    if stream.state == HALTED and stream.halted is not None:
        return f"halted again at event {stream.halted['eventId']}: {stream.halted['error']}"
    return f"still {stream.lag} events behind"


def _send_again(box: LetterBox, repairs: Repairs, result: Redriven) -> Redriven:
    def done(letter: Letter) -> bool:
        if letter.replay_id is None:
            return False
        repairs.send_again(letter)  # a slice that is done twice does no harm
        return True

    result.done, kept = box.delete_where(done)
    result.kept = [(letter, "unreadable: look at it, then purge") for letter in kept]
    return result


def _reconcile(box: LetterBox, repairs: Repairs, result: Redriven) -> Redriven:
    repairs.reconcile()
    behind = [stream for stream in repairs.caught_up(None, None) if stream.lag and stream.state != HALTED]
    if behind:
        why = f"{behind[0].projection}: stream {visible(behind[0].stream_id)} is still {behind[0].lag} events behind"
        result.kept = [(letter, why) for letter in box.peek(LETTERS_MAX)]
        return result
    result.done, _ = box.delete_where(lambda letter: True)
    return result
