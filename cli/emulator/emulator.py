"""Start, stop, inspect and reset the emulator."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cli.config.keys import ensure_local_access_key, local_access_key
from cli.config.selection import Targets
from cli.config.state import State
from cli.config.targets import LOCAL_ACCOUNT, LOCAL_REGION
from cli.emulator import process
from cli.emulator.process import ProcessRecord, Unsaved
from cli.errors import CliError, EmulatorError
from cli.terminal.environment import Environment

if TYPE_CHECKING:
    from cli.client.aws import Clients

# All that a Python process needs. Nothing more is passed on: no proxy (it would receive calls to 127.0.0.1), no
# credentials, no API_KEY, and no AUTH or LOG_LEVEL, which the emulator would read as its own.
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "PYTHONUSERBASE", "VIRTUAL_ENV")
_HEALTH_TIMEOUT_S = 30.0  # a machine under load
_LOCKED_S = 1.0
_RECONCILER = "Reconciler"


@dataclass(frozen=True, slots=True)
class Status:
    """State of the emulator.

    Attributes
    ----------
    running
        The process exists and answers.
    pid, endpoint_url
        None if it is not running; the address is then the last one, if known.
    log, data
        Its log file, and the folder of its data.
    unsaved
        Why its data can't be saved; None if it can.
    started
        Started by this call.
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
        """Start it unless it is running, and wait until it answers.

        Parameters
        ----------
        port
            Port to listen on; None for the last one if that is free, otherwise any free one.
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
                    f"the local target is already running on port {record.port}", "Stop it first:  esctl local stop"
                )
            return self._status()

    def stop(self, *, force: bool = False) -> bool:
        """Save all data, stop it and wait until its processes have ended; return False if it was not running.

        Parameters
        ----------
        force
            Stop it even if it can't save; unsaved data is lost.

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
        """Delete all data; a running emulator is restarted empty at the same address."""
        with self._exclusively():
            ran = self._stop(force=True)
            try:
                process.remove(process.data_folder(self._state))
            except OSError as error:
                path = error.filename or process.data_folder(self._state)
                raise EmulatorError(f"can't delete the data: {error.strerror or error}: {path}") from error
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
                f"the local target is running, but its process is not visible: it holds {process.ALIVE_LOCK}",
                f"Stop it where it was started (in a container?). Its files are in {process.folder(self._state)}",
            )
        process.end_remains(self._state)
        process.remove(process.temporary_folder(self._state))
        return record is not None

    def _answering(self) -> ProcessRecord | None:
        """Return the record of the process if it answers in time."""
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
            log=process.log_path(self._state),
            data=process.data_folder(self._state),
            unsaved=None if health is None else health.unsaved,
            started=started,
        )

    @contextlib.contextmanager
    def _exclusively(self) -> Iterator[None]:
        with self._state.lock(process.FOLDER, process.START_LOCK):
            yield


def emulator_variables(state: State, variables: Mapping[str, str]) -> dict[str, str]:
    """Return the whole environment of the emulator, which its functions see too; call it with the start lock held."""
    access_key = ensure_local_access_key(state)
    kept = {name: variables[name] for name in _PASSED_ON if name in variables}
    return kept | {
        "TMPDIR": str(process.temporary_folder(state)),
        # The emulator's administrator, and the credentials of its functions (see `patches`).
        "AWS_ACCESS_KEY_ID": access_key,
        "AWS_SECRET_ACCESS_KEY": access_key,
        # The user's own configuration must not reach the functions' clients.
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "BIND_HOST": "127.0.0.1",
        "MINISTACK_HOST": "127.0.0.1",
        "MINISTACK_REGION": LOCAL_REGION,
        "MINISTACK_ACCOUNT_ID": LOCAL_ACCOUNT,
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        # Otherwise the emulator removes containers of other emulators when it starts and stops.
        "DOCKER_HOST": f"unix://{process.folder(state)}/no-docker.sock",
        "LOG_LEVEL": "WARNING",
        "POWERTOOLS_LOG_LEVEL": "INFO",  # of the functions, which would take LOG_LEVEL otherwise
        "PERSIST_STATE": "1",
        "S3_PERSIST": "1",
        "STATE_DIR": str(process.services_folder(state)),
        "S3_DATA_DIR": str(process.objects_folder(state)),
        # Enforcing the roles of functions costs time on every call.
        "AUTH": "true" if variables.get("ESCTL_LOCAL_IAM", "").lower() in ("true", "1") else "false",
    }


def catch_up(state: State, endpoint_url: str) -> None:
    """Invoke the reconciler of every local stack now instead of at its next minute.

    Records of the tables' streams are not saved, so the last events before a stop may never have been published. A stack
    that can't be invoked is left to its schedule.
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
