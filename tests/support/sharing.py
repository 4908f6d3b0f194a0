"""One thing for all the processes of a test run: made by the first that needs it, ended when the last is done with it."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path


@contextmanager
def shared(folder: Path, name: str, start: Callable[[], AbstractContextManager[str]]) -> Iterator[str]:
    """Yield what ``start`` yields, in this process or in another one that was first.

    Parameters
    ----------
    folder
        The same for all processes of the run.
    """
    value, owner = folder / name, ExitStack()
    with owner, _lock_file(folder / f"{name}.users") as users:
        with _lock_file(folder / f"{name}.lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            owns = not value.exists()
            if owns:
                value.write_text(owner.enter_context(start()))
            fcntl.flock(users, fcntl.LOCK_SH)
        try:
            yield value.read_text()
        finally:
            if owns:
                with _lock_file(folder / f"{name}.lock") as lock:
                    fcntl.flock(lock, fcntl.LOCK_EX)  # nobody joins while we wait for the others to be done
                    fcntl.flock(users, fcntl.LOCK_EX)
                    value.unlink()


@contextmanager
def _lock_file(path: Path) -> Iterator[int]:
    with path.open("a") as file:
        yield file.fileno()
