"""The state of one stream in one projection: an immutable record, and the document in its state item.

A document has the record's fields in camel case, without those that are None or empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from handlers.core.events import NO_EVENTS, StreamId

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Document = dict[str, Any]

REPLAY, ROLLBACK = "replay", "rollback"
"""Kinds of a `Replay`: building a new generation, or returning to the previous one."""

DONE, FAILED = "done", "failed"
"""States of a `LastReplay`."""

_R = TypeVar("_R", bound="DataclassInstance")


@dataclass(frozen=True, slots=True)
class Halted:
    """The event at which a stream is halted, and why (P5)."""

    event_id: int
    error: str
    at: str


@dataclass(frozen=True, slots=True)
class Previous:
    """The previous generation: complete up to its checkpoint, kept for a rollback."""

    generation: int
    checkpoint: int
    at: str
    fingerprint: str | None = None


@dataclass(frozen=True, slots=True)
class Chunk:
    """The page of history being written: events up to ``to``, of which ``keys_done`` rows are written.

    Rows are independent and no reader sees a generation before the switch, so a page may be written row by row. The order
    of its keys (first appearance) is the same in every attempt.
    """

    to: int
    keys_done: int


@dataclass(frozen=True, slots=True)
class Replay:
    """A running replay or rollback: the generation that it builds, and its progress."""

    replay_id: str
    generation: int
    checkpoint: int
    kind: str
    at: str
    fingerprint: str | None = None
    chunk: Chunk | None = None


@dataclass(frozen=True, slots=True)
class LastReplay:
    """How the last replay ended; recorded with its end, so that its job can be updated after a crash."""

    replay_id: str
    state: str
    checkpoint: int
    at: str
    error_event_id: int | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class StreamState:
    """The state item of a stream in one projection (docs/rules.md).

    Attributes
    ----------
    rewinds
        Number of rewinds (R3). Part of every condition on the checkpoint: a warm copy from before a rewind must not match
        once the checkpoint has the same value again (ABA).
    rewound_from
        The checkpoint before a rewind. Until the catch-up passes it, rows are ahead of the checkpoint.
    fingerprint
        Of the projection code with which the active generation was started.
    skipped
        Events skipped by an operator: eventId (as text) to error and time.
    sweep
        Generations whose rows must be deleted.
    """

    stream_id: StreamId
    active_generation: int = 0
    checkpoint: int = NO_EVENTS
    next_generation: int = 1
    rewinds: int = 0
    rewound_from: int | None = None
    fingerprint: str | None = None
    previous: Previous | None = None
    replay: Replay | None = None
    last_replay: LastReplay | None = None
    halted: Halted | None = None
    skipped: Mapping[str, Document] = field(default_factory=dict)
    sweep: tuple[int, ...] = ()

    @property
    def is_halted(self) -> bool:
        """True if the recorded halt is at the next event; an earlier record is obsolete."""
        return self.halted is not None and self.halted.event_id == self.checkpoint + 1

    @property
    def is_settled(self) -> bool:
        """False while a rewind's catch-up has not reached the checkpoint it came from."""
        return self.rewound_from is None or self.checkpoint >= self.rewound_from

    @classmethod
    def from_document(cls, stream_id: StreamId, document: Mapping[str, Any]) -> StreamState:
        """Parse a state item's document; empty for a stream without a state item."""
        return _record(cls, {**document, "streamId": stream_id})

    def to_document(self) -> Document:
        """Return the state item's document without its key."""
        document = _document(self)
        del document["streamId"]
        return document


_RECORDS: Mapping[str, type[Any]] = {
    "halted": Halted,
    "previous": Previous,
    "replay": Replay,
    "last_replay": LastReplay,
    "chunk": Chunk,
}


def attribute(field_name: str) -> str:
    """Return the attribute name of a field: ``activeGeneration`` for ``active_generation``."""
    first, *others = field_name.split("_")
    return first + "".join(map(str.capitalize, others))


def value_at(document: Document, path: str) -> Any:
    """Return the value at a path (``replay.checkpoint``), or its default; None if there is neither."""
    value: Any = document
    for name in path.split("."):
        if not isinstance(value, dict) or name not in value:
            return DEFAULTS.get(path)
        value = value[name]
    return value


def _document(record: Any) -> Document:
    """Return a record's document without values that are None or empty."""
    found = {attribute(each.name): _value(getattr(record, each.name)) for each in fields(record)}
    return {name: value for name, value in found.items() if value is not None}


def _value(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value) or None
    if isinstance(value, Mapping):
        return dict(value) or None
    return _document(value) if is_dataclass(value) else value


def _record(cls: type[_R], document: Document) -> _R:
    """Parse a record; missing fields have their defaults."""
    values = {}
    for name in (each.name for each in fields(cls)):
        if attribute(name) in document:
            value = document[attribute(name)]
            if name in _RECORDS:
                value = _record(_RECORDS[name], value)
            values[name] = tuple(value) if isinstance(value, list) else value
    return cls(**values)


DEFAULTS: Mapping[str, int] = {
    attribute(each.name): each.default for each in fields(StreamState) if isinstance(each.default, int)
}
"""The values of absent attributes: a stream of which nothing was projected has no item."""
