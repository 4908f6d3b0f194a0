"""The state of one stream in one projection: an immutable record, and its document form (what the state item holds)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from handlers.events import NO_EVENTS, StreamId

Document = dict[str, Any]

DEFAULTS: Mapping[str, int] = {"activeGeneration": 0, "checkpoint": NO_EVENTS, "nextGeneration": 1, "rewinds": 0}
"""What an attribute means while it is not there: a stream that nothing was projected of yet has no item."""


@dataclass(frozen=True, slots=True)
class Halted:
    """Where and why a stream stands (P5)."""

    event_id: int
    error: str
    at: str


@dataclass(frozen=True, slots=True)
class Previous:
    """The generation before the active one: complete up to its checkpoint, kept for a rollback."""

    generation: int
    checkpoint: int
    at: str
    fingerprint: str | None = None


@dataclass(frozen=True, slots=True)
class Chunk:
    """A stretch of history that is being written: events up to ``to``, of which ``keys_done`` rows are written.

    Rows are independent of each other, and no reader sees a generation before the switch, so a chunk may be written row
    by row; the keys' order (of first appearance in the chunk) is the same in every attempt.
    """

    to: int
    keys_done: int


@dataclass(frozen=True, slots=True)
class Replay:
    """A running replay or rollback: the generation that it builds, and how far it is."""

    replay_id: str
    generation: int
    checkpoint: int
    kind: str
    at: str
    fingerprint: str | None = None
    chunk: Chunk | None = None


@dataclass(frozen=True, slots=True)
class LastReplay:
    """How the last replay ended; written with its end, so that the job's record can be made good after a crash."""

    replay_id: str
    state: str
    checkpoint: int
    at: str
    error_event_id: int | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class StreamState:
    """The state item of a stream: where it stands in one projection (docs/rules.md).

    Attributes
    ----------
    rewinds
        How often the live checkpoint was set back (R3). Part of every condition on the checkpoint, else a warm copy from
        before a rewind could be taken for the present state once the checkpoint has come round again.
    rewound_from
        After a rewind: the checkpoint it came from. Until the catch-up is past it, rows are ahead of the checkpoint.
    fingerprint
        Of the projection code that the active generation was begun with.
    skipped
        Events stepped over by an operator: eventId (as text) to error and time.
    sweep
        Generations whose rows are to be deleted.
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
        """True while the recorded halt is the event that comes next; an older record has been overtaken."""
        return self.halted is not None and self.halted.event_id == self.checkpoint + 1

    @property
    def is_settled(self) -> bool:
        """False while a rewind's catch-up has not reached the checkpoint it came from."""
        return self.rewound_from is None or self.checkpoint >= self.rewound_from

    @classmethod
    def from_document(cls, stream_id: StreamId, document: Mapping[str, Any]) -> StreamState:
        """Read a state item's document; an empty one is a stream that nothing was projected of yet."""
        halted, previous = document.get("halted"), document.get("previous")
        replay, last = document.get("replay"), document.get("lastReplay")
        return cls(
            stream_id=stream_id,
            **{_FIELDS[name]: int(document.get(name, default)) for name, default in DEFAULTS.items()},
            rewound_from=_optional_int(document.get("rewoundFrom")),
            fingerprint=document.get("fingerprint"),
            previous=_previous(previous) if previous else None,
            replay=_replay(replay) if replay else None,
            last_replay=_last_replay(last) if last else None,
            halted=Halted(int(halted["eventId"]), halted["error"], halted["at"]) if halted else None,
            skipped=dict(document.get("skipped", {})),
            sweep=tuple(int(generation) for generation in document.get("sweep", ())),
        )


_FIELDS = {
    "activeGeneration": "active_generation",
    "checkpoint": "checkpoint",
    "nextGeneration": "next_generation",
    "rewinds": "rewinds",
}


def _optional_int(value: Any) -> int | None:
    return None if value is None else int(value)


def _previous(document: Mapping[str, Any]) -> Previous:
    return Previous(
        int(document["generation"]), int(document["checkpoint"]), document["at"], document.get("fingerprint")
    )


def _replay(document: Mapping[str, Any]) -> Replay:
    chunk = document.get("chunk")
    return Replay(
        replay_id=document["replayId"],
        generation=int(document["generation"]),
        checkpoint=int(document["checkpoint"]),
        kind=document["kind"],
        at=document["at"],
        fingerprint=document.get("fingerprint"),
        chunk=Chunk(int(chunk["to"]), int(chunk["keysDone"])) if chunk else None,
    )


def _last_replay(document: Mapping[str, Any]) -> LastReplay:
    return LastReplay(
        replay_id=document["replayId"],
        state=document["state"],
        checkpoint=int(document["checkpoint"]),
        at=document["at"],
        error_event_id=_optional_int(document.get("errorEventId")),
        error=document.get("error"),
    )


def chunk_document(chunk: Chunk | None) -> Document | None:
    """Write a chunk's document; None for none."""
    return None if chunk is None else {"to": chunk.to, "keysDone": chunk.keys_done}


def without_nones(document: Document) -> Document:
    """Leave out what is None: an absent attribute says the same."""
    return {name: value for name, value in document.items() if value is not None}
