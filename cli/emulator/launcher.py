"""The emulator's own process: ``python -m cli.emulator.launcher STATE_DIRECTORY PORT READY_DESCRIPTOR``.

It runs with a bare environment (`emulator.emulator_variables`), holds a lock while it lives, saves its data every two
seconds, and ends only once all is saved.
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
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn

from cli.config.state import State
from cli.emulator.process import (
    ALIVE_LOCK,
    FOLDER,
    HEALTH_PATH,
    READY,
    Files,
    Health,
    ProcessRecord,
    error_message,
    read_record,
    write_record,
)
from cli.errors import CliError, EmulatorError

if TYPE_CHECKING:
    from filelock import FileLock

    from cli.emulator.request_guard import Receive, Scope, Send
    from cli.emulator.saved_data import SavedService

_LOCK_TIMEOUT_S = 2.0  # a concurrent `is_alive` holds the lock for an instant
_DRAIN_S = 1.0
_LOG_BYTES_MAX = 1_000_000
_BACKLOG = 512


def main(arguments: list[str]) -> None:
    """Run the emulator until it is stopped."""
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
        _tell(ready, error_message(error))
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        _tell(ready, error_message(EmulatorError(f"can't start the local target: {error.strerror or error}{where}")))
    except Exception:
        logging.getLogger("esctl").exception("the local target ends")
    finally:
        logging.shutdown()
        # Threads of the emulator that wait for functions would delay the interpreter's exit.
        os._exit(0)


def _hold_alive_lock(state: State) -> FileLock:
    from filelock import FileLock, Timeout

    lock = FileLock(state.directory(FOLDER) / ALIVE_LOCK, mode=0o600)
    try:
        lock.acquire(timeout=_LOCK_TIMEOUT_S)
    except Timeout as error:
        raise EmulatorError(f"the local target is already running: {lock.lock_file} is held") from error
    return lock


def _run(state: State, port: int, ready: int) -> None:
    import psutil

    from cli.emulator.saved_data import read_saved

    _set_up_logging(state)
    shutil.rmtree(Files(state).temporary, ignore_errors=True)
    state.directory(FOLDER, "tmp")
    for name in ("services", "s3"):
        state.directory(FOLDER, "data", name)
    copies = state.path("assemblies").glob("*/*.zip")  # code that deployments uploaded
    saved = read_saved(Files(state).services, Files(state).objects, copies=copies)
    last = read_record(state)
    listener = _listen(port or None, last.port if last else None)
    port = listener.getsockname()[1]
    write_record(state, ProcessRecord(os.getpid(), psutil.Process().create_time(), port))
    os.environ["GATEWAY_PORT"] = str(port)  # the emulator reads it when it is imported
    # Not asyncio.run, which waits for aborted requests, whose functions wait for answers that never come.
    asyncio.new_event_loop().run_until_complete(_Supervisor(state, port, saved).run(listener, ready))


def _listen(wanted: int | None, last: int | None) -> socket.socket:
    """Listen on the wanted port, or on the last one if it is free, or on any free one."""
    for port in [wanted] if wanted else [last or 0, 0]:
        # asyncio sets TCP_NODELAY only if the protocol is named; otherwise each answer waits 40 ms for an acknowledgement.
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
            listener.listen(_BACKLOG)
        except OSError:
            listener.close()
            continue
        return listener
    raise EmulatorError(f"can't use port {wanted}: another program uses it", "Choose another port, or omit --port.")


def _set_up_logging(state: State) -> None:
    """Log warnings to one bounded file."""
    handler = logging.handlers.RotatingFileHandler(Files(state).log, maxBytes=_LOG_BYTES_MAX, backupCount=1)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s [%(name)s] %(message)s"))
    # With a handler set, the emulator's own basicConfig does nothing.
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logger = logging.getLogger("esctl")

    def log_thread(hook: threading.ExceptHookArgs) -> None:
        if hook.exc_value is not None:
            logger.error("a thread failed", exc_info=hook.exc_value)

    threading.excepthook = log_thread


class _Server(uvicorn.Server):
    """Serves an ASGI application until `should_exit` is set.

    Uvicorn with httptools takes 0.4 ms of CPU per call, the emulator's Hypercorn with h11 0.9 ms.
    """

    def __init__(self, application: Any) -> None:
        super().__init__(
            uvicorn.Config(
                application,
                http="httptools",
                ws="none",
                loop="asyncio",
                lifespan="on",
                log_config=None,
                log_level=logging.WARNING,
                access_log=False,
                # The emulator sends its own, as AWS does.
                server_header=False,
                date_header=False,
                proxy_headers=False,  # there is no proxy: trust no forwarded address
                timeout_keep_alive=75,
                timeout_graceful_shutdown=1,
            )
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the supervisor."""
        yield


