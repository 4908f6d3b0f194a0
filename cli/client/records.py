"""The records that the API's client returns, parsed from the API's documents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Self, TypeVar

from cli.terminal.text import visible
from handlers.api.route import ProjectionState

LIVE, BEHIND, HALTED = (state.value for state in (ProjectionState.LIVE, ProjectionState.BEHIND, ProjectionState.HALTED))
"""States of a stream in a projection."""

RUNNING, SWITCHING, DONE, FAILED, CANCELLED = "running", "switching", "done", "failed", "cancelled"
"""States of a replay."""

REPLAY, ROLLBACK, REWIND, STREAM_REPLAY = "replay", "rollback", "rewind", "stream"
"""Kinds of a replay."""

_KIND_WORDS = {REWIND: "replay from the middle", STREAM_REPLAY: "one-stream replay"}

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
class RowQuery:
    """Which rows of a read model to return, as `GET /projections/{name}/rows` takes it; by default all, in key order.

    Attributes
    ----------
    key
        The key of a single row.
    prefix, low, high
        The beginning of the key, or its inclusive bounds; in an index, the bounds of the attribute that sorts it.
    index, value
        The attribute of an index, and the value whose rows to return.
    after
        The position of an event (``<streamId>:<eventId>``) that must be applied before the rows are read.
    """

    key: str | None = None
    prefix: str | None = None
    low: str | None = None
    high: str | None = None
    index: str | None = None
    value: str | None = None
    descending: bool = False
    after: str | None = None

    def parameters(self) -> dict[str, object]:
        """Return the parameters of the request; None for those that are not given."""
        order = "desc" if self.descending else None
        where = {"key": self.key, "prefix": self.prefix, "from": self.low, "to": self.high}
        return {**where, "index": self.index, "value": self.value, "order": order}


@dataclass(frozen=True, slots=True)
class Listing:
    """Rows of a read model.

    Attributes
    ----------
    items
        In the order that was asked for.
    checkpoint
        The last event applied to them, or -1; None if the rows come from more than one stream.
    settled
        False if events were applied during every attempt to read the rows.
    complete
        False if more rows exist than were requested.
    """

    items: list[Row]
    checkpoint: int | None = None
    settled: bool = True
    complete: bool = True

    def document(self) -> dict[str, Any]:
        """Return the JSON form: ``items`` and ``checkpoint`` of one stream, otherwise ``rows``."""
        if self.checkpoint is None:
            return {"rows": self.items}
        document: dict[str, Any] = {"items": self.items, "checkpoint": self.checkpoint}
        return document if self.settled else {**document, "settled": False}


@dataclass(frozen=True, slots=True)
class Halt:
    """Where and why a stream is halted in a projection."""

    event_id: int
    error: str
    at: str


@dataclass(frozen=True, slots=True)
class StreamStatus:
    """One stream of one projection.

    Attributes
    ----------
    state
        ``live``, ``behind`` or ``halted``.
    head, checkpoint
        The last event in the store and the last one applied, or -1.
    lag
        Number of events not applied yet.
    generation
        The generation whose state this is: the active one.
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
    generation: int = 0
    halted: Halt | None = None
    skipped: tuple[int, ...] = ()
    lag_s: float | None = None

    @classmethod
    def of(cls, projection: str, document: Mapping[str, Any]) -> Self:
        halted = document.get("halted")
        return cls(
            projection=projection,
            stream_id=document["streamId"],
            state=document["state"],
            head=int(document["head"]),
            checkpoint=int(document["checkpoint"]),
            lag=int(document["lag"]),
            generation=int(document.get("generation", 0)),
            halted=halted and Halt(int(halted["eventId"]), str(halted["error"]), str(halted.get("at", ""))),
            skipped=tuple(int(each["eventId"]) for each in document.get("skipped", ())),
        )


@dataclass(frozen=True, slots=True)
class Building:
    """The generation that a replay builds, or that a rollback returns to."""

    generation: int
    replay_id: str
    kind: str
    fingerprint: str | None = None

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        return cls(
            int(document["generation"]), document["replayId"], str(document["kind"]), document.get("fingerprint")
        )


@dataclass(frozen=True, slots=True)
class Previous:
    """The generation that was active before, kept for a rollback, and since when."""

    generation: int
    at: str
    fingerprint: str | None = None

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        return cls(int(document["generation"]), str(document["at"]), document.get("fingerprint"))


@dataclass(frozen=True, slots=True)
class Compared:
    """The reconciler's last complete round, in which it compared the head of every stream with its checkpoint.

    Attributes
    ----------
    lagging
        Number of streams that were behind.
    lag
        The largest number of events that a stream was behind.
    worst
        The lags of up to ten streams that were furthest behind, by stream id.
    """

    started_at: str
    finished_at: str
    streams: int
    lagging: int
    lag: int
    worst: Mapping[str, int]

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        return cls(
            started_at=str(document["startedAt"]),
            finished_at=str(document["finishedAt"]),
            streams=int(document["streams"]),
            lagging=int(document["lagging"]),
            lag=int(document["lag"]),
            worst={each["streamId"]: int(each["lag"]) for each in document.get("worst", ())},
        )


