"""Save the emulator's data every two seconds without blocking it, and restore it at a start, unless it is damaged.

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
import re
import shutil
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cli.emulator.process import Unsaved, remove
from cli.emulator.request_guard import Activity
from cli.errors import EmulatorError

INTERVAL_S = 1.5
SETTLING_S = 6.0  # queues and pollers change data for a moment after the last request
_CHILD_TIMEOUT_S = 120.0
_REST = 2.0  # times as long as a save: at most a third of the time is spent saving
_DESCRIPTORS_MAX = 65_536
_NICENESS = 10  # functions come first
_SAVED = b"saved"

_CODE = "lambda-blobs"
_CODE_NAME = re.compile(r'"code_blob_ref": "([0-9a-f]{64})"')
_SEAL = re.compile(rb', "port": (\d{1,5}), "sha256": "([0-9a-f]{64})"\}\Z')
_SEAL_SUM_BYTES = len(', "sha256": ""}') + 64
_DEPLOYMENTS = "esctl-assets-"  # buckets whose missing objects every deployment uploads
_DESCRIPTION = ".meta.json"  # suffix of the file that describes an object
# Tables, logs and objects hold the user's own data: an address in it is just text.
_USER_DATA = frozenset({"dynamodb", "logs", "cloudwatch_logs", "s3"})
_RESET = "Restore the files, or start empty, without any event:  esctl local reset"

_logger = logging.getLogger("esctl.saved_data")


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


@dataclass(frozen=True, slots=True)
class SavedService:
    """The saved state of one service."""

    path: Path
    text: str
    port: int | None  # the emulator's in its addresses; None if saved by the emulator itself

    def at_port(self, port: int) -> str:
        """Return the text with the port in the emulator's own addresses replaced."""
        if self.path.stem in _USER_DATA or port == self.port:
            return self.text
        last = r"\d+" if self.port is None else rf"{self.port}\b"
        return re.sub(rf"http://(?:127\.0\.0\.1|localhost):{last}", f"http://127.0.0.1:{port}", self.text)


def read_saved(services: Path, objects: Path, *, copies: Iterable[Path] = ()) -> dict[str, SavedService]:
    """Read and verify the saved state in the folders of the services and of the objects in buckets.

    Damaged function code is restored from the deployment's objects or from ``copies``. Damaged objects of deployments are
    removed, so that the next deployment uploads them. Any other damage is an `EmulatorError` that names every file: the
    emulator would start without it, and then overwrite it.
    """
    for rest in (*services.glob("*.tmp"), *services.glob(f"{_CODE}/*.tmp")):  # left by a killed save
        rest.unlink()
    saved, faults = {}, []
    for path in sorted(services.glob("*.json")):
        try:
            saved[path.stem] = _read(path)
        except (OSError, ValueError) as error:
            faults.append(f"{path}: {_reason(error)}")
    code = _CODE_NAME.findall(saved["lambda"].text) if "lambda" in saved else ()
    faults += _restore_code(services / _CODE, set(code), [*objects.rglob("*.zip"), *copies])
    _remove_damaged_objects(objects)
    if faults:
        raise EmulatorError("the saved data of the local target is damaged", _RESET, faults=faults)
    return saved


def _reason(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _read(path: Path) -> SavedService:
    """Read one service's file; raise `OSError` or `ValueError`."""
    content = path.read_bytes()
    seal = _SEAL.search(content[-128:])
    if seal is not None:
        if hashlib.sha256(content[:-_SEAL_SUM_BYTES]).hexdigest().encode() != seal[2]:
            raise ValueError("its checksum does not match")
        return SavedService(path, content.decode(), int(seal[1]))
    try:
        document = json.loads(content)
    except ValueError:
        raise ValueError("it is truncated or not JSON") from None
    # The emulator's own format, before the first save by esctl.
    if not isinstance(document, dict) or set(document) != {"__ministack_format__", "payload"}:
        raise ValueError("it is not the state of a service")
    return SavedService(path, content.decode(), None)


def _restore_code(folder: Path, wanted: set[str], copies: Iterable[Path]) -> list[str]:
    """Restore damaged function code from copies; return what can't be restored as faults."""
    damaged = {name for name in wanted if _sum_of(folder / f"{name}.zip") != name}
    if not damaged:
        return []
    for copy in copies:
        name = _sum_of(copy)
        if name in damaged:
            _logger.warning("restored damaged code %s from %s", name, copy)
            folder.mkdir(exist_ok=True)
            remove(folder / f"{name}.zip")
            shutil.copyfile(copy, folder / f"{name}.zip")
            damaged.remove(name)
    return [f"{folder / name}.zip: this function code is missing or damaged" for name in sorted(damaged)]


def _remove_damaged_objects(objects: Path) -> None:
    """Remove damaged objects of deployments: the emulator would trust the size and hash in their description."""
    for described in objects.glob(f"*/{_DEPLOYMENTS}*/**/*{_DESCRIPTION}"):
        path = described.with_name(described.name.removesuffix(_DESCRIPTION))
        try:
            content, description = path.read_bytes(), json.loads(described.read_bytes())
            etag = f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'
            whole = description["size"] == len(content) and description["etag"] in (etag, None)
        except (OSError, ValueError, TypeError, KeyError):
            whole = False
        if not whole:
            _logger.warning("removed damaged object %s", path)
            remove(path)
            remove(described)


def _sum_of(path: Path) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None


def restore_services(saved: dict[str, SavedService], port: int) -> None:
    """Load the saved state into the emulator of this process, emptying the dictionary."""
    from ministack import app
    from ministack.core.persistence import _json_object_hook, _state_format_version

    for name, module in app._state_map.items():
        service = saved.pop(name, None)
        if service is None:
            continue
        try:
            document = json.loads(service.at_port(port), object_hook=_json_object_hook)
            if document["__ministack_format__"] > _state_format_version(name):
                raise ValueError("a newer version of the emulator saved it")
            payload = document["payload"]
            if name == "lambda":
                # Stream records are not saved, so streams start empty: with the old positions, as many new records would
                # be skipped.
                payload.pop("dynamodb_stream_positions", None)
            if payload:
                app._get_module(module).load_persisted_state(payload)
        except Exception as error:
            what = f"{service.path}: {type(error).__name__}: {error}"
            raise EmulatorError(
                "the saved data of the local target can't be restored", _RESET, faults=[what]
            ) from error
