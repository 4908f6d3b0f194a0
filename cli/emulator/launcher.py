"""The emulator's own process: ``python -m cli.emulator.launcher STATE_DIRECTORY PORT READY_DESCRIPTOR``.

It is started with a bare environment (see ``surroundings.py``), holds a lock as long as it lives, and saves what is
stored every couple of seconds. It ends when everything is saved, and not before.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import logging.handlers
import os
import shutil
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.config.state import State
from cli.emulator import paths
from cli.emulator.paths import FOLDER
from cli.emulator.process import HEALTH_PATH, READY, ProcessRecord, read_record, told, write_record
from cli.errors import CliError, EmulatorError

if TYPE_CHECKING:
    from filelock import FileLock

    from cli.emulator.request_guard import Receive, Scope, Send
    from cli.emulator.restore import SavedService

_LOCK_TIMEOUT_S = 2.0  # whoever looks whether we live holds the lock for an instant
_DRAIN_S = 1.0
_LOG_BYTES_MAX = 1_000_000
_BACKLOG = 512


def main(arguments: list[str]) -> None:
    os.umask(0o077)
    state, port, ready = State(Path(arguments[0])), int(arguments[1]), int(arguments[2])
    try:
        lock = _hold_alive_lock(state)
        try:
            _run(state, port, ready)
        finally:
            _clean_up(state)
            lock.release()
    except CliError as error:
        _tell(ready, told(error))
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        _tell(ready, told(EmulatorError(f"can't start the local target: {error.strerror or error}{where}")))
    except Exception:
        logging.getLogger("esctl").exception("the local target ends")
    finally:
        logging.shutdown()
        # Threads of the emulator that wait for functions would hold the interpreter back.
        os._exit(0)


def _hold_alive_lock(state: State) -> FileLock:
    from filelock import FileLock, Timeout

    lock = FileLock(state.directory(FOLDER) / paths.ALIVE_LOCK, mode=0o600)
    try:
        lock.acquire(timeout=_LOCK_TIMEOUT_S)
    except Timeout as error:
        raise EmulatorError(f"the local target runs already: {lock.lock_file} is held") from error
    return lock


def _run(state: State, port: int, ready: int) -> None:
    import psutil

    from cli.emulator.restore import read_saved

    _set_up_logging(state)
    shutil.rmtree(paths.temporary(state), ignore_errors=True)
    state.directory(FOLDER, "tmp")
    for name in ("services", "s3"):
        state.directory(FOLDER, "data", name)
    copies = state.path("assemblies").glob("*/*.zip")  # where deployments keep the code that they have uploaded
    saved = read_saved(paths.services(state), paths.objects(state), copies=copies)
    last = read_record(state)
    listener = _listen(port or None, last.port if last else None)
    port = listener.getsockname()[1]
    write_record(state, ProcessRecord(os.getpid(), psutil.Process().create_time(), port))
    os.environ["GATEWAY_PORT"] = str(port)  # the emulator reads it when it is imported
    # Not asyncio.run: it waits for requests that were cut off, and their functions for answers that no longer come.
    asyncio.new_event_loop().run_until_complete(_Supervisor(state, port, saved).run(listener, ready))


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
    raise EmulatorError(f"can't use port {wanted}: another program has it", "Choose another, or leave --port out.")


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


class _Supervisor:
    """Runs the emulator: restores what was saved, saves, says how it is, and ends it when everything is saved."""

    def __init__(self, state: State, port: int, saved: dict[str, SavedService]) -> None:
        from ministack import app as emulator

        from cli.emulator.patches import patch_emulator
        from cli.emulator.request_guard import RequestGuard, is_issued
        from cli.emulator.restore import restore_services
        from cli.emulator.saving import Saver, save_services
        from cli.emulator.server import Server

        self._emulator: Any = emulator
        self._started, self._stop = asyncio.Event(), asyncio.Event()
        self._requests = 0
        self._refused_stops = 0
        self._closed = False
        self._failure: CliError | None = None

        def restore() -> None:
            try:
                restore_services(saved, port)
            except CliError as error:
                self._failure = error
                raise

        access_key = os.environ["AWS_ACCESS_KEY_ID"]  # see process_env.py
        patch_emulator(access_key=access_key, restore=restore)
        guard = RequestGuard(self._handle, self._started, access_key=access_key, is_issued=is_issued)

        def save() -> None:
            save_services(emulator._build_persistence_save_dict(), paths.services(state), port)

        self._saver = Saver(save, guard.activity)
        self._server = Server(guard)

    async def run(self, listener: socket.socket, ready: int) -> None:
        """Serve until a signal asks to end, and everything is saved.

        Raises
        ------
        EmulatorError
            What was saved can't be restored.
        """
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, self._stop.set)
        async with asyncio.TaskGroup() as tasks:
            stopping = tasks.create_task(self._end_when_saved(ready))
            await self._server.serve_on(listener)
            stopping.cancel()
        if self._failure is not None:
            raise self._failure

    async def _end_when_saved(self, ready: int) -> None:
        await self._started.wait()
        _report_ready(ready)
        saving = asyncio.create_task(self._saver.run())
        while True:
            await self._stop.wait()
            self._stop.clear()
            # What is answered from now on would not be in the last snapshot.
            self._closed = True
            await self._drained()
            if await self._saver.save():
                break
            self._closed = False
            self._refused_stops += 1
        saving.cancel()
        self._emulator.PERSIST_STATE = False  # it would save once more when it ends
        self._server.end()

    async def _drained(self) -> None:
        """Wait until requests under way are answered, but not for those that wait for messages."""
        deadline = asyncio.get_running_loop().time() + _DRAIN_S
        while self._requests and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.01)

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._emulator.app(scope, receive, send)
        elif scope["path"] == HEALTH_PATH:
            await _answer(send, 200, self._health())
        elif self._closed:
            await _answer(send, 503, {"message": "The local target is stopping."})
        else:
            self._requests += 1
            try:
                await self._emulator.app(scope, receive, send)
            finally:
                self._requests -= 1

    def _health(self) -> dict[str, object]:
        unsaved = self._saver.unsaved
        return {
            "pid": os.getpid(),
            "refusedStops": self._refused_stops,
            "unsaved": None if unsaved is None else {"since": unsaved.since, "why": unsaved.why},
        }


async def _answer(send: Send, status: int, document: dict[str, object]) -> None:
    body = json.dumps(document).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _report_ready(descriptor: int) -> None:
    """Tell whoever waits for the start; from now on printing goes nowhere."""
    _tell(descriptor, READY)
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(null, stream)
    os.close(null)


def _tell(descriptor: int, message: bytes) -> None:
    with contextlib.suppress(OSError):  # nobody waits any more
        os.write(descriptor, message)
        os.close(descriptor)


def _clean_up(state: State) -> None:
    """Leave no function worker and no temporary folder."""
    runtime: Any = sys.modules.get("ministack.core.lambda_runtime")
    if runtime is not None:
        with runtime._lock:
            workers = [worker for pool in runtime._workers.values() for worker in pool]
        runtime.kill_workers(workers)
    shutil.rmtree(paths.temporary(state), ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1:])
