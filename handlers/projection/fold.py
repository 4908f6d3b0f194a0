"""Folding events into rows: pure, and the same for live events, replays, time travel and dry runs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from handlers import catalogue
from handlers.core.errors import HandlerFailedError
from handlers.core.events import Event
from handlers.projection.definition import PARTITION_ATTRIBUTE, Projection, Row
from handlers.projection.port import MAX_COMMIT_BYTES, MAX_COMMIT_ROWS
from handlers.projection.rows import UnstorableError, check_key, check_row

# An exception may quote the event's data (up to 400 KB), but the state item, which records halts and skips, holds 400 KB.
MAX_ERROR_CHARACTERS = 500


@dataclass(slots=True)
class Folded:
    """The result of a fold.

    Attributes
    ----------
    checkpoint
        The last folded event.
    changed
        The rows of the events, by key; None for a deleted row.
    sizes
        The size of each changed row in bytes, by key.
    applied
        Number of events passed to a handler.
    failure
        The error of the event after ``checkpoint`` if its handler raised.
    """

    checkpoint: int
    changed: dict[str, Row | None] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    applied: int = 0
    failure: HandlerFailedError | None = None


class Prepared:
    """An event for a fold: parsed and upcast once, when its key or data is first needed."""

    __slots__ = ("_data", "_key", "_parsed", "_projection", "event")

    def __init__(self, projection: Projection, event: Event) -> None:
        self.event = event
        self._projection = projection
        self._parsed = False
        self._key: str | None = None
        self._data: Any = None

    @property
    def key(self) -> str | None:
        """The key of the event's row; None if the projection does not handle the event or it has no valid key."""
        if not self._parsed:
            self._parsed = True
            if self._projection.handles(self.event.type):
                try:
                    data = _data(self.event)
                    self._key, self._data = _key(self._projection, data), data
                except Exception:  # noqa: BLE001 - no JSON, a failing upcaster, no key: applying the event reports it (P5)
                    return None
        return self._key

    def take(self) -> Any:
        """Return the data for one call of a handler, which may modify it; a second call parses again."""
        data, self._data = self._data, None
        return _data(self.event) if data is None else data


def prepare(projection: Projection, events: Iterable[Event]) -> list[Prepared]:
    """Prepare events for `keys_of` and `fold`."""
    return [Prepared(projection, event) for event in events]


def keys_of(events: Iterable[Prepared], limit: int = MAX_COMMIT_ROWS) -> list[str]:
    """Return the keys of the events' first ``limit`` different rows, in order of first appearance."""
    keys: dict[str, None] = {}
    for event in events:
        key = event.key
        if key is not None and key not in keys:
            if len(keys) == limit:
                break
            keys[key] = None
    return list(keys)


def fold(
    projection: Projection,
    events: Sequence[Prepared],
    rows: Mapping[str, Row | None],
    checkpoint: int,
    *,
    skipped: Collection[str] = (),
    max_bytes: int = MAX_COMMIT_BYTES,
) -> Folded:
    """Apply events, in order, to their rows.

    Stops before an event whose row is not in ``rows`` (the caller decides how many rows a commit has), before one that
    would make the changed rows larger than ``max_bytes``, and before one whose handler raises.

    Parameters
    ----------
    events
        Contiguous, starting at ``checkpoint + 1``.
    rows
        The current rows; None for those that do not exist. Not modified.
    skipped
        eventIds (as text) that an operator skipped: if their handler still raises, they change nothing.
    """
    folded = Folded(checkpoint)
    total = 0
    for prepared in events:
        event = prepared.event
        if projection.handles(event.type):
            try:
                key, row, size = _apply(projection, prepared, rows, folded.changed)
            except HandlerFailedError as failure:
                if str(event.event_id) not in skipped:
                    folded.failure = failure
                    return folded
            except _NotLoadedError:
                return folded
            else:
                grown = total + size - folded.sizes.get(key, 0)
                if folded.changed and grown > max_bytes:
                    return folded
                total = grown
                folded.changed[key] = row
                folded.sizes[key] = size
                folded.applied += 1
        folded.checkpoint = event.event_id
    return folded


def fold_all(
    projection: Projection, events: Iterable[Event], rows: MutableMapping[str, Row], *, skipped: Collection[str] = ()
) -> int:
    """Apply all events to rows in memory, for time travel and dry runs; returns the last eventId (-1 if none).

    Raises
    ------
    HandlerFailedError
        A handler raised; ``rows`` reflect the events before.
    """
    checkpoint = -1
    everything = _Everything(rows)
    for event in events:
        if projection.handles(event.type):
            try:
                key, row, _ = _apply(projection, Prepared(projection, event), everything, {})
            except HandlerFailedError:
                if str(event.event_id) not in skipped:
                    raise
            else:
                if row is None:
                    rows.pop(key, None)
                else:
                    rows[key] = row
        checkpoint = event.event_id
    return checkpoint


class _NotLoadedError(Exception):
    """The event's row was not loaded."""


class _Everything(Mapping[str, Any]):
    """All rows: a missing one does not exist."""

    def __init__(self, rows: Mapping[str, Row]) -> None:
        self._rows = rows

    def __getitem__(self, key: str) -> Row | None:
        return self._rows.get(key)

    def __contains__(self, key: object) -> bool:
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)


def _apply(
    projection: Projection, prepared: Prepared, rows: Mapping[str, Row | None], changed: Mapping[str, Row | None]
) -> tuple[str, Row | None, int]:
    event, key = prepared.event, prepared.key
    if key is not None and key not in changed and key not in rows:
        raise _NotLoadedError
    try:
        data = prepared.take()
        if key is None:
            key = _key(projection, data)  # raises with the reason
        before = changed[key] if key in changed else rows[key]
        # Read-only: a handler that modifies its row in place fails here instead of corrupting a warm copy.
        row = projection.handlers[event.type](None if before is None else MappingProxyType(before), data)
        size = check_row(row, (PARTITION_ATTRIBUTE, projection.key)) if row is not None else 0
    except Exception as error:
        raise HandlerFailedError(event.event_id, event.type, _describe(error)) from error
    return key, None if row is None else dict(row), size


def _data(event: Event) -> Any:
    return catalogue.upcast(event.type, event.schema_version, event.payload())


def _key(projection: Projection, data: Any) -> str:
    return check_key(data.get(projection.key) if isinstance(data, dict) else None)


def _describe(error: Exception) -> str:
    text = str(error) if isinstance(error, UnstorableError) else f"{type(error).__name__}: {error}"
    return text if len(text) <= MAX_ERROR_CHARACTERS else text[: MAX_ERROR_CHARACTERS - 1] + "…"
