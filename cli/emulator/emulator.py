"""Start, stop, inspect and reset the emulator."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from cli.config.keys import ensure_local_access_key, local_access_key
from cli.config.selection import Targets
from cli.config.state import State
from cli.config.targets import LOCAL_ACCOUNT, LOCAL_REGION
from cli.emulator import process
from cli.emulator.process import Files, ProcessRecord, Unsaved
from cli.errors import CliError, EmulatorError
from cli.terminal.environment import Environment

# All that a Python process needs. Nothing more is passed on: no proxy (it would receive calls to 127.0.0.1), no
# credentials, no API_KEY, and no AUTH or LOG_LEVEL, which the emulator would read as its own.
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "PYTHONUSERBASE", "VIRTUAL_ENV")
_HEALTH_TIMEOUT_S = 30.0  # a machine under load
_LOCKED_S = 1.0
_RECONCILER = "Reconciler"


@dataclass(frozen=True, slots=True)
class Status:
    """State of the emulator."""

    running: bool  # the process exists and answers
    pid: int | None
    endpoint_url: str | None  # the last one, if known, when it is not running
    log: Path
    data: Path
    unsaved: Unsaved | None = None  # why its data can't be saved
    started: bool = False  # by this call


class Emulator:
    """The one emulator of a state directory."""

    def __init__(self, state: State, environment: Environment) -> None:
        self._state = state
        self._environment = environment
        self._files = Files(state)

    def start(self, port: int | None = None) -> Status:
        """Start it unless it is running, and wait until it answers.

        Without a port, it listens on the last one if that is free, otherwise on any free one.
        """
        with self._lock():
            record = self._answering()
            if record is None:
                self._stop()
                self._spawn(port)
                catch_up(self._state, process.last_endpoint(self._state))
                return self.status(started=True)
            if port and port != record.port:
                raise EmulatorError(
                    f"the local target is already running on port {record.port}", "Stop it first:  esctl local stop"
                )
            return self.status()

    def stop(self, *, force: bool = False) -> bool:
        """Save all data, stop it and wait until its processes have ended; return False if it was not running.

        If it can't save, it keeps running, and `EmulatorError` is raised; with ``force`` the unsaved data is lost.
        """
        with self._lock():
            return self._stop(force=force)

    def reset(self) -> None:
        """Delete all data; a running emulator is restarted empty at the same address."""
        with self._lock():
            ran = self._stop(force=True)
            try:
                process.remove(self._files.data)
            except OSError as error:
                path = error.filename or self._files.data
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
                f"Stop it where it was started (in a container?). Its files are in {self._files.folder}",
            )
        process.end_remains(self._state)
        process.remove(self._files.temporary)
        return record is not None

    def _answering(self) -> ProcessRecord | None:
        """Return the record of the process if it answers in time."""
        if local_access_key(self._state) is None:  # the key file is damaged: it cannot be called
            return None

        def settled(record: ProcessRecord | None) -> bool:
            return record is None or process.health_of(self._state, record) is not None

        record = self._environment.poll(lambda: process.find(self._state), settled, timeout_s=_HEALTH_TIMEOUT_S)
        return record if settled(record) else None

    def status(self, *, started: bool = False) -> Status:
        """Return its state; ``started`` is passed on."""
        record = process.find(self._state)
        health = None if record is None else process.health_of(self._state, record)
        return Status(
            running=health is not None,
            pid=None if record is None else record.pid,
            endpoint_url=process.last_endpoint(self._state),
            log=self._files.log,
            data=self._files.data,
            unsaved=None if health is None else health.unsaved,
            started=started,
        )

    def _lock(self) -> AbstractContextManager[None]:
        return self._state.lock(process.FOLDER, process.START_LOCK)


def emulator_variables(state: State, variables: Mapping[str, str]) -> dict[str, str]:
    """Return the whole environment of the emulator, which its functions see too; call it with the start lock held."""
    access_key, files = ensure_local_access_key(state), Files(state)
    kept = {name: variables[name] for name in _PASSED_ON if name in variables}
    return kept | {
        "TMPDIR": str(files.temporary),
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
        "DOCKER_HOST": f"unix://{files.folder}/no-docker.sock",
        "LOG_LEVEL": "WARNING",
        "POWERTOOLS_LOG_LEVEL": "INFO",  # of the functions, which would take LOG_LEVEL otherwise
        "PERSIST_STATE": "1",
        "S3_PERSIST": "1",
        "STATE_DIR": str(files.services),
        "S3_DATA_DIR": str(files.objects),
        # Enforcing the roles of functions costs time on every call.
        "AUTH": "true" if variables.get("ESCTL_LOCAL_IAM", "").lower() in ("true", "1") else "false",
    }


def catch_up(state: State, endpoint_url: str | None) -> None:
    """Invoke the reconciler of every local stack now instead of at its next minute.

    Records of the tables' streams are not saved, so the last events before a stop may never have been published. A stack
    that can't be invoked is left to its schedule.
    """
    from cli.client.aws import Clients, errors

    access_key = local_access_key(state)
    for target in Targets(state).local():
        clients = Clients(target.with_endpoint(endpoint_url, access_key))
        with contextlib.suppress(CliError), errors():
            found = clients.client("cloudformation").describe_stack_resource(
                StackName=target.stack_name, LogicalResourceId=_RECONCILER
            )
            if name := found["StackResourceDetail"].get("PhysicalResourceId"):
                clients.client("lambda").invoke(FunctionName=name, InvocationType="Event", Payload=b"{}")
