"""The emulator's process and files: find it, start it, query its health, and end it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.config.keys import local_access_key
from cli.config.state import State
from cli.errors import CliError, EmulatorError

if TYPE_CHECKING:
    import psutil

FOLDER = "emulator"  # all its files, below the state directory
ALIVE_LOCK = "alive.lock"  # held by the emulator's process while it lives
START_LOCK = "start.lock"  # held while it is started, stopped or reset
HEALTH_PATH = "/_ministack/health"
_RECORD = "process.json"
# Environment variable that names the emulator's folder; its functions' workers inherit it.
_MARK = "ESCTL_EMULATOR"
# A start time is ticks since boot plus the boot time, which moves by a second when the clock is adjusted.
_CREATE_TIME_TOLERANCE_S = 2.0
_START_TIMEOUT_S = 60.0  # 0.5 s on an idle machine, much more if a busy one has to compile its modules first
_SILENCE_MAX_S = 30.0  # it answers while it saves
_KILL_TIMEOUT_S = 5.0
_POLL_S = 0.02


class Files:
    """The emulator's files below a state directory."""

    def __init__(self, state: State) -> None:
        self.folder = state.path(FOLDER)
        self.log = self.folder / "emulator.log"
        self.temporary = self.folder / "tmp"  # unpacked function code and the like, removed by a stop
        self.data = self.folder / "data"  # all saved data, deleted by a reset
        self.services = self.data / "services"  # one file per service
        self.objects = self.data / "s3"  # the objects in buckets


def remove(path: Path) -> None:
    """Remove a file or folder if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class ProcessRecord:
    """The background process, as recorded by itself; kept after it has ended."""

    pid: int  # also the id of its session
    create_time: float  # seconds since 1970; it tells the process from a later one with the same pid
    port: int  # on 127.0.0.1; 0 until it listens

    @property
    def endpoint_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@dataclass(frozen=True, slots=True)
class Unsaved:
    """Saving fails for the reason ``why`` (one line); the last complete save was at ``since`` (RFC 3339)."""

    since: str
    why: str

    def __str__(self) -> str:
        return f"changes since {self.since} are only in memory ({self.why})"


@dataclass(frozen=True, slots=True)
class Health:
    """Health as reported by the process; ``refused_stops`` counts stops refused because it could not save."""

    pid: int
    refused_stops: int
    unsaved: Unsaved | None


def read_record(state: State) -> ProcessRecord | None:
    """Return the record of the process; None if it is missing or damaged."""
    document = state.read_json(FOLDER, _RECORD, valid=_is_record)
    return None if document is None else ProcessRecord(document["pid"], document["create_time"], document["port"])


def write_record(state: State, record: ProcessRecord) -> None:
    """Record the process, for `read_record`."""
    state.write_json(asdict(record), FOLDER, _RECORD)


def _is_record(document: dict[str, Any]) -> bool:
    pid, create_time, port = (document.get(name) for name in ("pid", "create_time", "port"))
    if not (isinstance(pid, int) and isinstance(create_time, int | float) and isinstance(port, int)):
        return False
    return pid > 0 and 0 < port < 65536


def last_endpoint(state: State) -> str | None:
    """Return the current or last address of the emulator, without checking that it answers."""
    record = read_record(state) or find(state)
    return record.endpoint_url if record is not None and record.port else None


def is_alive(state: State, *, timeout_s: float = 0) -> bool:
    """Return whether the process exists: it holds a lock that the system releases when it dies.

    The lock must be held for ``timeout_s``; a concurrent check holds it for an instant.
    """
    from filelock import FileLock, Timeout

    path = state.path(FOLDER, ALIVE_LOCK)
    if not path.exists():
        return False
    try:
        with FileLock(path, mode=0o600, poll_interval=0.01).acquire(timeout=timeout_s):
            return False
    except Timeout:
        return True
    except OSError as error:
        raise EmulatorError(f"can't use {path}: {error.strerror or error}", "Move it away.") from error


def find(state: State) -> ProcessRecord | None:
    """Return the running process: the recorded one, or the one in the process table if the record is damaged or stale."""
    record = read_record(state)
    if record is not None and _process(state, record) is not None:
        return record
    if not is_alive(state):
        return None
    import psutil

    for process in _processes(state):
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            # Workers and the forks that write snapshots belong to its session.
            if os.getsid(process.pid) == process.pid:
                found = ProcessRecord(process.pid, process.create_time(), _port(process))
                if found.port:
                    write_record(state, found)
                return found
    return None


def _process(state: State, record: ProcessRecord) -> psutil.Process | None:
    """Return the recorded process; None if it has ended, even if another one has its pid."""
    import psutil

    with contextlib.suppress(psutil.Error):
        process = psutil.Process(record.pid)
        same = abs(process.create_time() - record.create_time) <= _CREATE_TIME_TOLERANCE_S
        if same and _runs(process) and _is_marked(process, state):
            return process
    return None


def _runs(process: psutil.Process) -> bool:
    """Return whether it is running; a zombie (a container without init collects none) is not."""
    import psutil

    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _processes(state: State) -> list[psutil.Process]:
    """Return all processes of this state directory's emulator, including workers."""
    import psutil

    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):  # it has ended, or belongs to another user
            if _is_marked(process, state):
                found.append(process)
    return found


def _is_marked(process: psutil.Process, state: State) -> bool:
    return process.environ().get(_MARK) == _mark(state)


