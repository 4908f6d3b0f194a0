"""The emulator's process as its operator sees it: alive or not, beginning, ending."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from cli.emulator import paths
from cli.emulator.record import FOLDER
from cli.errors import EmulatorError
from cli.state import State

_START_TIMEOUT_S = 60.0  # half a second on an idle machine; much more when it first compiles its modules on a busy one
_STOP_TIMEOUT_S = 30.0  # it saves everything first
_KILL_TIMEOUT_S = 5.0
_POLL_S = 0.02


def is_alive(state: State) -> bool:
    """Whether the process lives: it holds a lock that dies with it, so no pid of somebody else can deceive us."""
    try:
        descriptor = os.open(state.path(FOLDER, paths.ALIVE_LOCK), os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def spawn(state: State, port: int | None, variables: Mapping[str, str]) -> None:
    """Begin the process and wait until it answers.

    Raises
    ------
    EmulatorError
        It ended before, or did not answer in time; nothing of it is left then.
    """
    folder = state.directory(FOLDER)
    state.directory(FOLDER, "tmp")
    log = paths.log(state)
    reader, writer = os.pipe()
    try:
        with open(log, "ab", opener=_owner_only) as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "cli.emulator.launcher", str(state.root), str(port or 0), str(writer)],
                cwd=folder,
                env=dict(variables),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=[writer],
                start_new_session=True,  # Ctrl-C at the terminal is not meant for it
            )
        os.close(writer)
        writer = -1
        try:
            answered, _, _ = select.select([reader], [], [], _START_TIMEOUT_S)
            ready = bool(answered) and os.read(reader, 16) != b""
        except BaseException:
            end_group(process.pid)
            raise
        if not ready:
            _explain_failure(process, port, log, in_time=bool(answered))
    finally:
        os.close(reader)
        if writer >= 0:
            os.close(writer)


def ask_to_end(state: State, pid: int) -> None:
    """Ask the process to save and end, and wait for it; then end what is left of its group."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_TIMEOUT_S
    while is_alive(state) and time.monotonic() < deadline:
        _collect(pid)
        time.sleep(_POLL_S)
    end_group(pid, leader_is_ours=True)


def end_group(pid: int, *, leader_is_ours: bool = True) -> None:
    """Kill every process of the emulator's group and wait until none is left.

    Parameters
    ----------
    leader_is_ours
        False where the leader is known to be dead: a living process of that number is then somebody else's.
    """
    if not leader_is_ours and _exists(pid):
        return
    deadline = time.monotonic() + _KILL_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            os.killpg(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):  # macOS: EPERM for a group of zombies only
            return
        _collect(pid)
        if not _group_lives(pid):
            return
        time.sleep(_POLL_S)


def _explain_failure(process: subprocess.Popen[bytes], port: int | None, log: Path, *, in_time: bool) -> None:
    if not in_time:
        end_group(process.pid)
        raise EmulatorError(
            f"the local target did not answer within {_START_TIMEOUT_S:.0f} seconds", f"Its messages are in {log}"
        )
    code = process.wait()
    end_group(process.pid)
    if code == paths.EXIT_PORT_TAKEN:
        raise EmulatorError(f"can't use port {port}: another program has it", "Choose another, or leave --port out.")
    last = _last_line(log)
    raise EmulatorError(f"the local target ended at once: {last or f'exit code {code}'}", f"Its messages are in {log}")


def _last_line(log: Path) -> str:
    with contextlib.suppress(OSError):
        lines = log.read_text(errors="replace").strip().splitlines()
        return lines[-1].strip() if lines else ""
    return ""


def _collect(pid: int) -> None:
    """Reap the process where it is our own child; else init does."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return not _is_zombie(pid)


def _group_lives(pid: int) -> bool:
    """Whether a process of the group runs; zombies that nobody collects (no init in a container) don't count."""
    proc = Path("/proc")
    if not (proc / "self" / "stat").exists():
        try:
            os.killpg(pid, 0)
        except (ProcessLookupError, PermissionError):
            return False
        return True
    return any(group == pid and status != "Z" for group, status in _processes(proc))


def _is_zombie(pid: int) -> bool:
    return any(status == "Z" for _, status in _stat(Path(f"/proc/{pid}/stat")))


def _processes(proc: Path) -> list[tuple[int, str]]:
    return [entry for path in proc.glob("[0-9]*/stat") for entry in _stat(path)]


def _stat(path: Path) -> list[tuple[int, str]]:
    """Group and status of one process, from ``/proc/PID/stat`` (see proc(5)); empty where it is gone."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        # The name, in parentheses, may hold spaces and parentheses itself.
        status, _, group, *_ = path.read_text().rpartition(")")[2].split()
        return [(int(group), status)]
    return []


def _owner_only(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
