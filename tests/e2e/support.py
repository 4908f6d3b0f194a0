"""A deployed stack for end-to-end tests, driven as a user drives it: by the installed ``esctl``, and over HTTP."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any

import urllib3

from handlers.core.lossless_json import dumps
from handlers.domain.items import TEST_STREAM
from tests.support.aws import client
from tests.support.result import Result

# What a command needs to find its things; no settings, no credentials and no proxy of the user's.
_PASSED_ON = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "VIRTUAL_ENV")
_COMMAND_TIMEOUT_S = 120
# 16 writers at once, and room for a few readers.
_POOL_SIZE = 32
ESCTL = (str(Path(sys.executable).with_name("esctl")),)


@dataclass(frozen=True)
class Answer:
    """One answer of the API.

    Attributes
    ----------
    body
        The parsed JSON body; None where there is none.
    headers
        By lower-case name.
    """

    status: int
    body: Any
    headers: Mapping[str, str]


@dataclass
class Machine:
    """Somebody's machine: a state directory, a working directory, and ``esctl`` installed.

    Attributes
    ----------
    folder
        Everything that esctl writes on it is in here.
    warm
        It has what earlier tests synthesized from the same sources: that takes seconds each time.
    program
        The command that runs esctl: the installed one, unless told otherwise.
    """

    folder: Path
    variables: dict[str, str] = field(default_factory=dict)
    warm: bool = True
    program: Sequence[str] = ESCTL

    def __post_init__(self) -> None:
        for name in ("state", "home", "work"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        own = {"XDG_STATE_HOME": str(self.folder / "state"), "HOME": str(self.folder / "home")}
        return kept | own | {"AWS_EC2_METADATA_DISABLED": "true"} | self.variables

    @property
    def work(self) -> Path:
        """The working directory of the commands."""
        return self.folder / "work"

    def esctl(
        self, *arguments: str, input: str = "", env: Mapping[str, str] | None = None, timeout_s: float = 0
    ) -> Result:
        """Run one command without a terminal."""
        if self.warm and arguments[:1] == ("deploy",):
            with self._assemblies():
                return self._run(arguments, input, env, timeout_s)
        return self._run(arguments, input, env, timeout_s)

    @contextmanager
    def _assemblies(self) -> Iterator[None]:
        """Lend the assemblies of earlier tests, and keep those that are new."""
        own, kept = self.folder / "state" / "esctl" / "assemblies", self.folder.parent / "assemblies"
        if kept.exists() and not own.exists():
            own.parent.mkdir(mode=0o700, exist_ok=True)
            shutil.copytree(kept, own)
        yield
        if own.exists():
            shutil.copytree(own, kept, dirs_exist_ok=True)

    def _run(self, arguments: tuple[str, ...], input: str, env: Mapping[str, str] | None, timeout_s: float) -> Result:
        done = subprocess.run(
            [*self.program, *arguments],
            input=input,
            text=True,
            encoding="utf-8",
            capture_output=True,
            cwd=self.work,
            env=self.environment | dict(env or {}),
            timeout=timeout_s or _COMMAND_TIMEOUT_S,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def popen(self, *arguments: str, **more: Any) -> subprocess.Popen[str]:
        """Start one command; whoever starts it ends it. Standard streams are pipes unless told otherwise."""
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(
            [*self.program, *arguments], cwd=self.work, env=self.environment, text=True, **(streams | more)
        )


@dataclass
class Stack(Machine):
    """The stack that all end-to-end tests share, on a local target of its own.

    The stream that is projected (`TEST_STREAM`) is one for all: tests make items of their own names (`fresh_item`) and
    look at those only.
    """

    def deploy(self) -> None:
        self.esctl("deploy", "--local", "--yes", timeout_s=180).ok()

    def stop(self) -> None:
        self.esctl("local", "stop")

    # The API --------------------------------------------------------------------------------------------------------

    @cached_property
    def described(self) -> dict[str, Any]:
        document: dict[str, Any] = self.esctl("outputs", "-o", "json", "--show-key").ok().json
        return document

    @property
    def outputs(self) -> dict[str, str]:
        """The stack's outputs; ``ApiUrl`` is the address that answers here."""
        return {**self.described["outputs"], "ApiUrl": self.described["apiUrl"]}

    @property
    def api_key(self) -> str:
        return str(self.described["apiKey"])

    def api(self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> Answer:
        """Call the API once, with the key and without retries.

        Parameters
        ----------
        path
            With its query, quoted: ``/streams?limit=1``.
        body
            Sent as JSON; a ``str`` or ``bytes`` is sent as it is.
        """
        raw = None if body is None else body if isinstance(body, str | bytes) else dumps(body)
        answer = self._pool.request(
            method,
            self.outputs["ApiUrl"] + path,
            body=raw.encode() if isinstance(raw, str) else raw,
            headers={"x-api-key": self.api_key, "Content-Type": "application/json", **(headers or {})},
        )
        document = json.loads(answer.data, parse_float=Decimal) if answer.data else None
        return Answer(answer.status, document, {name.lower(): value for name, value in answer.headers.items()})

    def append(self, stream_id: str, event_type: str, data: Mapping[str, Any], **more: Any) -> int:
        """Append one event through the API; returns its eventId."""
        event = {"streamId": stream_id, "type": event_type, "data": data, **more}
        answer = self.api("POST", "/addEvent", event)
        assert answer.status == 201, answer
        return int(answer.body["eventId"])

    def append_all(self, events: list[dict[str, Any]]) -> None:
        """Append events through the API in atomic calls of a hundred."""
        for start in range(0, len(events), 100):
            answer = self.api("POST", "/addEvents", {"events": events[start : start + 100]})
            assert answer.status == 201, answer

    def events(self, stream_id: str) -> list[dict[str, Any]]:
        """A whole stream, page after page."""
        from handlers.api.route import path_segment

        found: list[dict[str, Any]] = []
        token = ""
        while True:
            page = self.api("GET", f"/streams/{path_segment(stream_id)}/events?limit=1000{token}")
            if page.status == 404:
                return []
            assert page.status == 200, page
            found += page.body["events"]
            if page.body["nextToken"] is None:
                return found
            token = f"&nextToken={page.body['nextToken']}"

    def items(self) -> dict[str, Any]:
        """The read model of the test stream: itemId to amount."""
        found: dict[str, Any] = {}
        token = ""
        while True:  # over HTTP: a process for each look would be most of a test's time
            page = self.api("GET", f"/listTestItems?limit=1000{token}")
            assert page.status == 200, page
            found |= {item["itemId"]: item["amount"] for item in page.body["items"]}
            if page.body["nextToken"] is None:
                return found
            token = f"&nextToken={page.body['nextToken']}"

    def wait_for_item(self, item_id: str, amount: object, *, timeout_s: float = 30) -> None:
        """Return when the read model has the item with the amount (None: has it no more)."""
        wait_until(lambda: self.items().get(item_id) == amount, f"item {item_id} with {amount}", timeout_s=timeout_s)

    def change_row(self, item_id: str, amount: int | None) -> None:
        """Write or delete a row of the read model in the table itself: a damage that no event explains."""
        generation = self.api("GET", "/projections?name=test-items").body["projections"][0]["generation"]
        key = {"pk": {"S": f"test-items#{generation}"}, "sk": {"S": item_id}}
        table, client = self.outputs["RowsTable"], self.client("dynamodb")
        if amount is None:
            client.delete_item(TableName=table, Key=key)
        else:
            row = {"row": {"M": {"amount": {"N": str(amount)}}}, "version": {"S": uuid.uuid4().hex}}
            client.put_item(TableName=table, Item=key | row)

    def client(self, service: str) -> Any:
        """A boto3 client of the emulator that the stack runs on, which may do everything."""
        return client(service, self._local["AWS_ENDPOINT_URL"], self._local["AWS_ACCESS_KEY_ID"])

    @cached_property
    def _local(self) -> dict[str, str]:
        variables: dict[str, str] = self.esctl("local", "env", "-o", "json").ok().json
        return variables

    @cached_property
    def _pool(self) -> urllib3.PoolManager:
        timeout = urllib3.Timeout(connect=5, read=35)
        return urllib3.PoolManager(maxsize=_POOL_SIZE, block=True, retries=False, timeout=timeout)

    def function(self, logical_id: str) -> str:
        """The name of a function of the stack."""
        found = self.client("cloudformation").describe_stack_resource(
            StackName=self.described["stackName"], LogicalResourceId=logical_id
        )
        return str(found["StackResourceDetail"]["PhysicalResourceId"])

    @contextmanager
    def replays_held(self) -> Iterator[None]:
        """No replay goes on while this lasts: its queue feeds nobody."""
        client = self.client("lambda")
        mappings = client.list_event_source_mappings(FunctionName=self.function("ReplayWorker"))
        [mapping] = [each["UUID"] for each in mappings["EventSourceMappings"]]
        client.update_event_source_mapping(UUID=mapping, Enabled=False)
        try:
            yield
        finally:
            client.update_event_source_mapping(UUID=mapping, Enabled=True)

    def ended(self, replay_id: str) -> Any:
        """Return a replay when it has ended."""
        found: dict[str, Any] = {}

        def has_ended() -> bool:
            found.update(self.api("GET", f"/replays/{replay_id}").body)
            return "finishedAt" in found

        wait_until(has_ended, f"replay {replay_id} ended")
        return found

    # Names of a test's own ------------------------------------------------------------------------------------------

    def fresh_stream(self) -> str:
        """The id of a stream that nobody else writes to; no projection follows it."""
        return f"stream-{uuid.uuid4().hex[:12]}"

    def fresh_item(self) -> str:
        """The id of an item that nobody else has."""
        return f"item-{uuid.uuid4().hex[:12]}"

    @property
    def projected_stream(self) -> str:
        """The stream that the projection test-items follows, shared by all tests."""
        return TEST_STREAM


def wait_until(true: Callable[[], bool], what: str, *, timeout_s: float = 30, pause_s: float = 0.05) -> None:
    """Return when it is so; the test fails where it is not in time."""
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline, f"{what}: not within {timeout_s:g} seconds"
        time.sleep(pause_s)
