"""Where an invocation's log ends.

A function's worker in the emulator sends its log through one pipe and its answer through another. To have all lines with
the answer, the emulator waits until none came for 5 ms, or for 50 where none comes at all, at every invocation. Here the
worker itself says which line was the last: nothing is waited for, and no line can be late for its invocation.
"""

from __future__ import annotations

import queue
import time
from typing import Any

LAST_LINE = "\x1e end of invocation"
_ANSWERS = "        _real_stdout.flush()\n\nrun()\n"
_SAYS_LAST_LINE = f"        print({LAST_LINE!r}, file=sys.__stderr__, flush=True)\n"
# A worker that died in the middle does not say it. This is the emulator's own upper bound.
_TIMEOUT_S = 0.25


def adapt_logs() -> None:
    """Make the function workers of this process's emulator say where the log of an invocation ends.

    Raises
    ------
    ValueError
        The workers of this release of the emulator answer in another way.
    """
    from ministack.core import lambda_runtime

    runtime: Any = lambda_runtime
    runtime._PYTHON_WORKER_SCRIPT = saying_last_line(runtime._PYTHON_WORKER_SCRIPT)
    runtime.Worker._drain_stderr_bounded = lambda worker: log_of_invocation(worker._stderr_queue)


def saying_last_line(script: str) -> str:
    """Return the program of a worker that says, before each answer, that its log ends there.

    Raises
    ------
    ValueError
        It answers in another way than the one known here.
    """
    if not script.endswith(_ANSWERS):
        raise ValueError("the emulator's function workers answer in another way than expected")
    return script.removesuffix(_ANSWERS) + _SAYS_LAST_LINE + _ANSWERS


def log_of_invocation(lines: queue.Queue[str], timeout_s: float = _TIMEOUT_S) -> str:
    """Take an invocation's lines: up to the one that says that it is the last, or what comes within ``timeout_s``."""
    taken = []
    deadline = time.monotonic() + timeout_s
    is_last = False
    while not is_last:
        try:
            line = lines.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            break
        # What a handler wrote without ending the line stands before the mark.
        text, mark, _ = line.partition(LAST_LINE)
        is_last = bool(mark)
        if text or not is_last:
            taken.append(text)
    return "\n".join(taken)
