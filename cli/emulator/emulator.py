"""Starting, stopping, looking at and emptying the emulator."""

from __future__ import annotations

import contextlib
import http.client
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cli.emulator import paths, process
from cli.emulator.catchup import catch_up
from cli.emulator.record import FOLDER, ProcessRecord, last_endpoint, read_process, remove_process
from cli.emulator.restore import damaged
from cli.emulator.surroundings import emulator_variables
from cli.environment import Environment
from cli.errors import EmulatorError
from cli.keys import local_access_key
from cli.state import State

_HEALTH_TIMEOUT_S = 30.0  # a machine under load; an emulator that still does not answer is stopped


@dataclass(frozen=True, slots=True)
class Status:
    """How the emulator is.

    Attributes
    ----------
    running
        The process lives and answers.
    pid, endpoint_url
        None where it does not run; the address is then the last one, where there was one.
    log
        Where its messages are.
    data
        The folder with what is stored.
    started
        This very call has started it.
    """

    running: bool
    pid: int | None
    endpoint_url: str | None
    log: Path
    data: Path
    started: bool = False


class Emulator:
    """The one emulator of a state directory."""

    def __init__(self, state: State, environment: Environment) -> None:
        self._state = state
        self._environment = environment

    def start(self, port: int | None = None) -> Status:
        """Bring it up, if it isn't, and wait until it answers.

        Parameters
        ----------
        port
            Where it is to listen; None for the port of the last time where that is free, else any free one.

        Raises
        ------
        EmulatorError
        """
        with self._exclusively():
            record = self._answering()
            if record is None:
                self._stop()
                self._check_saved()
                process.spawn(self._state, port, emulator_variables(self._state, self._environment.variables))
                status = self._status(started=True)
                if status.endpoint_url is not None:
                    catch_up(self._state, status.endpoint_url)
                return status
            if port and port != record.port:
                raise EmulatorError(
                    f"the local target already runs, on port {record.port}", "Stop it first:  esctl local stop"
                )
            return self._status()

    def stop(self) -> bool:
        """Stop it and wait until nothing of it is left; False where it didn't run."""
        with self._exclusively():
            return self._stop()

    def status(self) -> Status:
        return self._status()

    def reset(self) -> None:
        """Remove everything that is stored; where it runs, it is stopped and comes back empty at the same address."""
        with self._exclusively():
            ran = self._stop()
            shutil.rmtree(paths.data(self._state), ignore_errors=True)
            if paths.data(self._state).exists():
                raise EmulatorError(f"can't remove what is stored: look at {paths.data(self._state)}")
            if ran:
                process.spawn(self._state, None, emulator_variables(self._state, self._environment.variables))

    def _check_saved(self) -> None:
        broken = damaged(paths.services(self._state))
        if broken:
            raise EmulatorError(
                f"what is saved is damaged: {', '.join(map(str, broken))}",
                "Put the file back, or begin empty:  esctl local reset",
            )

    def _stop(self) -> bool:
        record = read_process(self._state)
        ran = process.is_alive(self._state)
        if ran and record is not None:
            process.ask_to_end(self._state, record.pid)
            if process.is_alive(self._state):
                raise EmulatorError(f"the local target does not end (pid {record.pid})")
        self._end_remains()
        return ran

    def _end_remains(self) -> None:
        """End the workers of an emulator that was killed, and remove its temporary files."""
        record = read_process(self._state)
        if record is not None:
            process.end_group(record.pid, leader_is_ours=process.is_alive(self._state))
        shutil.rmtree(paths.temporary(self._state), ignore_errors=True)
        remove_process(self._state)

    def _answering(self) -> ProcessRecord | None:
        """The record of the process where it lives and answers; one that lives and doesn't is no use."""
        if not process.is_alive(self._state) or local_access_key(self._state) is None:
            return None
        record = read_process(self._state)
        deadline = self._environment.monotonic() + _HEALTH_TIMEOUT_S
        while process.is_alive(self._state) and self._environment.monotonic() < deadline:
            if record is not None and self._answers(record.port):
                return record
            self._environment.sleep(0.05)
            record = read_process(self._state)
        return None

    def _status(self, *, started: bool = False) -> Status:
        alive = process.is_alive(self._state)
        record = read_process(self._state) if alive else None
        return Status(
            running=record is not None and self._answers(record.port),
            pid=None if record is None else record.pid,
            endpoint_url=last_endpoint(self._state) if record is None else record.endpoint_url,
            log=paths.log(self._state),
            data=paths.data(self._state),
            started=started,
        )

    def _answers(self, port: int) -> bool:
        authorization = f"AWS4-HMAC-SHA256 Credential={local_access_key(self._state)}/health"
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/_ministack/health", headers={"Authorization": authorization})
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    @contextlib.contextmanager
    def _exclusively(self) -> Iterator[None]:
        with self._state.lock(FOLDER, paths.START_LOCK):
            yield
