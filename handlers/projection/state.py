"""The items that say how far a read model has come: immutable records, and the documents in which they are stored.

A document has the record's fields in camel case, without those that are None or empty.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from handlers.core.events import NO_EVENTS, StreamId
from handlers.core.messages import stream_hash

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Document = dict[str, Any]

REPLAY, ROLLBACK = "replay", "rollback"
"""Kinds of a `Building`: a new generation, built from event 0, or the previous one, continued from where it stopped."""

RUNNING, SWITCHING, DONE, FAILED, CANCELLED = "running", "switching", "done", "failed", "cancelled"
"""States of a replay job; ``switching`` from when all history is built."""

SHARDS = 16
"""The states of a generation, and the fences, are spread over this many partitions by a hash of the stream id (G3)."""

_R = TypeVar("_R", bound="DataclassInstance")


def shard_of(stream_id: str) -> int:
    """Return the shard of a stream's states and of its fence: 0 to 15."""
    return int(stream_hash(stream_id)[0], 16)


# -- items -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StateItem:
    """Names the state of one stream in one generation."""

    generation: int
    stream_id: StreamId


@dataclass(frozen=True, slots=True)
class ControlItem:
    """Names the control item of the projection."""


@dataclass(frozen=True, slots=True)
class ReconcilerItem:
    """Names the reconciler's record of where it stopped."""


@dataclass(frozen=True, slots=True)
class JobItem:
    """Names the record of a replay job."""

    replay_id: str


Item = StateItem | ControlItem | ReconcilerItem | JobItem


# -- a stream in a generation --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Halted:
    """The event at which a stream is halted, and why (P5)."""

    event_id: int
    error: str
    at: str


@dataclass(frozen=True, slots=True)
class Page:
    """A page of history that takes several commits: events up to ``to``, of which ``rows`` rows are written.

    The order of its rows (first appearance) is the same in every attempt, so another worker can continue it.
    """

    to: int
    rows: int


@dataclass(frozen=True, slots=True)
class StreamState:
    """The state of a stream in one generation of a projection.

    Attributes
    ----------
    exists
        False if there is no item yet: the first commit creates it (G3).
    checkpoint
        The last event applied in this generation.
    ahead
        The generation that this one must never overtake for this stream (G4); None: none.
    rewinds
        Number of rewinds (R3). Readers compare it, because a checkpoint may have the same value again after a rewind.
    rewound_from
        The checkpoint before a rewind. Until the catch-up passes it, rows are ahead of the checkpoint.
    skipped
        Events skipped by an operator: eventId (as text) to error and time.
    page
        While a page of history is written: some rows are ahead of the checkpoint. Only in a generation that nobody reads.
    """

    stream_id: StreamId
    generation: int
    exists: bool = False
    checkpoint: int = NO_EVENTS
    ahead: int | None = None
    rewinds: int = 0
    rewound_from: int | None = None
    halted: Halted | None = None
    skipped: Mapping[str, Document] = field(default_factory=dict)
    page: Page | None = None

    @property
    def item(self) -> StateItem:
        """The name of its item."""
        return StateItem(self.generation, self.stream_id)

    @property
    def is_halted(self) -> bool:
        """True if the recorded halt is at the next event; an earlier record is obsolete."""
        return self.halted is not None and self.halted.event_id == self.checkpoint + 1

    @property
    def is_settled(self) -> bool:
        """False while a rewind's catch-up has not reached the checkpoint it came from."""
        return self.checkpoint >= self.seen

    @property
    def seen(self) -> int:
        """The checkpoint that readers may have seen: that before a rewind, until the catch-up passes it."""
        return self.checkpoint if self.rewound_from is None else max(self.checkpoint, self.rewound_from)

    @classmethod
    def from_document(cls, item: StateItem, document: Mapping[str, Any]) -> StreamState:
        """Parse a state item's document; empty if there is no item."""
        key = {"streamId": item.stream_id, "generation": item.generation, "exists": bool(document)}
        return _record(cls, {**document, **key})

    def to_document(self) -> Document:
        """Return the state item's document without its key."""
        document = _document(self)
        for name in ("streamId", "generation", "exists"):
            del document[name]
        return document


