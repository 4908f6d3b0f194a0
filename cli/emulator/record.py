"""What is written down about the emulator's process: cheap to read, no heavy import."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from cli.state import State

FOLDER = "emulator"
_PROCESS = "process.json"
_PORT = "port.json"


@dataclass(frozen=True, slots=True)
class ProcessRecord:
    """The background process; written by itself. Whether it lives, only its lock tells.

    Attributes
    ----------
    pid
        Also the id of its session and process group.
    port
        Where it listens on 127.0.0.1.
    """

    pid: int
    port: int

    @property
    def endpoint_url(self) -> str:
        return endpoint_url(self.port)


def endpoint_url(port: int) -> str:
    return f"http://127.0.0.1:{port}"


def read_process(state: State) -> ProcessRecord | None:
    document = state.read_json(FOLDER, _PROCESS)
    try:
        return None if document is None else ProcessRecord(int(document["pid"]), int(document["port"]))
    except (KeyError, TypeError, ValueError):
        return None


def write_process(state: State, record: ProcessRecord) -> None:
    state.write_json(asdict(record), FOLDER, _PROCESS)
    state.write_json({"port": record.port}, FOLDER, _PORT)


def remove_process(state: State) -> None:
    state.remove(FOLDER, _PROCESS)


def last_port(state: State) -> int | None:
    """The port used last: addresses handed out then are right again when it is free."""
    port = (state.read_json(FOLDER, _PORT) or {}).get("port")
    return port if isinstance(port, int) and 0 < port < 65536 else None


def last_endpoint(state: State) -> str | None:
    """The address that the emulator has, or had when it last ran; whether it answers is not looked at."""
    port = last_port(state)
    return None if port is None else endpoint_url(port)
