"""Where the emulator keeps its files, below the state directory."""

from __future__ import annotations

import shutil
from pathlib import Path

from cli.config.state import State

FOLDER = "emulator"
ALIVE_LOCK = "alive.lock"  # held by the emulator's process as long as it lives
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


def remove(path: Path) -> None:
    """Remove a file or a whole folder; nothing happens where there is none."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
