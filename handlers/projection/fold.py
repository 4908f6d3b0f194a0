"""Folding events into rows: pure, and the same for live events, replays, time travel and dry runs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from handlers import catalogue
from handlers.core.errors import HandlerFailedError
from handlers.core.events import Event
from handlers.projection.definition import ProjectedEvent, Projection
from handlers.projection.keys import UnstorableError, utf8_size
from handlers.projection.port import MAX_COMMIT_BYTES, MAX_COMMIT_ROWS, IndexEntry, Row
from handlers.projection.rows import check_row

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
        The rows of the events, by encoded key; None for a deleted row.
    sizes
        The size of each changed row in bytes, by key.
    size
        Their sum.
    applied
        Number of events passed to a handler.
    skipped
        Events (as text) whose handler raised, and that were left out because an operator had skipped them.
    failure
        The error of the event after ``checkpoint`` if its handler raised.
    """

    checkpoint: int
    changed: dict[str, Row | None] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    size: int = 0
    applied: int = 0
    skipped: list[str] = field(default_factory=list)
    failure: HandlerFailedError | None = None


class Prepared:
    """An event for a fold: parsed and upcast once, when its keys or data are first needed.

    Attributes
    ----------
    failure
        Why its keys cannot be told, once `keys` has been read: no JSON, a failing upcaster, no valid key.
    """

    __slots__ = ("_event", "_keys", "_projection", "event", "failure")

    def __init__(self, projection: Projection, event: Event) -> None:
        self.event = event
        self.failure: Exception | None = None
        self._projection = projection
        self._event: ProjectedEvent | None = None
        self._keys: Sequence[str] | None = None

    @property
    def keys(self) -> Sequence[str]:
        """The encoded keys of the event's rows; empty if there are none, or if they cannot be told."""
        if self._keys is None:
            self._keys = ()
            if self._projection.handles(self.event.type):
                try:
                    event = _parsed(self._projection, self.event)
                    self._keys = self._projection.keys_of(event)
                    if not self._projection.computes_keys:
                        self._event = event
                except Exception as error:  # noqa: BLE001 - applying the event reports it (P5)
                    self.failure = error
        return self._keys

    def take(self) -> ProjectedEvent:
        """Return the event for one call of a handler, which may modify its data; a second call parses again."""
        event, self._event = self._event, None
        return _parsed(self._projection, self.event) if event is None else event


def prepare(projection: Projection, events: Iterable[Event]) -> list[Prepared]:
    """Prepare events for `keys_of` and `fold`."""
    return [Prepared(projection, event) for event in events]


def keys_of(events: Iterable[Prepared], limit: int = MAX_COMMIT_ROWS) -> list[str]:
    """Return the keys of the leading events' rows, at most ``limit`` different ones, in order of first appearance.

    At least those of the first event that has any, so that a fold of these rows gets past it.
    """
    keys: dict[str, None] = {}
    for event in events:
        new = [key for key in event.keys if key not in keys]
        if keys and len(keys) + len(new) > limit:
            break
        keys.update(dict.fromkeys(new))
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

    Stops before an event one of whose rows is not in ``rows`` (the caller decides how many rows a commit has), before one
    that would make the changed rows larger than ``max_bytes``, and before one whose handler raises.

    Parameters
    ----------
    events
        Contiguous, starting at ``checkpoint + 1``.
    rows
        The current rows by encoded key; None for those that do not exist. Not modified.
    skipped
        eventIds (as text) that an operator skipped: if their handler still raises, they change nothing.
    """
    folded = Folded(checkpoint)
    for prepared in events:
        event = prepared.event
        if projection.handles(event.type):
            try:
                if not _apply(projection, prepared, rows, folded, max_bytes):
                    return folded
            except HandlerFailedError as failure:
                if str(event.event_id) not in skipped:
                    folded.failure = failure
                    return folded
                folded.skipped.append(str(event.event_id))
        folded.checkpoint = event.event_id
    return folded


def _apply(
    projection: Projection, prepared: Prepared, rows: Mapping[str, Row | None], folded: Folded, max_bytes: int
) -> bool:
    """Apply an event to all its rows, or to none; False if the commit has no room for it."""
    event, changed, sizes = prepared.event, folded.changed, folded.sizes
    keys = prepared.keys
    for key in keys:
        if key not in changed and key not in rows:
            return False
    results: list[tuple[str, Row | None, int]] = []
    grown = folded.size
    try:
        if prepared.failure is not None:
            raise prepared.failure
        for key in keys:
            before = changed[key] if key in changed else rows[key]
            row = projection.call(event.type, None if before is None else _view(before), prepared.take(), key)
            size = 0
            if row is not None:
                size = check_row(row, projection)
                row = dict(row)
                if projection.indexes:
                    size += _entries_size(projection.index_entries(key, row))
            results.append((key, row, size))
            grown += size - sizes.get(key, 0)
        if grown > max_bytes and not changed:
            raise UnstorableError(f"the event's rows have {grown:,} bytes together; the limit is {max_bytes:,}")
    except Exception as error:
        raise HandlerFailedError(event.event_id, event.type, _describe(error)) from error
    if grown > max_bytes:
        return False
    for key, row, size in results:
        changed[key] = row
        sizes[key] = size
    folded.size = grown
    folded.applied += bool(keys)
    return True


def _view(row: Row) -> Row:
    """Return a row as handlers receive it.

    It is read-only: a handler that modifies it in place and returns nothing would delete it, so it fails instead. What is
    nested in it is a copy, because the row may be a warm copy of a stored one. A whole Decimal is an int, and a tuple a
    list, as if the row had been read: whether it is warm must not change what a handler does.
    """
    for value in row.values():
        if not isinstance(value, _UNCHANGED):
            return MappingProxyType({name: _as_read(value) for name, value in row.items()})
    return MappingProxyType(row)


_UNCHANGED = (str, int, type(None))


def _as_read(value: Any) -> Any:
    if isinstance(value, _UNCHANGED):
        return value
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else value
    if isinstance(value, Mapping):
        return {name: _as_read(each) for name, each in value.items()}
    return [_as_read(each) for each in value]


def _entries_size(entries: Sequence[IndexEntry]) -> int:
    """Return the size of a row's index keys: they count in a transaction's size."""
    return sum(utf8_size(entry.value) + utf8_size(entry.sort) for entry in entries)


def _parsed(projection: Projection, event: Event) -> ProjectedEvent:
    data = catalogue.upcast(event.type, event.schema_version, event.payload(), projection.upcasters)
    if not isinstance(data, dict):
        raise UnstorableError("the event's data is not a JSON object")
    return ProjectedEvent(event, data)


def _describe(error: Exception) -> str:
    """Return what is recorded of an error: text that can be stored, whatever it quotes."""
    name = type(error).__name__
    try:
        text = str(error) if isinstance(error, UnstorableError) else f"{name}: {error}"
    except Exception:  # noqa: BLE001 - an error of the domain that cannot even be shown must not block the queue
        text = name
    text = text.encode(errors="replace").decode()
    return text if len(text) <= MAX_ERROR_CHARACTERS else text[: MAX_ERROR_CHARACTERS - 1] + "…"
