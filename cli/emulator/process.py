"""The emulator's process as its operator sees it: recorded, found, started, asked how it is, and ended."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import select
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
from cli.emulator import paths
from cli.emulator.paths import FOLDER
from cli.errors import CliError, EmulatorError

if TYPE_CHECKING:
    import psutil

HEALTH_PATH = "/_ministack/health"
_RECORD = "process.json"
# Names the state directory in the environment of the emulator and of its functions' workers, which inherit it.
_MARK = "ESCTL_EMULATOR"
# A start time is a number of ticks since boot plus the time of boot, which moves by a second when the clock is adjusted.
_CREATE_TIME_TOLERANCE_S = 2.0
_START_TIMEOUT_S = 60.0  # half a second on an idle machine; much more when it first compiles its modules on a busy one
_SILENCE_MAX_S = 30.0  # it answers while it saves, however long that takes
_KILL_TIMEOUT_S = 5.0
_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class ProcessRecord:
    """The background process; written by itself, and kept after its end.

    Attributes
    ----------
    pid
        Also the id of its session.
    create_time
        When it was started, in seconds since 1970: another process with the same pid has another one.
    port
        Where it listens on 127.0.0.1; 0 while it does not listen yet.
    """

    pid: int
    create_time: float
    port: int

    @property
    def endpoint_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@dataclass(frozen=True, slots=True)
class Unsaved:
    """Saving fails.

    Attributes
    ----------
    since
        RFC 3339: when what is saved was last complete.
    why
        One line.
    """

    since: str
    why: str

    def __str__(self) -> str:
        return f"changes since {self.since} are only in memory ({self.why})"


@dataclass(frozen=True, slots=True)
class Health:
    """What the process says about itself.

    Attributes
    ----------
    refused_stops
        How often it was asked to end and did not, because it could not save.
    """

    pid: int
    refused_stops: int
    unsaved: Unsaved | None


def read_record(state: State) -> ProcessRecord | None:
    document = state.read_json(FOLDER, _RECORD, valid=_is_record)
    return None if document is None else ProcessRecord(document["pid"], document["create_time"], document["port"])


def write_record(state: State, record: ProcessRecord) -> None:
    state.write_json(asdict(record), FOLDER, _RECORD)


def _is_record(document: dict[str, Any]) -> bool:
    pid, create_time, port = (document.get(name) for name in ("pid", "create_time", "port"))
    return (
        isinstance(pid, int)
        and pid > 0
        and isinstance(create_time, int | float)
        and isinstance(port, int)
        and 0 < port < 65536
    )


def last_endpoint(state: State) -> str | None:
    """Return the address that the emulator has, or had when it last ran; whether it answers is not checked."""
    record = read_record(state) or find(state)
    return record.endpoint_url if record is not None and record.port else None


def is_alive(state: State, *, timeout_s: float = 0) -> bool:
    """Whether the process lives: it holds a lock that the system releases when it dies.

    Parameters
    ----------
    timeout_s
        How long the lock has to be held: whoever else looks at this moment holds it for an instant.
    """
    from filelock import FileLock, Timeout

    path = state.path(FOLDER, paths.ALIVE_LOCK)
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
    """Return the living process: the recorded one, else the one that the process table shows.

    The record may be damaged, or its pid may belong to another process by now.
    """
    record = read_record(state)
    if record is not None and _process(state, record) is not None:
        return record
    if not is_alive(state):
        return None
    import psutil

    for process in _processes(state):
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            # Workers, and the copies of the process that write snapshots, are in its session.
            if os.getsid(process.pid) == process.pid:
                found = ProcessRecord(process.pid, process.create_time(), _port(process))
                if found.port:
                    write_record(state, found)
                return found
    return None


def _process(state: State, record: ProcessRecord) -> psutil.Process | None:
    """The recorded process; None if it has ended, also where another one has its pid."""
    import psutil

    with contextlib.suppress(psutil.Error):
        process = psutil.Process(record.pid)
        same = abs(process.create_time() - record.create_time) <= _CREATE_TIME_TOLERANCE_S
        if same and _runs(process) and _is_marked(process, state):
            return process
    return None


def _runs(process: psutil.Process) -> bool:
    """Whether it has not ended; a zombie that nobody collects (no init in a container) has."""
    import psutil

    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _processes(state: State) -> list[psutil.Process]:
    """Every process of this state directory's emulator."""
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
    return os.path.realpath(paths.folder(state))


def _port(process: psutil.Process) -> int:
    import psutil

    listening = [each for each in process.net_connections("tcp4") if each.status == psutil.CONN_LISTEN]
    return listening[0].laddr.port if listening else 0


