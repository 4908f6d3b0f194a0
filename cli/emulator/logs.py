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
_CALLS = "            result = handler_fn(event, context)\n"
_CALLS_AND_SAYS_LAST_LINE = f"""            try:
                result = handler_fn(event, context)
            finally:
                print({LAST_LINE!r}, file=sys.__stderr__, flush=True)
"""
# A worker that died in the middle does not say it. This is the emulator's own upper bound.
_TIMEOUT_S = 0.25


def adapt_logs() -> None:
    """Make the Python workers of this process's emulator say where the log of an invocation ends.

    Raises
    ------
    ValueError
        The workers of this release of the emulator call handlers in another way.
    """
    from ministack.core import lambda_runtime

    runtime: Any = lambda_runtime
    runtime._PYTHON_WORKER_SCRIPT = saying_last_line(runtime._PYTHON_WORKER_SCRIPT)
    as_it_came = runtime.Worker._drain_stderr_bounded

    def drain(worker: Any, *arguments: Any, **named: Any) -> str:
        if type(worker) is not runtime.Worker or not worker.config.get("Runtime", "python").startswith("python"):
            waited: str = as_it_came(worker, *arguments, **named)
            return waited
        log = vars(worker).setdefault("_esctl_log", WorkerLog())
        text: str = log.of_invocation(worker._stderr_queue, worker._proc)
        return text

    runtime.Worker._drain_stderr_bounded = drain


def saying_last_line(script: str) -> str:
    """Return the program of a worker that says where the log ends, after each call of the handler and before the answer.

    Raises
    ------
    ValueError
        It calls the handler in another way than the one known here.
    """
    if script.count(_CALLS) != 1:
        raise ValueError("the emulator's function workers call handlers in another way than expected")
    return script.replace(_CALLS, _CALLS_AND_SAYS_LAST_LINE)


class WorkerLog:
    """What is known of one worker's log: the ends of invocations that did not come in time are passed over later."""

    def __init__(self) -> None:
        self._process: object = None
        self._missed = 0

    def of_invocation(self, lines: queue.Queue[str], process: object, timeout_s: float = _TIMEOUT_S) -> str:
        """Take an invocation's lines: up to the one that says that it is the last, or what comes within ``timeout_s``.

        Parameters
        ----------
        process
            The worker's; None where it has been ended. A new one owes nothing of the one before.
        """
        if process is not self._process:
            self._process, self._missed = process, 0
        taken = []
        deadline = time.monotonic() + timeout_s
        while self._missed >= 0:
            try:
                line = lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                break
            # What a handler wrote without ending the line stands before the mark.
            text, mark, _ = line.partition(LAST_LINE)
            if text or not mark:
                taken.append(text)
            self._missed -= bool(mark)
        self._missed += 1
        return "\n".join(taken)
