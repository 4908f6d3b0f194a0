"""Save the emulator's data every two seconds without blocking it; `restore` reads it.

Each service has one JSON file that ends with a seal: the port in its addresses, and a checksum. Function code is in files
named after their checksum.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cli.emulator.process import Unsaved
from cli.emulator.request_guard import Activity

INTERVAL_S = 1.5
SETTLING_S = 6.0  # queues and pollers change data for a moment after the last request
_CHILD_TIMEOUT_S = 120.0
_REST = 2.0  # times as long as a save: at most a third of the time is spent saving
_DESCRIPTORS_MAX = 65_536
_NICENESS = 10  # functions come first
_SAVED = b"saved"

_logger = logging.getLogger("esctl.saving")


class SaveError(Exception):
    """Some data could not be saved; the message is one line."""


class Saver:
    """Saves while the event loop runs.

    A forked child writes a snapshot of the memory, as Redis does
    (https://redis.io/docs/latest/operate/oss_and_stack/management/persistence/). The parent continues at once; since the
    fork happens on the thread that handles requests, the child never sees half a transaction.

    ``save`` writes everything or raises. ``unsaved`` says why the last attempt failed; it is None if it did not.
    """

    def __init__(
        self,
        save: Callable[[], None],
        activity: Activity,
        *,
        interval_s: float = INTERVAL_S,
        settling_s: float = SETTLING_S,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._save = save
        self._activity = activity
        self._interval_s = interval_s
        self._settling_s = settling_s
        self._now = now
        self._saved_at = now()
        self._one_at_a_time = asyncio.Lock()
        self.unsaved: Unsaved | None = None

    async def run(self) -> None:
        """Save until cancelled: soon after changes, once more after a quiet period, and repeatedly after failures."""
        saved_changes, quiet_since = self._activity.changes, time.monotonic()
        settled = True
        pause = self._interval_s
        while True:
            await asyncio.sleep(pause)
            changes = self._activity.changes
            if changes != saved_changes:
                quiet_since, settled = time.monotonic(), False
            elif not settled and time.monotonic() - quiet_since >= self._settling_s:
                settled = True
            elif self.unsaved is None:
                continue
            started = time.monotonic()
            await self.save()
            saved_changes = changes
            pause = max(self._interval_s, (time.monotonic() - started) * _REST)

    async def save(self) -> bool:
        """Save everything now, after any snapshot in progress; return False (see `unsaved`) if that failed."""
        async with self._one_at_a_time:
            began = self._now()
            why = await self._snapshot()
            if why is None:
                self._saved_at, self.unsaved = began, None
                return True
            if self.unsaved is None or self.unsaved.why != why:
                _logger.error("can't save: %s", why)
            self.unsaved = Unsaved(f"{self._saved_at:%Y-%m-%dT%H:%M:%SZ}", why)
            return False

    async def _snapshot(self) -> str | None:
        """Save in a child; return why it failed, or None."""
        reader, writer = os.pipe()
        child = _fork(self._save, writer)
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            status = await _ended(child)
            answer = pipe.read()
        if answer == _SAVED:
            return None
        if answer:
            return answer.decode(errors="replace")
        _logger.warning("a snapshot ended early (status %s); saving on the main thread", status)
        return _why_not(self._save)


async def _ended(child: int) -> int:
    """Wait a limited time for the child; return its exit status."""
    deadline = time.monotonic() + _CHILD_TIMEOUT_S
    with contextlib.suppress(ChildProcessError):  # already reaped by the subprocess module
        while True:
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                return status
            if time.monotonic() > deadline:
                os.kill(child, signal.SIGKILL)
            await asyncio.sleep(0.02)
    return 0


def _fork(save: Callable[[], None], writer: int) -> int:
    with warnings.catch_warnings():
        # Python 3.12 warns about forks of threaded processes; the child takes no lock that another thread could hold.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid:
        return pid
    try:
        # The child must not keep the parent's connections and pipes open.
        os.closerange(3, writer)
        os.closerange(writer + 1, _DESCRIPTORS_MAX)
        os.nice(_NICENESS)
        why = _why_not(save)
        os.write(writer, _SAVED if why is None else why.encode(errors="replace"))
    finally:
        os._exit(0)


def _why_not(save: Callable[[], None]) -> str | None:
    try:
        save()
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        return f"{error.strerror or error}{where}"
    except Exception as error:  # noqa: BLE001 - shown to the operator, and retried
        return " ".join(f"{type(error).__name__}: {error}".split()) if not isinstance(error, SaveError) else str(error)
    return None


def save_services(services: Mapping[str, Callable[[], object]], folder: Path, port: int) -> None:
    """Write the state of every service; on a full disk all files of the last save stay.

    The services are functions that return their state, or None if there is none. Raises `OSError` or `SaveError`.
    """
    from ministack.core.persistence import _json_default, _state_format_version

    failed, written = _write_objects(), []
    try:
        for name, state_of in services.items():
            try:
                state = state_of()
                if state is None:
                    continue
                payload = json.dumps(state, default=_json_default)
            except OSError:
                raise
            except Exception as error:  # noqa: BLE001 - one failing service must not block the others
                failed.append(f"{name} ({type(error).__name__}: {error})")
                continue
            temporary = folder / f"{name}.tmp"
            written.append(temporary)
            temporary.write_bytes(sealed(payload, _state_format_version(name), port))
    except BaseException:
        for temporary in written:
            with contextlib.suppress(OSError):
                temporary.unlink()
        raise
    for temporary in written:
        temporary.replace(temporary.with_suffix(".json"))
    if failed:
        raise SaveError(f"can't save {', '.join(failed)}")


def _write_objects() -> list[str]:
    """Write the objects that are only in memory because writing them failed; return those that still can't be written."""
    s3: Any = sys.modules.get("ministack.services.s3")
    failed = []
    for (_, bucket), described in s3._buckets._data.items() if s3 else ():
        for key, found in described["objects"].items():
            if found.get("body") is not None:  # only in memory
                s3._persist_object(bucket, key, found)
                if found["body"] is not None:
                    failed.append(f"the object {key} of bucket {bucket}")
    return failed


def sealed(payload: str, version: int, port: int) -> bytes:
    """Return the content of a service's file: its state in the emulator's format, and the seal."""
    content = f'{{"__ministack_format__": {version}, "payload": {payload}, "port": {port}'.encode()
    return content + f', "sha256": "{hashlib.sha256(content).hexdigest()}"}}'.encode()
