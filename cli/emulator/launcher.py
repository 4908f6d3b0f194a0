"""The emulator's own process: ``python -m cli.emulator.launcher STATE_DIRECTORY PORT READY_DESCRIPTOR``.

It is started with a bare environment (see ``surroundings.py``), holds a lock as long as it lives, and saves what is
stored every couple of seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import logging.handlers
import os
import shutil
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

from cli.emulator import paths
from cli.emulator.record import FOLDER, ProcessRecord, endpoint_url, last_port, remove_process, write_process
from cli.state import State

_LOCK_ATTEMPTS = 20  # somebody who looks whether we live holds the lock for an instant
_LOG_BYTES_MAX = 1_000_000
_BACKLOG = 512


def main(arguments: list[str]) -> None:
    os.umask(0o077)
    state, port, ready = State(Path(arguments[0])), int(arguments[1]), int(arguments[2])
    lock = _hold_alive_lock(state)
    listener = _listen(port or None, last_port(state))
    port = listener.getsockname()[1]
    _set_up_logging(state)
    _prepare(state, port)
    write_process(state, ProcessRecord(os.getpid(), port))
    try:
        # Not asyncio.run: it waits for requests that were cut off, and their functions for answers that no longer come.
        asyncio.new_event_loop().run_until_complete(_serve(listener, ready))
    finally:
        _clean_up(state)
        os.close(lock)
        logging.shutdown()
        # Threads of the emulator that wait for functions would hold the interpreter back.
        os._exit(0)


def _hold_alive_lock(state: State) -> int:
    path = state.directory(FOLDER) / paths.ALIVE_LOCK
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    for _ in range(_LOCK_ATTEMPTS):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            time.sleep(0.05)
    sys.exit(paths.EXIT_ALREADY_RUNNING)


def _listen(wanted: int | None, last: int | None) -> socket.socket:
    """Listen on the port asked for; else on the last one where it is free, else on any free one."""
    for port in [wanted] if wanted else [last or 0, 0]:
        # With the protocol said, so that asyncio sends answers at once: else each waits 40 ms for an acknowledgement.
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
            listener.listen(_BACKLOG)
        except OSError:
            listener.close()
            continue
        return listener
    sys.exit(paths.EXIT_PORT_TAKEN)


def _set_up_logging(state: State) -> None:
    """Warnings go to one bounded file; whatever is printed goes nowhere once we run."""
    handler = logging.handlers.RotatingFileHandler(paths.log(state), maxBytes=_LOG_BYTES_MAX, backupCount=1)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s [%(name)s] %(message)s"))
    # As there is a handler now, the emulator's own basicConfig does nothing.
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logger = logging.getLogger("esctl")

    def log_thread(hook: threading.ExceptHookArgs) -> None:
        if hook.exc_value is not None:
            logger.error("a thread failed", exc_info=hook.exc_value)

    threading.excepthook = log_thread


def _prepare(state: State, port: int) -> None:
    from cli.emulator.restore import adapt_saved_state

    shutil.rmtree(paths.temporary(state), ignore_errors=True)
    state.directory(FOLDER, "tmp")
    for name in ("services", "s3"):
        state.directory(FOLDER, "data", name)
    adapt_saved_state(paths.services(state), endpoint_url(port))
    # The emulator reads these when it is imported.
    os.environ["GATEWAY_PORT"] = str(port)


async def _serve(listener: socket.socket, ready: int) -> None:
    from ministack import app as emulator
    from ministack.core.persistence import save_all

    from cli.emulator.adaptations import adapt_emulator
    from cli.emulator.authorization import is_issued
    from cli.emulator.request_guard import RequestGuard
    from cli.emulator.saving import Saver
    from cli.emulator.server import Server

    access_key = os.environ["AWS_ACCESS_KEY_ID"]  # see surroundings.py
    adapt_emulator(access_key=access_key, enforces_policies=emulator.AUTH)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)

    started = asyncio.Event()
    guard = RequestGuard(emulator.app, started, access_key=access_key, is_issued=is_issued)
    saver = Saver(lambda: save_all(emulator._build_persistence_save_dict()), guard.activity)
    server = Server(guard)

    async def run_until_stopped() -> None:
        await started.wait()
        _report_ready(ready)
        saving = asyncio.create_task(saver.run())
        await stop.wait()
        saving.cancel()
        # The emulator saves once more when it stops: a snapshot under way must not come after that.
        saver.finish()
        server.end()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(run_until_stopped())
        await server.serve_on(listener)


def _report_ready(descriptor: int) -> None:
    """Tell the one who waits; from now on printing goes nowhere."""
    with contextlib.suppress(OSError):
        os.write(descriptor, b"ready\n")
        os.close(descriptor)
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(null, stream)
    os.close(null)


def _clean_up(state: State) -> None:
    """Leave no function worker and no temporary folder."""
    runtime: Any = sys.modules.get("ministack.core.lambda_runtime")
    if runtime is not None:
        with runtime._lock:
            workers = [worker for pool in runtime._workers.values() for worker in pool]
        runtime.kill_workers(workers)
    shutil.rmtree(paths.temporary(state), ignore_errors=True)
    remove_process(state)


if __name__ == "__main__":
    main(sys.argv[1:])
