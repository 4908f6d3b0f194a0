"""A local target of the benchmark's own: deployed, called over HTTP, gone at the end."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import urllib3
from botocore.config import Config

from handlers.core.lossless_json import dumps
from handlers.domain.items import TEST_STREAM
from tests.support.checkout import checkout_with

_TIMEOUT_S = 120


class Target:
    """The deployed stack.

    Attributes
    ----------
    outputs
        Of the stack.
    functions
        Logical to physical names.
    """

    def __init__(self, described: dict[str, Any], variables: dict[str, str]) -> None:
        self.endpoint_url = variables["AWS_ENDPOINT_URL"]
        self._access_key = variables["AWS_ACCESS_KEY_ID"]
        self.outputs: dict[str, str] = described["outputs"]
        self._url: str = described["apiUrl"]
        self._headers = {"x-api-key": described["apiKey"], "Content-Type": "application/json"}
        self._pool = urllib3.PoolManager(maxsize=16, block=True, retries=False)
        pages = self.client("cloudformation").get_paginator("list_stack_resources")
        self.functions: dict[str, str] = {
            each["LogicalResourceId"]: each["PhysicalResourceId"]
            for page in pages.paginate(StackName=described["stackName"])
            for each in page["StackResourceSummaries"]
            if each["ResourceType"] == "AWS::Lambda::Function"
        }

    def client(self, service: str) -> Any:
        """A boto3 client of the emulator."""
        session = boto3.session.Session(self._access_key, self._access_key, region_name="us-east-1")
        return session.client(service, endpoint_url=self.endpoint_url, config=Config(max_pool_connections=32))

    def api(self, method: str, path: str, body: object = None) -> Any:
        """Call the API; the answer's document."""
        raw = None if body is None else dumps(body).encode()
        answer = self._pool.request(method, self._url + path, body=raw, headers=self._headers)
        while answer.status == 503:  # contended for ten seconds: a client tries again
            answer = self._pool.request(method, self._url + path, body=raw, headers=self._headers)
        if not 200 <= answer.status < 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {answer.data.decode()}")
        return json.loads(answer.data)

    def checkpoint(self) -> int:
        """The last event that is in the read model."""
        return int(self.api("GET", "/listTestItems?limit=1")["checkpoint"])

    def wait_for_checkpoint(self, event_id: int) -> None:
        """Return when an event is in the read model."""
        wait_until(lambda: self.checkpoint() >= event_id)

    def append_all(self, events: Sequence[dict[str, Any]]) -> None:
        """Append events, a hundred a call."""
        for start in range(0, len(events), 100):
            self.api("POST", "/addEvents", {"events": list(events[start : start + 100])})


def wait_until(true: Callable[[], bool], pause_s: float = 0.02) -> None:
    """Return when it is so."""
    deadline = time.monotonic() + _TIMEOUT_S
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {_TIMEOUT_S} seconds")
        time.sleep(pause_s)


def events_on(items: int, number: int, *, first: int = 0) -> list[dict[str, Any]]:
    """Events of the test stream, spread over so many items: each is created, then changed."""
    return [
        {
            "streamId": TEST_STREAM,
            "type": "ITEM_CREATED" if position < items else "ITEM_AMOUNT_CHANGED",
            "data": {"itemId": f"item-{position % items:04}", "amount": position},
        }
        for position in range(first, first + number)
    ]


def by_clients(clients: int, work: Sequence[Any], do: Callable[[Any], object]) -> None:
    """Do every piece of work, over so many threads."""
    left = iter(work)
    lock = threading.Lock()
    failures: list[BaseException] = []

    def run() -> None:
        while not failures:
            with lock:
                piece = next(left, None)
            if piece is None:
                return
            try:
                do(piece)
            except Exception as failure:  # noqa: BLE001 - told to whoever waits
                failures.append(failure)

    threads = [threading.Thread(target=run) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


@contextmanager
def deployed(modules: Sequence[str] = ()) -> Iterator[Target]:
    """Deploy the stack on a fresh local target; ``modules`` of `tests/support/domain` are added to its domain."""
    with tempfile.TemporaryDirectory(prefix="esctl-bench-") as folder:
        program, needed = checkout_with(Path(folder) / "checkout", modules)
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        variables = kept | {"XDG_STATE_HOME": folder, "AWS_EC2_METADATA_DISABLED": "true"}

        def esctl(*arguments: str) -> str:
            command = [*program, *arguments]
            done = subprocess.run(
                command, env=variables | needed, cwd=folder, capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise RuntimeError(f"esctl {' '.join(arguments)}: {done.stderr}")
            return done.stdout

        try:
            esctl("deploy", "--local", "--yes")
            described = json.loads(esctl("outputs", "--show-key", "-o", "json"))
            yield Target(described, json.loads(esctl("local", "env", "-o", "json")))
        finally:
            esctl("local", "stop")
