"""The port of a projection's storage: rows, states of streams, and the control item."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from handlers.core.dynamodb import TRANSACTION_ITEMS
from handlers.core.errors import ContendedError
from handlers.core.events import StreamId
from handlers.projection.state import Control, ControlItem, Document, Item, StateItem, StreamState, shard_of

Row = Mapping[str, Any]

# Two of a transaction's items are the state and, at a birth, the fence (G3).
MAX_COMMIT_ROWS = TRANSACTION_ITEMS - 2
# Of a transaction's 4 MB; the rest is for states and attribute names.
MAX_COMMIT_BYTES = 3_500_000
INDEX_SLOTS = 5
"""Number of indexes that a projection may declare: each takes one of the rows table's index slots."""

MAX_LOST_RACES = 20
"""The loser of a race reads again. Losing more often in one call means that something else is wrong."""

T = TypeVar("T")


class OutdatedError(ContendedError):
    """A commit does not match what is stored: nothing was written; read again and retry (G2).

    Attributes
    ----------
    items
        The changed items. Empty, like ``keys``, if it is not known what has changed.
    keys
        Keys of the changed rows.
    """

    def __init__(self, message: str, items: Collection[Item] = (), keys: Collection[str] = ()) -> None:
        super().__init__(message)
        self.items = frozenset(items)
        self.keys = frozenset(keys)


@dataclass(frozen=True, slots=True)
class Change(Generic[T]):
    """A conditional change of one item.

    Attributes
    ----------
    expect
        Path (``building.generation``) to its required value; None: it must be absent.
    put
        Path to its new value.
    remove
        Paths to remove if they exist.
    after
        The resulting record. Values that the change neither expects nor sets are those of the record it was made for.
    """

    item: Item
    expect: Mapping[str, Any]
    put: Mapping[str, Any]
    remove: tuple[str, ...]
    after: T

    @property
    def is_birth(self) -> bool:
        """True if it creates a stream's state (G3)."""
        return "checkpoint" in self.expect and self.expect["checkpoint"] is None


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """A row's place in an index: the slot (from 1), the encoded value, and the encoded sort value."""

    slot: int
    value: str
    sort: str


@dataclass(frozen=True, slots=True)
class StoredRow:
    """A row as it was read: ``version`` is different after every write."""

    version: str
    row: Row


@dataclass(frozen=True, slots=True)
class RowChange:
    """A change of one row, or only a check that it has not changed.

    Attributes
    ----------
    key
        The encoded key (`handlers.projection.keys`).
    before
        The version that was read; None: there must be no row.
    row
        The new row, without its key; None deletes it. Ignored unless ``write``.
    version
        The new version, which nothing else has.
    entries
        The new row's places in the indexes.
    """

    key: str
    before: str | None
    write: bool = False
    row: Row | None = None
    version: str = ""
    entries: tuple[IndexEntry, ...] = ()


@dataclass(frozen=True, slots=True)
class Commit:
    """Changes that take effect together or not at all (G1).

    Attributes
    ----------
    rows
        Of the generation ``generation``.
    born_at
        The control item's version that births rely on: the fence of the first stream whose state is created must have
        it (G3). None if there are no births.
    fences
        The new version of all fences, together with a change of the control item; None: unchanged.
    """

    changes: tuple[Change[Any], ...] = ()
    rows: tuple[RowChange, ...] = ()
    generation: int = 0
    born_at: int | None = None
    fences: int | None = None

    @classmethod
    def of_control(
        cls, control: Change[Control], *others: Change[Any], rows: tuple[RowChange, ...] = (), generation: int = 0
    ) -> Commit:
        """Return the commit of a new version of the control item, which all fences get too (G3)."""
        return cls((control, *others), rows, generation, fences=control.after.version)

    @property
    def births(self) -> frozenset[int]:
        """The shard whose fence is checked, if states are created and there is a version to check: that of the first one.

        All fences change together, so one shows what all would. Transactions that check the same fence at the same time
        conflict: with all of theirs, the workers of a replay would hinder each other and the live births.
        """
        if self.born_at is not None:
            for change in self.changes:
                if isinstance(change.item, StateItem) and change.is_birth:
                    return frozenset({shard_of(change.item.stream_id)})
        return frozenset()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """States and rows of one generation, each read at an instant of its own: a commit's conditions compare them (G1).

    Attributes
    ----------
    states
        One per requested stream.
    rows
        One per requested key; None for those that do not exist.
    """

    states: Mapping[StreamId, StreamState] = field(default_factory=dict)
    rows: Mapping[str, StoredRow | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RowQuery:
    """Which rows of a generation to read, in which order.

    Attributes
    ----------
    limit
        The largest number to return (1 to 1,000; 1 to 100 in an index); a page of 1 MB may hold fewer.
    slot, value
        The index slot and the encoded value whose rows to read; otherwise all rows in key order.
    prefix
        The beginning of the encoded key.
    low, high
        Bounds of the encoded key, or of the encoded sort value in an index, both inclusive. Not together with ``prefix``.
    after
        The position to continue after: the ``position`` of the previous page.
    """

    limit: int
    slot: int | None = None
    value: str = ""
    prefix: str | None = None
    low: str | None = None
    high: str | None = None
    descending: bool = False
    after: str | None = None


@dataclass(frozen=True, slots=True)
class RowPage:
    """Rows with their encoded keys, in the requested order; ``position`` is None at the end.

    An index is updated after its rows, so a page of an index leaves out rows that have changed since, and may be empty
    before the end.
    """

    rows: tuple[tuple[str, Row], ...]
    position: str | None


@dataclass(frozen=True, slots=True)
class StatePage:
    """States of one shard, ordered by stream id; ``after`` is the id to continue after, None at the end."""

    states: tuple[StreamState, ...]
    after: StreamId | None


class ReadModel(Protocol):
    """Rows and states of one projection. All reads except those of an index and `halted` are strongly consistent (E5)."""

    def read(self, item: Item) -> Document:
        """Read the document of one item; empty if there is none."""
        ...

    def load(self, generation: int, stream_ids: Sequence[StreamId], keys: Sequence[str] = ()) -> Snapshot:
        """Read states of streams, and rows, of one generation; up to 100 together cost one call."""
        ...

    def commit(self, commit: Commit) -> None:
        """Make all changes of a commit, at most 100 items including fences, or none.

        Raises
        ------
        OutdatedError
            Something does not match; nothing was written.
        """
        ...

    def rows(self, generation: int, query: RowQuery) -> RowPage:
        """Read one page of rows."""
        ...

    def states(self, generation: int, shard: int, *, after: StreamId | None = None) -> StatePage:
        """Read one page of the states of a shard, up to 1 MB."""
        ...

    def halted(self, generation: int, *, limit: int = 100, after: StreamId | None = None) -> Sequence[StreamId]:
        """List streams that are halted, ordered by id; a new one appears within about a second."""
        ...

    def sweep(self, generation: int) -> bool:
        """Delete some of a generation: first all states, then rows (G8). True if nothing is left."""
        ...


def read_control(read_model: ReadModel) -> Control:
    """Read the control item of a projection."""
    return Control.from_document(read_model.read(ControlItem()))
