"""The port of a projection's storage: its rows and its state items."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from handlers.core.dynamodb import TRANSACTION_ITEMS
from handlers.core.errors import ContendedError
from handlers.core.events import StreamId
from handlers.projection.definition import Row
from handlers.projection.state import StreamState
from handlers.projection.transitions import StateChange

# One item of the transaction is the state item (P3).
MAX_COMMIT_ROWS = TRANSACTION_ITEMS - 1
# Of a transaction's 4 MB; the rest is room for the state item and for attribute names.
MAX_COMMIT_BYTES = 3_500_000


class OutdatedError(ContendedError):
    """The state is not what the change expects any more: read again and go on (P2). Nothing was written."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A stream's state and some rows of one generation, read at one instant.

    Attributes
    ----------
    rows
        Key to row for every key asked for; None where there is no row.
    generation
        The generation that the rows are of.
    """

    state: StreamState
    rows: Mapping[str, Row | None] = field(default_factory=dict)
    generation: int = 0


@dataclass(frozen=True, slots=True)
class RowPage:
    """Some rows of a generation in the order of their keys; ``next_after`` is None at the end."""

    rows: tuple[tuple[str, Row], ...]
    next_after: str | None


class ReadModel(Protocol):
    """Rows and state items of one projection. Every read is strongly consistent (E5)."""

    def load(self, stream_id: StreamId, keys: Sequence[str] = (), generation: int = 0) -> Snapshot:
        """Read the state and up to 99 rows of one generation, all at the same instant."""
        ...

    def commit(self, change: StateChange, rows: Mapping[str, Row | None] | None = None, generation: int = 0) -> None:
        """Change the state and up to 99 rows of one generation in one transaction; a row of None is deleted.

        Raises
        ------
        OutdatedError
            The state is not what the change expects; nothing was written.
        """
        ...

    def page(
        self, stream_id: StreamId, generation: int, *, after: str | None = None, limit: int | None = None
    ) -> RowPage:
        """Read rows of a generation, in the order of their keys, at most ``limit`` or 1 MB."""
        ...

    def sweep(self, stream_id: StreamId, generation: int) -> bool:
        """Delete some rows of a generation; True when none is left."""
        ...

    def states(self) -> Iterator[StreamState]:
        """Read the state of every stream that has one."""
        ...
