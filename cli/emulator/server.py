"""The HTTP server in front of the emulator."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Iterator
from typing import Any

import uvicorn


class Server(uvicorn.Server):
    """Serves an ASGI application until it is told to end.

    Uvicorn with httptools answers a call in half the time of the server that the emulator comes with (h11 in Python), and
    most of the time of a call is the server's.
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
                # The emulator answers with headers of its own, as AWS does.
                server_header=False,
                date_header=False,
                proxy_headers=False,  # nothing stands in front, so that nobody else than the caller names the caller
                timeout_keep_alive=75,
                timeout_graceful_shutdown=1,
            )
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the launcher."""
        yield

    async def serve_on(self, listener: socket.socket) -> None:
        """Answer until `end` is called, then end the application."""
        await self.serve(sockets=[listener])

    def end(self) -> None:
        self.should_exit = True