@dataclass(frozen=True, slots=True)
class ProjectionStatus:
    """One projection of the deployed stack.

    Attributes
    ----------
    streams
        The halted ones first, then those that were furthest behind in the reconciler's last round, then others.
    more
        True if it has more streams than ``streams``.
    halted, more_halted
        Number of halted streams, at most 100, and whether there are more.
    follows
        The ids of the streams that it follows, or their common prefix; None: all streams.
    indexes
        Attribute to the attribute that sorts the rows with the same value, or None.
    fingerprint, generation_fingerprint
        Of the deployed code, and of the code that built the active generation; None: unknown.
    """

    name: str
    streams: tuple[StreamStatus, ...] = ()
    more: bool = False
    halted: int = 0
    more_halted: bool = False
    follows: tuple[str, ...] | str | None = None
    key_attributes: tuple[str, ...] = ()
    indexes: Mapping[str, str | None] = field(default_factory=dict)
    fingerprint: str | None = None
    generation: int = 0
    generation_fingerprint: str | None = None
    building: Building | None = None
    previous: Previous | None = None
    compared: Compared | None = None

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        name = str(document["name"])
        streams = tuple(StreamStatus.of(name, each) for each in document["streams"])
        halted = document.get("halted", {})
        building, previous, compared = (document.get(each) for each in ("building", "previous", "compared"))
        return cls(
            name=name,
            streams=streams,
            more=bool(document.get("more")),
            halted=int(halted.get("count", 0)),
            more_halted=bool(halted.get("more")),
            follows=_followed(document.get("follows")),
            key_attributes=tuple(document.get("keyAttributes", ())),
            indexes={each["attribute"]: each["sort"] for each in document.get("indexes", ())},
            fingerprint=document.get("fingerprint"),
            generation=int(document.get("generation", 0)),
            generation_fingerprint=document.get("generationFingerprint"),
            building=building and Building.of(building),
            previous=previous and Previous.of(previous),
            compared=compared and Compared.of(compared),
        )

    @property
    def is_complete(self) -> bool:
        """True if ``streams`` are all that it follows: of other than named streams, some may not be projected yet."""
        return isinstance(self.follows, tuple) and not self.more

    @property
    def halted_text(self) -> str:
        """The number of halted streams: ``3``, or ``more than 100``."""
        return f"more than {self.halted:,}" if self.more_halted else f"{self.halted:,}"

    @property
    def is_outdated(self) -> bool:
        """True if other code than the deployed built the rows, and no replay with the deployed code is running."""
        if self.building is not None and self.building.fingerprint == self.fingerprint:
            return False
        return self.generation_fingerprint not in (None, self.fingerprint)


def _followed(follows: object) -> tuple[str, ...] | str | None:
    if isinstance(follows, Mapping):
        return str(follows["prefix"])
    return tuple(map(str, follows)) if isinstance(follows, list) else None


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
    """A replay or a rollback; ``document`` is its JSON form, as `GET /replays/{replayId}` returns it."""

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
        return self.state in (DONE, FAILED, CANCELLED)

    @property
    def failed(self) -> bool:
        return self.state == FAILED

    @property
    def cancelled(self) -> bool:
        return self.state == CANCELLED

    @property
    def done(self) -> int:
        """Number of events applied so far."""
        return int(self.document["eventsDone"])

    @property
    def total(self) -> int | None:
        """Number of events to apply; None if it is unknown."""
        total = self.document.get("events")
        if total is None and self.document.get("head") is not None:  # of one stream
            total = int(self.document["head"]) + 1 - int(self.document.get("fromEventId", 0))
        # Events may have been appended since they were counted.
        return None if total is None else max(int(total), self.done)

    @property
    def segments(self) -> tuple[int, int]:
        """Number of finished segments, and of all; 0 and 0 if the history is not divided."""
        segments = self.document.get("segments") or {}
        return int(segments.get("done", 0)), int(segments.get("total", 0))

    @property
    def percent(self) -> int | None:
        """The finished part: of the events if their number is known, otherwise of the segments; None if unknown."""
        done, total = (self.done, self.total) if self.total else self.segments
        return min(100, done * 100 // total) if total else None

    @property
    def rate(self) -> float:
        """Events per second."""
        return float(self.document["eventsPerSecond"])

    @property
    def remaining_s(self) -> float | None:
        """Estimated seconds to the end; None if the rate is unknown."""
        return (self.total - self.done) / self.rate if self.total is not None and self.rate > 0 else None

    @property
    def error(self) -> str:
        """Why it failed, with the event; empty if it did not."""
        error = self.document.get("error")
        if not error:
            return ""
        where = f"event {error['eventId']}" if "eventId" in error else ""
        if "streamId" in error:
            stream = f"stream {visible(error['streamId'])}"
            where = f"{where} of {stream}" if where else stream
        return f"{where}: {error['error']}" if where else str(error["error"])


def kind_word(kind: str) -> str:
    """Return the name of a kind of job, for messages."""
    return _KIND_WORDS.get(kind, kind)
