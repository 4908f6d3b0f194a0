"""The records that the API's client returns, parsed from the API's documents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar

from handlers.api.route import ProjectionState
from handlers.replay.jobs import DONE, FAILED, REPLAY, REWIND, ROLLBACK

LIVE, BEHIND, HALTED, REPLAYING = (state.value for state in ProjectionState)

_KIND_WORDS = {REPLAY: "replay", ROLLBACK: "rollback", REWIND: "replay from the middle"}

Event = Mapping[str, Any]
"""An event as the API returns it: streamId, eventId, type, data, timeStamp, schemaVersion, optionally metadata."""

Row = Mapping[str, Any]
"""A row of a read model with its key attribute; numbers keep every digit."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A page of a list; ``next_token`` is None on the last one."""

    items: list[T]
    next_token: str | None


@dataclass(frozen=True, slots=True)
class Listing:
    """Rows of a read model.

    Attributes
    ----------
    items
        In the order of their keys.
    checkpoint
        The last event applied to them, or -1.
    settled
        False if events were applied during every attempt to read the rows.
    complete
        False if more rows exist than were requested.
    """

    items: list[Row]
    checkpoint: int
    settled: bool = True
    complete: bool = True

    def document(self) -> dict[str, Any]:
        """Return the JSON form, as `GET /list<Name>` returns it."""
        document: dict[str, Any] = {"items": self.items, "checkpoint": self.checkpoint}
        return document if self.settled else {**document, "settled": False}


@dataclass(frozen=True, slots=True)
class Halt:
    """Where and why a stream is halted in a projection."""

    event_id: int
    error: str
    at: str


@dataclass(frozen=True, slots=True)
class RunningReplay:
    """A job that is rebuilding one stream of a projection, and the generation and checkpoint that it has built."""

    replay_id: str
    kind: str
    generation: int
    checkpoint: int

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        generation, checkpoint = int(document["generation"]), int(document["checkpoint"])
        return cls(document["replayId"], str(document["kind"]), generation, checkpoint)


@dataclass(frozen=True, slots=True)
class StreamStatus:
    """One stream of one projection.

    Attributes
    ----------
    state
        ``live``, ``behind``, ``halted`` or ``replaying``.
    head, checkpoint
        The last event in the store and the last one applied, or -1.
    lag
        Number of events not applied yet.
    fingerprint
        Of the code that built the rows; None if nothing was projected yet.
    skipped
        Ids of the events that an operator skipped.
    lag_s
        Age in seconds of the oldest event not applied yet; None if not measured (see `cli.operate.status`).
    """

    projection: str
    stream_id: str
    state: str
    head: int
    checkpoint: int
    lag: int
    fingerprint: str | None = None
    halted: Halt | None = None
    replay: RunningReplay | None = None
    skipped: tuple[int, ...] = ()
    lag_s: float | None = None

    @classmethod
    def of(cls, projection: str, document: Mapping[str, Any]) -> Self:
        halted, replay = document.get("halted"), document.get("replay")
        return cls(
            projection=projection,
            stream_id=document["streamId"],
            state=document["state"],
            head=int(document["head"]),
            checkpoint=int(document["checkpoint"]),
            lag=int(document["lag"]),
            fingerprint=document.get("fingerprint"),
            halted=halted and Halt(int(halted["eventId"]), str(halted["error"]), str(halted.get("at", ""))),
            replay=replay and RunningReplay.of(replay),
            skipped=tuple(int(each["eventId"]) for each in document.get("skipped", ())),
        )

    @property
    def replayed_percent(self) -> int | None:
        """The percentage of the history that a running replay has folded."""
        if self.replay is None or self.head < 0:
            return None
        return min(100, (self.replay.checkpoint + 1) * 100 // (self.head + 1))


@dataclass(frozen=True, slots=True)
class ProjectionStatus:
    """One projection of the deployed stack; ``more`` if it follows more streams than are listed."""

    name: str
    streams: tuple[StreamStatus, ...]
    more: bool = False

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        name = str(document["name"])
        streams = tuple(StreamStatus.of(name, each) for each in document["streams"])
        return cls(name, streams, bool(document.get("more")))


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """The position of an event, as `resume` and `skip` return it."""

    stream_id: str
    event_id: int

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        return cls(document["streamId"], int(document["eventId"]))


@dataclass(frozen=True, slots=True)
class ReplayJob:
    """A replay, a rollback or a rewind; ``document`` is its JSON form, as `GET /replays/{replayId}` returns it."""

    document: Mapping[str, Any]

    @property
    def replay_id(self) -> str:
        return str(self.document["replayId"])

    @property
    def projection(self) -> str:
        return str(self.document["projection"])

    @property
    def kind(self) -> str:
        return str(self.document["kind"])

    @property
    def word(self) -> str:
        """The kind in words."""
        return kind_word(self.kind)

    @property
    def state(self) -> str:
        return str(self.document["state"])

    @property
    def ended(self) -> bool:
        return self.state in (DONE, FAILED)

    @property
    def failed(self) -> bool:
        return self.state == FAILED

    @property
    def done(self) -> int:
        """Number of events applied so far."""
        return int(self.document["eventsDone"])

    @property
    def total(self) -> int:
        """Number of events to apply, over all streams."""
        streams = self.document.get("streams")
        if streams is None:
            return int(self.document["head"]) + 1
        return sum(int(each["head"]) + 1 - int(each["firstEventId"]) for each in streams)

    @property
    def rate(self) -> float:
        """Events per second."""
        return float(self.document["eventsPerSecond"])

    @property
    def remaining_s(self) -> float | None:
        """Estimated seconds to the end; None if the rate is unknown."""
        return max(0, self.total - self.done) / self.rate if self.rate > 0 else None

    @property
    def error(self) -> str:
        """Why it failed, with the event; empty if it did not."""
        error = self.document.get("error")
        if not error:
            return ""
        where = f"event {error['eventId']}: " if "eventId" in error else ""
        return f"{where}{error['error']}"


def kind_word(kind: str) -> str:
    """Return the name of a kind of job, for messages."""
    return _KIND_WORDS.get(kind, kind)
