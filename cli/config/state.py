"""The state directory: what esctl remembers between runs, readable only by its owner."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from cli.errors import CliError

_DIRECTORY_MODE = 0o700
_FILE_MODE = 0o600
_WAITING_AFTER_S = 0.5


class Surroundings(Protocol):
    """What settings and state are found in: the process's environment variables and its working directory."""

    @property
    def variables(self) -> Mapping[str, str]: ...

    @property
    def directory(self) -> Path: ...


class State:
    """Files below one directory, written atomically; the directory is created on the first write."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def of(cls, environment: Surroundings) -> State:
        """Return the state in ``$XDG_STATE_HOME/esctl``, by default in the platform's own place."""
        configured = environment.variables.get("XDG_STATE_HOME", "").strip()
        # The XDG base directory specification: a relative path is invalid and must be ignored.
        if os.path.isabs(configured):
            return cls(Path(configured) / "esctl")
        from platformdirs import user_state_path

        return cls(user_state_path("esctl", appauthor=False))

    def path(self, *parts: str) -> Path:
        return self.root.joinpath(*parts)

    def directory(self, *parts: str) -> Path:
        """Return a folder of mode 0700, created if missing."""
        path = self.root
        try:
            path.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)
            path.chmod(_DIRECTORY_MODE)
            for part in parts:
                path = path / part
                path.mkdir(mode=_DIRECTORY_MODE, exist_ok=True)
                path.chmod(_DIRECTORY_MODE)
        except OSError as error:
            raise _unusable(path, error) from error
        return path

    def read_text(self, *parts: str) -> str | None:
        """Return the file's text; None if it is missing or not UTF-8. Raise `CliError` if it can't be read."""
        path = self.path(*parts)
        try:
            return path.read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError, UnicodeDecodeError):
            return None
        except OSError as error:
            raise CliError(
                f"can't read {path}: {error.strerror or error}", "Remove it, or make it readable, and try again."
            ) from error

    def write_text(self, text: str, *parts: str) -> Path:
        """Write a file of mode 0600, all or nothing."""
        folder = self.directory(*parts[:-1])
        path = folder / parts[-1]
        try:
            # The file is 0600, and in the same folder, so that the replacement is atomic.
            descriptor, temporary = tempfile.mkstemp(dir=folder, prefix=f".{parts[-1]}.")
            try:
                with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                    os.fchmod(file.fileno(), _FILE_MODE)
                    file.write(text)
                os.replace(temporary, path)
            except BaseException:
                with suppress(OSError):
                    os.unlink(temporary)
                raise
        except OSError as error:
            raise _unusable(path, error) from error
        return path

    def read_json(self, *parts: str, valid: Callable[[dict[str, Any]], bool] | None = None) -> dict[str, Any] | None:
        """Return the file's JSON object; None if it is missing, damaged or not ``valid``: the caller rebuilds it."""
        text = self.read_text(*parts)
        if text is None:
            return None
        try:
            document = json.loads(text)
        except (ValueError, RecursionError):
            return None
        return document if isinstance(document, dict) and (valid is None or valid(document)) else None

    def write_json(self, document: Mapping[str, Any], *parts: str) -> Path:
        return self.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", *parts)

    def remove(self, *parts: str) -> None:
        with suppress(FileNotFoundError, NotADirectoryError):
            self.path(*parts).unlink()

    @contextmanager
    def lock(self, *parts: str, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Hold a lock between processes; the system releases it when its holder exits.

        `waiting` is called once if another process holds it.
        """
        from filelock import FileLock, Timeout  # 35 ms; most commands take no lock

        path = self.directory(*parts[:-1]) / parts[-1]
        lock = FileLock(path, mode=_FILE_MODE)
        try:
            try:
                lock.acquire(timeout=_WAITING_AFTER_S)
            except Timeout:
                waiting()
                lock.acquire()
        except OSError as error:
            raise _unusable(path, error) from error
        try:
            yield
        finally:
            lock.release()


def _unusable(path: Path, error: OSError) -> CliError:
    return CliError(
        f"can't use the state directory: {error.strerror or error} ({path})",
        "Correct that, or set XDG_STATE_HOME to a writable folder.",
    )
