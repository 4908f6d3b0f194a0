"""The port of a projection's storage: rows and state items."""

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
# Of a transaction's 4 MB; the rest is for the state item and attribute names.
MAX_COMMIT_BYTES = 3_500_000


class OutdatedError(ContendedError):
    """The state no longer matches the change: nothing was written; re-read and retry (P2)."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A stream's state and some rows of one generation, read at one instant.

    Attributes
    ----------
    rows
        A row per requested key; None for those that do not exist.
    """

    state: StreamState
    rows: Mapping[str, Row | None] = field(default_factory=dict)
    generation: int = 0


@dataclass(frozen=True, slots=True)
class RowPage:
    """Rows of a generation, ordered by key; ``next_after`` is None at the end."""

    rows: tuple[tuple[str, Row], ...]
    next_after: str | None


class ReadModel(Protocol):
    """Rows and state items of one projection. All reads are strongly consistent (E5)."""

    def load(self, stream_id: StreamId, keys: Sequence[str] = (), generation: int = 0) -> Snapshot:
        """Read the state and up to 99 rows of one generation at one instant."""
        ...

    def commit(self, change: StateChange, rows: Mapping[str, Row | None] | None = None, generation: int = 0) -> None:
        """Change the state and up to 99 rows of one generation in one transaction; None deletes a row.

        Raises
        ------
        OutdatedError
            The state does not match the change; nothing was written.
        """
        ...

    def page(
        self, stream_id: StreamId, generation: int, *, after: str | None = None, limit: int | None = None
    ) -> RowPage:
        """Read rows of a generation, ordered by key: at most ``limit``, and at most 1 MB."""
        ...

    def sweep(self, stream_id: StreamId, generation: int) -> bool:
        """Delete some rows of a generation; True if none is left."""
        ...

    def states(self) -> Iterator[StreamState]:
        """Read all state items."""
        ...
