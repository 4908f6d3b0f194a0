"""Several calls at a time: chunks of one lane one after another, those of different lanes side by side."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from cli.transfer.batches import LANES, Chunk

# What waits to be sent, all lanes together: enough that one long stream does not hold up the others in the file.
WAITING_BYTES_MAX = 16 * 1024 * 1024
_TICK_S = 0.2


class Lanes:
    """Workers for chunks.

    Parameters
    ----------
    send
        Appends one chunk; called on several threads at once. What it raises ends the whole.
    connections
        How many chunks are under way at a time.
    tick
        Called on the caller's thread now and then while it waits.
    """

    def __init__(self, send: Callable[[Chunk], None], connections: int, tick: Callable[[], None]) -> None:
        self._send = send
        self._tick = tick
        self._waiting: list[deque[Chunk]] = [deque() for _ in range(LANES)]
        self._busy = [False] * LANES
        self._waiting_bytes = 0
        self._failure: BaseException | None = None
        self._over = False
        self._changed = threading.Condition()
        # Daemons: a call that hangs must not keep the program alive after Ctrl-C.
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(min(connections, LANES))]
        for thread in self._threads:
            thread.start()

    def put(self, chunk: Chunk) -> None:
        """Hand a chunk over; waits while too much is waiting. Raises what a worker failed with."""
        self._tick()
        with self._changed:
            while self._waiting_bytes > WAITING_BYTES_MAX and self._failure is None:
                self._wait()
            self._raise_failure()
            self._waiting[chunk.lane].append(chunk)
            self._waiting_bytes += chunk.size_bytes
            self._changed.notify_all()

    def finish(self) -> None:
        """Return when everything is done. Raises what a worker failed with."""
        with self._changed:
            while self._failure is None and (any(self._waiting) or any(self._busy)):
                self._wait()
            self._raise_failure()

    def stop(self, timeout_s: float) -> None:
        """Begin nothing more, and wait a little for what is under way."""
        with self._changed:
            self._over = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not any(self._busy), timeout_s)

    def _wait(self) -> None:
        self._changed.wait(_TICK_S)
        self._tick()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._over or self._ready() is not None)
                lane = self._ready()
                if self._over or lane is None:
                    return
                chunk = self._waiting[lane].popleft()
                self._busy[lane] = True
            failure: BaseException | None = None
            try:
                self._send(chunk)
            except BaseException as error:  # noqa: BLE001 - raised again on the caller's thread
                failure = error
            with self._changed:
                self._busy[lane] = False
                self._waiting_bytes -= chunk.size_bytes
                if failure is not None:
                    self._failure, self._over = self._failure or failure, True
                self._changed.notify_all()

    def _ready(self) -> int | None:
        """A lane with work that nobody does; the fullest one, for it will take longest."""
        lanes = [lane for lane in range(LANES) if self._waiting[lane] and not self._busy[lane]]
        return max(lanes, key=lambda lane: len(self._waiting[lane]), default=None)