def health_of(state: State, record: ProcessRecord) -> Health | None:
    """Ask the process how it is; None if it does not answer."""
    health = ask(state, record.endpoint_url)
    return health if health is not None and health.pid == record.pid else None


def ask(state: State, endpoint_url: str) -> Health | None:
    """Ask the emulator at an address how it is; None if the one of this state directory does not answer there."""
    connection = http.client.HTTPConnection(endpoint_url.removeprefix("http://"), timeout=5)
    try:
        authorization = f"AWS4-HMAC-SHA256 Credential={local_access_key(state)}/health"
        connection.request("GET", HEALTH_PATH, headers={"Authorization": authorization})
        document = json.loads(connection.getresponse().read())
        unsaved = document["unsaved"]
        return Health(
            int(document["pid"]),
            int(document["refusedStops"]),
            None if unsaved is None else Unsaved(str(unsaved["since"]), str(unsaved["why"])),
        )
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):  # something else listens there
        return None
    finally:
        connection.close()


def spawn(state: State, port: int | None, variables: Mapping[str, str]) -> None:
    """Start the process and wait until it answers.

    Raises
    ------
    EmulatorError
        It ended before that, or did not answer in time; nothing of it is left then.
    """
    folder, log = state.directory(FOLDER), paths.log(state)
    state.directory(FOLDER, "tmp")
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as said:
        try:
            with os.fdopen(writer, "wb"), open(log, "ab", opener=_owner_only) as output:
                process = subprocess.Popen(
                    [sys.executable, "-m", "cli.emulator.launcher", str(state.root), str(port or 0), str(writer)],
                    cwd=folder,
                    env={**variables, _MARK: _mark(state)},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    pass_fds=[writer],
                    start_new_session=True,  # Ctrl-C at the terminal is not meant for it
                )
        except OSError as error:
            where = f" ({error.filename})" if error.filename else ""
            raise EmulatorError(f"can't start the local target: {error.strerror or error}{where}") from error
        try:
            in_time = bool(select.select([said], [], [], _START_TIMEOUT_S)[0])
            answer = said.read() if in_time else b""
        except BaseException:
            end_remains(state)
            raise
    if answer == READY:
        return
    if in_time:  # it has closed its end: it is ending
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_KILL_TIMEOUT_S)
    end_remains(state)
    raise _failure(answer, process.returncode, log, in_time=in_time)


READY = b"ready"
"""What the process tells whoever started it, once it answers requests; else an error as JSON (see `told`)."""


def told(error: CliError) -> bytes:
    """The message by which the process tells whoever started it why it ends."""
    return json.dumps({"message": error.message, "hint": error.hint, "faults": error.faults}).encode()


def _failure(answer: bytes, code: int | None, log: Path, *, in_time: bool) -> EmulatorError:
    hint = f"Its messages are in {log}"
    if not in_time:
        return EmulatorError(f"the local target did not answer within {_START_TIMEOUT_S:.0f} seconds", hint)
    if answer:
        return EmulatorError(**json.loads(answer))
    with contextlib.suppress(OSError):
        lines = log.read_text(errors="replace").strip().splitlines()
        return EmulatorError(f"the local target ended at once: {lines[-1].strip() if lines else code}", hint)
    return EmulatorError("the local target ended at once", hint)


def end(state: State, record: ProcessRecord, *, force: bool = False) -> None:
    """Ask the process to save and end, and wait until it has ended.

    Parameters
    ----------
    force
        Return as well where it does not end; whoever calls kills it.

    Raises
    ------
    EmulatorError
        It can't save what is stored, or does not answer. It is left running.
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
            if health.refused_stops > refused_before:
                if force:
                    return
                raise _not_saved(record, health.unsaved)
        elif time.monotonic() - answered_at > _SILENCE_MAX_S:
            if force:
                return
            raise EmulatorError(
                f"the local target (pid {record.pid}) has not answered for {_SILENCE_MAX_S:.0f} seconds",
                "End it, and lose what it has not saved:  esctl local stop --force",
            )
        time.sleep(_POLL_S)


def _not_saved(record: ProcessRecord, unsaved: Unsaved | None) -> EmulatorError:
    what = "" if unsaved is None else f": {unsaved}"  # None: it has saved by now
    return EmulatorError(
        f"the local target keeps running, because it can't save its data{what}",
        "Correct that and stop it again, or lose those changes:  esctl local stop --force",
    )


def end_remains(state: State) -> None:
    """Kill what is left of the emulator: its process, and workers of its functions that outlived it.

    Raises
    ------
    EmulatorError
        A process does not end.
    """
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
    """Send a signal; psutil compares start times first, so never to another process that got the pid."""
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(number)


def _owner_only(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