class _Supervisor:
    """Runs the emulator: restores and saves its data, reports its health, and ends it once all is saved."""

    def __init__(self, state: State, port: int, saved: dict[str, SavedService]) -> None:
        from ministack import app as emulator

        from cli.emulator.patches import patch_emulator
        from cli.emulator.request_guard import RequestGuard, is_issued
        from cli.emulator.saved_data import Saver, restore_services, save_services

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

        access_key = os.environ["AWS_ACCESS_KEY_ID"]  # see `emulator.emulator_variables`
        patch_emulator(access_key=access_key, restore=restore)
        guard = RequestGuard(self._handle, self._started, access_key=access_key, is_issued=is_issued)

        def save() -> None:
            save_services(emulator._build_persistence_save_dict(), Files(state).services, port)

        self._saver = Saver(save, guard.activity)
        self._server = _Server(guard)

    async def run(self, listener: socket.socket, ready: int) -> None:
        """Serve until a signal arrives and everything is saved. Raise `EmulatorError` if data can't be restored."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, self._stop.set)
        async with asyncio.TaskGroup() as tasks:
            stopping = tasks.create_task(self._end_when_saved(ready))
            await self._server.serve(sockets=[listener])
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
            # Later changes would miss the last snapshot.
            self._closed = True
            await self._drained()
            if await self._saver.save():
                break
            self._closed = False
            self._refused_stops += 1
        saving.cancel()
        self._emulator.PERSIST_STATE = False  # otherwise it saves again at its end
        self._server.should_exit = True

    async def _drained(self) -> None:
        """Wait until current requests are answered, except long polls for messages."""
        deadline = asyncio.get_running_loop().time() + _DRAIN_S
        while self._requests and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.01)

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._emulator.app(scope, receive, send)
        elif scope["path"] == HEALTH_PATH:
            await _answer(send, 200, asdict(Health(os.getpid(), self._refused_stops, self._saver.unsaved)))
        elif self._closed:
            await _answer(send, 503, {"message": "The local target is stopping."})
        else:
            self._requests += 1
            try:
                await self._emulator.app(scope, receive, send)
            finally:
                self._requests -= 1


async def _answer(send: Send, status: int, document: dict[str, object]) -> None:
    body = json.dumps(document).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _report_ready(descriptor: int) -> None:
    """Tell the parent that the emulator is ready, and discard all further output."""
    _tell(descriptor, READY)
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(null, stream)
    os.close(null)


def _tell(descriptor: int, message: bytes) -> None:
    with contextlib.suppress(OSError):  # the parent has gone
        os.write(descriptor, message)
        os.close(descriptor)


def _clean_up(state: State) -> None:
    """Kill the functions' workers and remove the temporary folder."""
    runtime: Any = sys.modules.get("ministack.core.lambda_runtime")
    if runtime is not None:
        with runtime._lock:
            workers = [worker for pool in runtime._workers.values() for worker in pool]
        runtime.kill_workers(workers)
    shutil.rmtree(Files(state).temporary, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1:])
