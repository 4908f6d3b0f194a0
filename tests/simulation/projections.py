"""Two projections over the same streams, each in two versions of its code, and what they must lead to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from handlers.core.events import Event, StreamId
from handlers.projection import Projection
from handlers.projection.definition import ProjectedEvent, stream_id
from handlers.projection.keys import encode_key

# Keeps numbers small. Neither factor divides it, so an event that is lost, doubled or out of order always shows.
MODULUS = 1_000_003
FACTORS = {1: 3, 2: 5}
"""Version of the code to the factor by which it differs."""

Part = dict[str, Any]
"""What one stream has contributed to a row: ``at``, its last event there, and a value."""

Parts = dict[str, Part]
"""Encoded row key to the part of one stream."""


class Versioned(Projection):
    """A projection whose fingerprint is its version."""

    version = 1

    def fingerprint(self) -> str:
        return f"v{self.version}"


def version_of(fingerprint: str | None) -> int:
    """Return the version of the code with a fingerprint; the first one if it is unknown."""
    return 1 if fingerprint is None else int(fingerprint[1:])


def tally(version: int, streams: Sequence[str] | None) -> Projection:
    """A fold that shows every event which is lost, doubled or out of order; several streams write each row."""
    projection = Versioned("tally", key=lambda event: event["keys"], streams=streams)
    projection.version = version

    @projection.on("COUNTED")
    def counted(row: Any, event: ProjectedEvent) -> Any:
        part = (row or {}).get(event.stream_id, {"n": 0})
        return _with_part(row, event, (part["n"] * FACTORS[version] + event["v"]) % MODULUS)

    @projection.on("CHECKED")
    def checked(row: Any, event: ProjectedEvent) -> Any:
        return _with_part(row, event, (row[event.stream_id]["n"] * FACTORS[version] + 1) % MODULUS)

    @projection.on("CLEARED")
    def cleared(row: Any, event: ProjectedEvent) -> Any:
        return {each: part for each, part in (row or {}).items() if each != event.stream_id} or None

    _keep_and_break(projection, version, counted)
    return projection


def _keep_and_break(projection: Projection, version: int, counted: Callable[..., Any]) -> None:
    """Add the handlers of KEPT, which changes nothing, and BROKEN, which raises until version 2 counts it."""

    @projection.on("KEPT")
    def kept(row: Any, event: ProjectedEvent) -> Any:
        return row

    @projection.on("BROKEN")
    def broken(row: Any, event: ProjectedEvent) -> Any:
        if version == 1:
            raise RuntimeError("fixed in version 2")
        return counted(row, event)


def _with_part(row: Any, event: ProjectedEvent, n: int) -> Any:
    return {**(row or {}), event.stream_id: {"at": event.event_id, "n": n}}


def latest(version: int, streams: Sequence[str] | None) -> Projection:
    """A fold that may be applied again from the middle (R3); each row comes from one stream."""
    key = {"streamId": stream_id, "k": lambda event: event["keys"]}
    projection = Versioned("latest", key=key, streams=streams, idempotent=True)
    projection.version = version

    @projection.on("COUNTED")
    def counted(row: Any, event: ProjectedEvent) -> Any:
        return {"at": event.event_id, "n": event["v"] * FACTORS[version]}

    @projection.on("CHECKED")
    def checked(row: Any, event: ProjectedEvent) -> Any:
        return {"at": event.event_id, "n": 1}

    @projection.on("CLEARED")
    def cleared(row: Any, event: ProjectedEvent) -> None:
        return None

    _keep_and_break(projection, version, counted)
    return projection


MAKE: Mapping[str, Callable[[int, Sequence[str] | None], Projection]] = {"tally": tally, "latest": latest}


def raises(event: Event, version: int) -> bool:
    """Tell whether a version's handler raises for an event."""
    return event.type == "BROKEN" and version == 1


# -- the same folds once more, with nothing of the code under test -------------------------------------------------------


class Expected:
    """The parts of each stream at each of its events, by projection and version."""

    def __init__(self, events_of: Callable[[StreamId], Sequence[Event]]) -> None:
        self._events_of = events_of
        self._prefixes: dict[tuple[str, int, StreamId], list[Parts]] = {}

    def parts(self, name: str, version: int, stream: StreamId, checkpoint: int) -> Parts:
        """Return what the stream's events up to a checkpoint have contributed to rows."""
        prefixes = self._prefixes.setdefault((name, version, stream), [{}])
        for event in self._events_of(stream)[len(prefixes) - 1 : checkpoint + 1]:
            prefixes.append(_after(name, version, prefixes[-1], event))
        return prefixes[checkpoint + 1]

    def rows(self, name: str, version: int, heads: Mapping[StreamId, int]) -> dict[str, Any]:
        """Return all rows at the streams' heads."""
        rows: dict[str, Any] = {}
        for stream, head in heads.items():
            for key, part in self.parts(name, version, stream, head).items():
                if name == "tally":
                    rows.setdefault(key, {})[stream] = part
                else:
                    rows[key] = part
        return rows


def parts_in(name: str, rows: Mapping[str, Any], stream: StreamId) -> Parts:
    """Return the parts of one stream in rows that were read."""
    if name == "tally":
        return {key: row[stream] for key, row in rows.items() if stream in row}
    return {key: dict(row) for key, row in rows.items() if key.startswith(f"{stream}\x00")}


def _after(name: str, version: int, before: Parts, event: Event) -> Parts:
    if event.type in ("NOTED", "KEPT") or raises(event, version):
        return before
    data, after = event.payload(), dict(before)
    for each in data["keys"]:
        key = each if name == "tally" else encode_key((event.stream_id, each))
        if event.type == "CLEARED":
            after.pop(key, None)
        elif event.type == "CHECKED":
            n = (before[key]["n"] * FACTORS[version] + 1) % MODULUS if name == "tally" else 1
            after[key] = {"at": event.event_id, "n": n}
        else:
            old = before[key]["n"] * FACTORS[version] if key in before else 0
            n = (old + data["v"]) % MODULUS if name == "tally" else data["v"] * FACTORS[version]
            after[key] = {"at": event.event_id, "n": n}
    return after
