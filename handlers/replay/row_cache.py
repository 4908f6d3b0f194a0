"""The rows of a generation that is being built, as far as memory allows (R5)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from itertools import islice

from handlers.core.events import StreamId
from handlers.projection.definition import Row
from handlers.projection.port import MAX_COMMIT_ROWS, ReadModel
from handlers.projection.state import Chunk, Replay

# Rows of the generation that is being built are kept between chunks, up to this many (R5); larger ones are read again.
MAX_HELD_ROWS = 20_000
# 20,000 rows of 8 KB are 160 MB of text; of 400 KB, which a row may have, they would be 8 GB.
MAX_HELD_ROW_BYTES = 8_192


class HeldRows:
    """Rows held between chunks.

    What is held is right at the position it was written at; another worker may have moved the replay since.
    """

    def __init__(self, read_model: ReadModel, stream_id: StreamId) -> None:
        self._read_model = read_model
        self._stream_id = stream_id
        self._held: OrderedDict[str, Row | None] = OrderedDict()
        self._position: _Position | None = None
        self._complete = False

    def get(self, replay: Replay, keys: Sequence[str]) -> dict[str, Row | None]:
        """Return rows of the replay's generation; None where there is none."""
        if _position(replay) != self._position:
            self.forget()
            self._position = _position(replay)
            # Nothing is in a generation before its first commit: what is not held does not exist.
            self._complete = replay.checkpoint == -1 and replay.chunk is None
        missing = iter([] if self._complete else [key for key in keys if key not in self._held])
        found: dict[str, Row | None] = {}
        while lot := list(islice(missing, MAX_COMMIT_ROWS)):
            found |= self._read_model.load(self._stream_id, lot, replay.generation).rows
        return {key: found[key] if key in found else self._held.get(key) for key in keys}

    def put(self, replay: Replay, rows: Mapping[str, Row | None], sizes: Mapping[str, int]) -> None:
        """Hold rows as they were written, the replay then being where it is; the large ones not."""
        self._position = _position(replay)
        for key, row in rows.items():
            self._held[key] = row
            self._held.move_to_end(key)
            if sizes.get(key, 0) > MAX_HELD_ROW_BYTES:
                del self._held[key]
                self._complete = False
        while len(self._held) > MAX_HELD_ROWS:
            self._held.popitem(last=False)
            self._complete = False

    def forget(self) -> None:
        """Hold nothing: another worker wrote."""
        self._held.clear()
        self._position = None
        self._complete = False


_Position = tuple[int, int, Chunk | None]


def _position(replay: Replay) -> _Position:
    return replay.generation, replay.checkpoint, replay.chunk
