"""A proxy between the functions and the emulator that counts their AWS calls: ``python -m benchmarks.proxy PORT``.

``GET /_counts`` answers with the calls by operation and sets the counters back.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_TARGET = re.compile(rb"\r\nx-amz-target: *[^\r\n]*\.(\w+)", re.IGNORECASE)
_ACTION = re.compile(rb"Action=(\w+)")


class Counting:
    """Passes requests on, one connection of its own for each that comes in."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._counts: Counter[str] = Counter()

    async def serve(self) -> None:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0, limit=2**24)
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream = await asyncio.open_connection("127.0.0.1", self._port, limit=2**24)
        answers = asyncio.create_task(_pass_on(upstream_reader, writer))
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = _LENGTH.search(head)
                body = await reader.readexactly(int(length[1])) if length else b""
                if head.startswith(b"GET /_counts "):
                    await self._tell(writer)
                    return
                found = _TARGET.search(head) or _ACTION.search(body)
                self._counts[found[1].decode() if found else "other"] += 1
                upstream.write(head + body)
                await upstream.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            answers.cancel()
            upstream.close()
            writer.close()

    async def _tell(self, writer: asyncio.StreamWriter) -> None:
        body = json.dumps(self._counts).encode()
        self._counts.clear()
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        await writer.drain()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()


@contextmanager
def counted(endpoint_url: str, functions: dict[str, str], client: Any) -> Iterator[Any]:
    """Send the AWS calls of functions through the proxy; yields what tells and resets the counts.

    Parameters
    ----------
    functions
        Physical names of the functions.
    client
        A Lambda client of the emulator.
    """
    port = str(urlsplit(endpoint_url).port)
    command = [sys.executable, "-m", "benchmarks.proxy", port]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = f"http://127.0.0.1:{process.stdout.readline().strip()}"
        try:
            before = {name: _environment(client, name) for name in functions.values()}
            for name, variables in before.items():
                _set(client, name, variables | {"AWS_ENDPOINT_URL": url})
            yield lambda: _counts(url)
            for name, variables in before.items():
                _set(client, name, variables)
        finally:
            process.terminate()


def _counts(url: str) -> Counter[str]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{url}/_counts", timeout=10) as answer:
        return Counter(json.loads(answer.read()))


def _environment(client: Any, name: str) -> dict[str, str]:
    found: dict[str, str] = client.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
    return found


def _set(client: Any, name: str, variables: dict[str, str]) -> None:
    client.update_function_configuration(FunctionName=name, Environment={"Variables": variables})


if __name__ == "__main__":
    asyncio.run(Counting(int(sys.argv[1])).serve())
