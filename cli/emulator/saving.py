"""Saving what is stored, every couple of seconds, without holding the emulator up.

The emulator saves only at a clean stop. Here a forked child writes a snapshot of the memory, as Redis does
(https://redis.io/docs/latest/operate/oss_and_stack/management/persistence/): the parent goes on at once, and as the fork
happens on the thread that runs the requests, the child never sees half a transaction.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
import warnings
from collections.abc import Callable

from cli.emulator.request_guard import Activity

INTERVAL_S = 1.5
SETTLING_S = 6.0  # queues and pollers go on changing things for a moment after the last request
_CHILD_TIMEOUT_S = 120.0
_REST = 2.0  # at most a third of the time is spent saving, however much there is
_DESCRIPTORS_MAX = 65_536
_NICENESS = 10  # saving gives way to functions

_logger = logging.getLogger("esctl.saving")


class Saver:
    """Saves while the event loop runs.

    Parameters
    ----------
    save
        Writes everything; called in a forked child.
    activity
        Tells whether anything happened since.
    """

    def __init__(
        self,
        save: Callable[[], None],
        activity: Activity,
        *,
        interval_s: float = INTERVAL_S,
        settling_s: float = SETTLING_S,
    ) -> None:
        self._save = save
        self._activity = activity
        self._interval_s = interval_s
        self._settling_s = settling_s
        self._child: int | None = None

    async def run(self) -> None:
        """Save again and again until cancelled."""
        saved_at_change, quiet_since = self._activity.changes, time.monotonic()
        saved_in_quiet = True
        pause = self._interval_s
        while True:
            await asyncio.sleep(pause)
            changes = self._activity.changes
            if changes != saved_at_change:
                quiet_since, saved_in_quiet = time.monotonic(), False
            elif saved_in_quiet or time.monotonic() - quiet_since < self._settling_s:
                continue
            else:
                saved_in_quiet = True
            started = time.monotonic()
            await self._snapshot()
            saved_at_change = changes
            pause = max(self._interval_s, (time.monotonic() - started) * _REST)

    def finish(self) -> None:
        """End a snapshot under way: what is written after it must not be overwritten by it.

        Its files are replaced one by one, so an end in the middle leaves none half written.
        """
        if self._child is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._child, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self._child, 0)
            self._child = None

    async def _snapshot(self) -> None:
        self._child = _fork(self._save)
        deadline = time.monotonic() + _CHILD_TIMEOUT_S
        try:
            while True:
                pid, status = os.waitpid(self._child, os.WNOHANG)
                if pid:
                    break
                if time.monotonic() > deadline:
                    os.kill(self._child, signal.SIGKILL)
                await asyncio.sleep(0.02)
        except ChildProcessError:  # collected by the subprocess module's own housekeeping
            status = 0
        self._child = None
        if status:
            _logger.warning("a snapshot failed (status %s); saving on the main thread", status)
            self._save()


def _fork(save: Callable[[], None]) -> int:
    with warnings.catch_warnings():
        # Python 3.12 warns of forks beside threads; the child takes no lock that another thread could hold.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        # Connections and pipes of the parent must not stay open because we hold them.
        os.closerange(3, _DESCRIPTORS_MAX)
        os.nice(_NICENESS)
        save()
        code = 0
    finally:
        os._exit(code)
