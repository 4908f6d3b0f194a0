"""Starting, stopping, looking at and emptying the emulator."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cli.config.keys import local_access_key
from cli.config.selection import Targets
from cli.config.state import State
from cli.emulator import paths, process
from cli.emulator.paths import remove
from cli.emulator.process import ProcessRecord, Unsaved
from cli.emulator.process_env import emulator_variables
from cli.errors import CliError, EmulatorError
from cli.terminal.environment import Environment

if TYPE_CHECKING:
    from cli.client.aws import Clients

_HEALTH_TIMEOUT_S = 30.0  # a machine under load
_LOCKED_S = 1.0
_RECONCILER = "Reconciler"


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
    unsaved
        Why what is stored can't be saved; None where it can.
    started
        This very call has started it.
    """

    running: bool
    pid: int | None
    endpoint_url: str | None
    log: Path
    data: Path
    unsaved: Unsaved | None = None
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
                self._spawn(port)
                status = self._status(started=True)
                if status.endpoint_url is not None:
                    catch_up(self._state, status.endpoint_url)
                return status
            if port and port != record.port:
                raise EmulatorError(
                    f"the local target already runs, on port {record.port}", "Stop it first:  esctl local stop"
                )
            return self._status()

    def stop(self, *, force: bool = False) -> bool:
        """Save everything, stop it and wait until nothing of it is left; False where it didn't run.

        Parameters
        ----------
        force
            Stop it where it can't save, too: what is not saved is lost.

        Raises
        ------
        EmulatorError
            It can't save, and keeps running.
        """
        with self._exclusively():
            return self._stop(force=force)

    def status(self) -> Status:
        return self._status()

    def reset(self) -> None:
        """Remove everything that is stored; where it runs, it is stopped and comes back empty at the same address."""
        with self._exclusively():
            ran = self._stop(force=True)
            try:
                remove(paths.data(self._state))
            except OSError as error:
                raise EmulatorError(
                    f"can't remove what is stored: {error.strerror or error}: {error.filename or paths.data(self._state)}"
                ) from error
            if ran:
                self._spawn(None)

    def _spawn(self, port: int | None) -> None:
        process.spawn(self._state, port, emulator_variables(self._state, self._environment.variables))

    def _stop(self, *, force: bool = False) -> bool:
        record = process.find(self._state)
        if record is not None:
            process.end(self._state, record, force=force)
        elif process.is_alive(self._state, timeout_s=_LOCKED_S):
            raise EmulatorError(
                f"the local target runs, but its process is not to be seen: it holds {paths.ALIVE_LOCK}",
                f"Stop it where it was started (in a container?). Its files are in {paths.folder(self._state)}",
            )
        process.end_remains(self._state)
        remove(paths.temporary(self._state))
        return record is not None

    def _answering(self) -> ProcessRecord | None:
        """Return the record of the process where it lives and answers; one that does not answer is no use."""
        if local_access_key(self._state) is None:  # the key file is damaged: it cannot be called
            return None
        deadline = self._environment.monotonic() + _HEALTH_TIMEOUT_S
        while record := process.find(self._state):
            if process.health_of(self._state, record) is not None:
                return record
            if self._environment.monotonic() > deadline:
                break
            self._environment.sleep(0.05)
        return None

    def _status(self, *, started: bool = False) -> Status:
        record = process.find(self._state)
        health = None if record is None else process.health_of(self._state, record)
        return Status(
            running=health is not None,
            pid=None if record is None else record.pid,
            endpoint_url=process.last_endpoint(self._state),
            log=paths.log(self._state),
            data=paths.data(self._state),
            unsaved=None if health is None else health.unsaved,
            started=started,
        )

    @contextlib.contextmanager
    def _exclusively(self) -> Iterator[None]:
        with self._state.lock(paths.FOLDER, paths.START_LOCK):
            yield


def catch_up(state: State, endpoint_url: str) -> None:
    """Ask the reconciler of every local stack to compare heads with checkpoints now, not at its next minute.

    The records of the tables' streams are not saved, so what was stored just before the end may never have been
    published. A stack that can't be asked is left to its schedule.
    """
    from cli.client.aws import Clients

    access_key = local_access_key(state)
    for target in Targets(state).local():
        with contextlib.suppress(CliError):
            _reconcile(Clients(target.with_endpoint(endpoint_url, access_key)), target.stack_name)


def _reconcile(clients: Clients, stack_name: str) -> None:
    from cli.client.aws import errors

    with errors():
        pages = clients.client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=stack_name)
        for page in pages:
            for resource in page["StackResourceSummaries"]:
                name = resource.get("PhysicalResourceId")
                if resource["LogicalResourceId"] == _RECONCILER and name:
                    clients.client("lambda").invoke(FunctionName=name, InvocationType="Event", Payload=b"{}")
