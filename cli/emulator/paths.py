"""Where the emulator keeps its things, below the state directory, and how its process and its operator tell each other."""

from __future__ import annotations

from pathlib import Path

from cli.emulator.record import FOLDER
from cli.state import State

ALIVE_LOCK = "alive.lock"  # held by the emulator's process as long as it lives
EXIT_ALREADY_RUNNING = 75  # EX_TEMPFAIL of sysexits(3)
EXIT_PORT_TAKEN = 76
START_LOCK = "start.lock"  # held by whoever starts, stops or empties it


def folder(state: State) -> Path:
    return state.path(FOLDER)


def data(state: State) -> Path:
    """What is stored; emptied by a reset."""
    return folder(state) / "data"


def services(state: State) -> Path:
    return data(state) / "services"


def objects(state: State) -> Path:
    return data(state) / "s3"


def temporary(state: State) -> Path:
    """Unpacked function code and the like; gone after a stop."""
    return folder(state) / "tmp"


def log(state: State) -> Path:
    return folder(state) / "emulator.log"