# -- the generations of a projection -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Building:
    """The generation that a replay builds, or that a rollback returns to.

    Attributes
    ----------
    fingerprint
        Of the projection's code that folds it (G10); None: unknown.
    """

    generation: int
    replay_id: str
    kind: str
    fingerprint: str | None = None


@dataclass(frozen=True, slots=True)
class Previous:
    """The generation that was active before, kept for a rollback."""

    generation: int
    at: str
    fingerprint: str | None = None


@dataclass(frozen=True, slots=True)
class Control:
    """The control item of a projection: which generation is read, and which one is built.

    Attributes
    ----------
    exists
        False if there is no item: nothing was ever replayed, and generation 0 is active.
    fingerprint
        Of the code that folds the active generation; None: unknown.
    next_generation
        The number of the next generation; numbers are never reused.
    version
        Changes with every change of the item, and with it the fences (G3).
    sweep
        Abandoned generations whose states and rows are to be deleted (G8).
    """

    exists: bool = False
    active: int = 0
    fingerprint: str | None = None
    building: Building | None = None
    previous: Previous | None = None
    next_generation: int = 1
    version: int = 0
    sweep: tuple[int, ...] = ()

    @property
    def underway(self) -> Building:
        """The generation being built.

        Raises
        ------
        ValueError
            There is none.
        """
        if self.building is None:
            raise ValueError("no replay is running")
        return self.building

    def is_alive(self, generation: int) -> bool:
        """Tell whether rows may be written in a generation: the active one, the previous one, and the one being built."""
        others = (each.generation for each in (self.building, self.previous) if each is not None)
        return generation == self.active or generation in others

    def may_lead(self, generation: int) -> bool:
        """Tell whether a state's ``ahead`` may name a generation; otherwise that one was abandoned (G7)."""
        return generation == self.active or (self.building is not None and generation == self.building.generation)

    def fingerprint_of(self, generation: int) -> str | None:
        """Return the fingerprint of the code that folds a generation; None if it is unknown."""
        for each in (self.building, self.previous):
            if each is not None and each.generation == generation:
                return each.fingerprint
        return self.fingerprint if generation == self.active else None

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Control:
        """Parse the control item's document; empty if there is no item."""
        return _record(cls, {**document, "exists": bool(document)})

    def to_document(self) -> Document:
        """Return the control item's document without its key."""
        document = _document(self)
        del document["exists"]
        return document


# -- documents -----------------------------------------------------------------------------------------------------------

_RECORDS: Mapping[str, type[Any]] = {"halted": Halted, "page": Page, "building": Building, "previous": Previous}


@cache
def attribute(field_name: str) -> str:
    """Return the attribute name of a field: ``nextGeneration`` for ``next_generation``."""
    first, *others = field_name.split("_")
    return first + "".join(map(str.capitalize, others))


def value_at(document: Document, path: str) -> Any:
    """Return the value at a path (``halted.eventId``); None if there is none."""
    value: Any = document
    for name in path.split("."):
        if not isinstance(value, dict) or name not in value:
            return None
        value = value[name]
    return value


def _document(record: Any) -> Document:
    """Return a record's document without values that are None or empty."""
    found = ((name, _value(getattr(record, field))) for field, name in _attributes(record.__class__))
    return {name: value for name, value in found if value is not None}


@cache
def _attributes(cls: type[Any]) -> Sequence[tuple[str, str]]:
    """Return the names of a record's fields and of their attributes."""
    return [(each.name, attribute(each.name)) for each in fields(cls)]


def _value(value: Any) -> Any:
    if value is None or isinstance(value, int | str):
        return value
    if isinstance(value, tuple):
        return list(value) or None
    if isinstance(value, Mapping):
        return dict(value) or None
    return _document(value) if is_dataclass(value) else value


def _record(cls: type[_R], document: Document) -> _R:
    """Parse a record; missing fields have their defaults."""
    values = {}
    for name, attribute_name in _attributes(cls):
        if attribute_name in document:
            value = document[attribute_name]
            if name in _RECORDS:
                value = _record(_RECORDS[name], value)
            values[name] = tuple(value) if isinstance(value, list) else value
    return cls(**values)
