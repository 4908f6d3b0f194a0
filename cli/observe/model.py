"""How a stack is doing, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

LIVE, BEHIND, HALTED, REPLAYING = "live", "behind", "halted", "replaying"


@dataclass(frozen=True, slots=True)
class ApiHealth:
    """Whether the API answers.

    Attributes
    ----------
    milliseconds
        How long the answer took, as seen from here.
    error
        Why there was none.
    """

    ok: bool
    milliseconds: float | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class StreamStatus:
    """One stream in one projection.

    Attributes
    ----------
    head
        The last event in the store.
    checkpoint
        The last event applied.
    lag
        Events not applied yet.
    lag_s
        Seconds since the oldest of them was stored; None where there is none, or it is not known.
    halted
        Where and why it stands: ``eventId``, ``error``, ``at``.
    replay
        What runs: ``replayId``, ``kind``, ``checkpoint``.
    skipped
        Events that an operator stepped over.
    """

    projection: str
    stream_id: str
    state: str
    head: int
    checkpoint: int
    lag: int
    lag_s: float | None = None
    halted: Mapping[str, Any] | None = None
    replay: Mapping[str, Any] | None = None
    skipped: int = 0

    @property
    def replayed_percent(self) -> int | None:
        """How much of the history a running replay has folded."""
        if self.replay is None or self.head < 0:
            return None
        return min(100, (int(self.replay["checkpoint"]) + 1) * 100 // (self.head + 1))


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """One queue; None where a number is not known.

    Attributes
    ----------
    waiting, in_flight
        Messages that wait, and that are being worked on.
    oldest_s
        Age of the oldest message.
    dead_letters
        Messages in its dead-letter or failure queue.
    """

    name: str
    waiting: int | None
    in_flight: int | None
    oldest_s: float | None
    dead_letters: int | None


@dataclass(frozen=True, slots=True)
class FunctionStatus:
    """What became of a function's invocations in the last hour; throttles are None where nobody counts them."""

    name: str
    invocations: int
    errors: int
    throttles: int | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A stack at one moment.

    Attributes
    ----------
    stack_status
        CloudFormation's word; None where it could not be asked.
    more_streams
        Projections that follow more streams than were looked at.
    functions
        None where CloudWatch could not be asked.
    unknown
        What could not be found out, and why.
    unsaved
        Why the local target can't save its data, and since when; None where it can, and on AWS.
    """

    stack_status: str | None
    api: ApiHealth
    streams: tuple[StreamStatus, ...] = ()
    more_streams: tuple[str, ...] = ()
    queues: tuple[QueueStatus, ...] = ()
    functions: tuple[FunctionStatus, ...] | None = None
    unknown: Mapping[str, str] = field(default_factory=dict)
    unsaved: str | None = None