def _mark(state: State) -> str:
    return os.path.realpath(Files(state).folder)


def _port(process: psutil.Process) -> int:
    import psutil

    listening = [each for each in process.net_connections("tcp4") if each.status == psutil.CONN_LISTEN]
    return listening[0].laddr.port if listening else 0


def health_of(state: State, record: ProcessRecord) -> Health | None:
    """Query the health of a process; None if it does not answer."""
    health = ask(state, record.endpoint_url)
    return health if health is not None and health.pid == record.pid else None


def ask(state: State, endpoint_url: str) -> Health | None:
    """Query the health of the emulator at an address; None if this state directory's does not answer there."""
    connection = http.client.HTTPConnection(endpoint_url.removeprefix("http://"), timeout=5)
    try:
        authorization = f"AWS4-HMAC-SHA256 Credential={local_access_key(state)}/health"
        connection.request("GET", HEALTH_PATH, headers={"Authorization": authorization})
        document = json.loads(connection.getresponse().read())
        unsaved = document["unsaved"] and Unsaved(**document["unsaved"])
        return Health(int(document["pid"]), int(document["refused_stops"]), unsaved)
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):  # another program listens there
        return None
    finally:
        connection.close()


def spawn(state: State, port: int | None, variables: Mapping[str, str]) -> None:
    """Start the process and wait until it answers. If it fails, none of its processes is left."""
    log = Files(state).log
    state.directory(FOLDER, "tmp")
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as pipe:
        try:
            with os.fdopen(writer, "wb"), open(log, "ab", opener=_owner_only) as output:
                process = subprocess.Popen(
                    [sys.executable, "-m", "cli.emulator.launcher", str(state.root), str(port or 0), str(writer)],
                    cwd=state.directory(FOLDER),
                    env={**variables, _MARK: _mark(state)},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    pass_fds=[writer],
                    start_new_session=True,  # so that Ctrl-C in the terminal does not reach it
                )
        except OSError as error:
            where = f" ({error.filename})" if error.filename else ""
            raise EmulatorError(f"can't start the local target: {error.strerror or error}{where}") from error
        try:
            in_time = bool(select.select([pipe], [], [], _START_TIMEOUT_S)[0])
            answer = pipe.read() if in_time else b""
        except BaseException:
            end_remains(state)
            raise
    if answer == READY:
        return
    if in_time:  # it closed the pipe, so it is ending
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_KILL_TIMEOUT_S)
    end_remains(state)
    raise _failure(answer, process.returncode, log, in_time=in_time)


READY = b"ready"
"""Sent to the parent once the process answers requests; on failure it sends an error instead (see `error_message`)."""


def error_message(error: CliError) -> bytes:
    """Return the message that tells the parent why the process ends."""
    return json.dumps({"message": error.message, "hint": error.hint, "faults": error.faults}).encode()


def _failure(answer: bytes, code: int | None, log: Path, *, in_time: bool) -> EmulatorError:
    hint = f"Its messages are in {log}"
    if not in_time:
        return EmulatorError(f"the local target did not answer within {_START_TIMEOUT_S:.0f} seconds", hint)
    if answer:
        return EmulatorError(**json.loads(answer))
    with contextlib.suppress(OSError):
        lines = log.read_text(errors="replace").strip().splitlines()
        return EmulatorError(f"the local target ended during its start: {lines[-1].strip() if lines else code}", hint)
    return EmulatorError("the local target ended during its start", hint)


def end(state: State, record: ProcessRecord, *, force: bool = False) -> None:
    """Ask the process to save and end, and wait until it has ended.

    If it can't save its data or does not answer, raise `EmulatorError`; with ``force`` return: the caller kills it.
    """
    process = _process(state, record)
    if process is None:
        return
    before = health_of(state, record)
    refused_before = before.refused_stops if before else 0
    _signal(process, signal.SIGTERM)
    answered_at = time.monotonic()
    while _runs(process):
        health = health_of(state, record)
        if health is not None:
            answered_at = time.monotonic()
        refused = health is not None and health.refused_stops > refused_before
        silent = time.monotonic() - answered_at > _SILENCE_MAX_S
        if force and (refused or silent):
            return
        if health is not None and refused:
            what = "" if health.unsaved is None else f": {health.unsaved}"  # None: it has saved since
            raise EmulatorError(
                f"the local target keeps running, because it can't save its data{what}",
                "Fix that and stop it again, or lose those changes:  esctl local stop --force",
            )
        if silent:
            raise EmulatorError(
                f"the local target (pid {record.pid}) has not answered for {_SILENCE_MAX_S:.0f} seconds",
                "To end it and lose unsaved data:  esctl local stop --force",
            )
        time.sleep(_POLL_S)


def end_remains(state: State) -> None:
    """Kill all remaining processes of the emulator, including workers of its functions that outlived it."""
    import psutil

    deadline = time.monotonic() + _KILL_TIMEOUT_S
    while processes := _processes(state):
        if time.monotonic() > deadline:
            pids = ", ".join(str(each.pid) for each in processes)
            raise EmulatorError(f"processes of the local target do not end: {pids}")
        for process in processes:
            _signal(process, signal.SIGKILL)
        psutil.wait_procs(processes, timeout=_POLL_S)


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    """Send a signal; psutil compares start times first, so a reused pid never receives it."""
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(number)


def _owner_only(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
