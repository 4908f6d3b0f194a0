"""An account in memory: scripted fakes of `cli.deploy.aws`, and a terminal that notes what is shown."""

import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cli.config.settings import Settings
from cli.config.state import State
from cli.config.targets import AwsTarget, LocalTarget, Target
from cli.deploy.assembly import Assemblies, Template
from cli.deploy.aws import Assets, CloudFormation, Tables
from cli.deploy.follow import StackEvent
from cli.deploy.older_code import OlderCode
from cli.deploy.plan import TAGS, Action, Change, ChangeSet, Stack
from cli.deploy.run import DeployContext
from cli.errors import AccessError
from cli.terminal.environment import Environment
from cli.terminal.output import Output
from stack.settings import StackSettings

STACK_ID = "arn:aws:cloudformation:eu-central-1:123456789012:stack/shop/1"
KEY = "correct-horse-battery-staple"
BEGAN = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)

AWS = AwsTarget("shop", "eu-central-1", account="123456789012")
LOCAL = LocalTarget("shop", "us-east-1", endpoint_url="http://127.0.0.1:4566")

TEMPLATE: Template = {
    "Parameters": {"ApiKey": {"Type": "String", "NoEcho": True}},
    "Resources": {
        "Events": {"Type": "AWS::DynamoDB::Table", "DeletionPolicy": "Retain"},
        "Role": {"Type": "AWS::IAM::Role", "Properties": {}},
    },
}


def stack(status: str = "CREATE_COMPLETE", **changes: Any) -> Stack:
    made = Stack(
        name="shop",
        id=STACK_ID,
        status=status,
        outputs={"ApiUrl": "https://a.execute-api.eu-central-1.amazonaws.com/v1", "EventsTable": "shop-Events-1"},
        tags=TAGS,
        parameters=("ApiKey",),
    )
    return replace(made, **changes)


_count = iter(range(1_000_000))


def event(logical_id: str, status: str, reason: str = "", kind: str = "AWS::DynamoDB::Table") -> StackEvent:
    number = next(_count)
    at = BEGAN + timedelta(seconds=number)
    return StackEvent(f"e{number}", at, logical_id, f"{logical_id}-1", kind, status, reason, STACK_ID)


def stack_event(status: str, reason: str = "") -> StackEvent:
    return replace(event("shop", status, reason, "AWS::CloudFormation::Stack"), physical_id=STACK_ID)


@dataclass(frozen=True)
class Request:
    """What a change set was made of."""

    creating: bool
    template_url: str
    api_key: str | None = field(repr=False)


@dataclass
class FakeCloudFormation(CloudFormation):
    """One stack and its change sets.

    A running operation goes one step further whenever the stack is looked up by its id, as following it does. `steps`
    are (status, events that have come by then); `changes`, `status` and `reason` are of every change set, which is
    ready after `pending` looks.
    """

    found: Stack | None = None
    history: list[StackEvent] = field(default_factory=list)
    steps: list[tuple[str, Sequence[StackEvent]]] = field(default_factory=list)
    deployed: Template = field(default_factory=lambda: TEMPLATE)
    held: Mapping[str, str] = field(default_factory=dict)
    page_size: int = 100
    pages_read: int = 0
    deleted: list[str] = field(default_factory=list)
    interrupt_after: int | None = None
    changes: tuple[Change, ...] = (Change(Action.CHANGE, "Role", "AWS::IAM::Role", ("Policies",)),)
    status: str = "CREATE_COMPLETE"
    reason: str = ""
    pending: int = 1
    requests: list[Request] = field(default_factory=list)
    open: set[str] = field(default_factory=set)
    executed: list[str] = field(default_factory=list)

    def stack(self, name: str) -> Stack | None:
        if self.found is not None and self.found.in_progress and self.steps and name == self.found.id:
            self._step()
        if self.found is not None and self.found.status == "DELETE_COMPLETE" and name == self.found.name:
            return None
        return self.found

    def _step(self) -> None:
        if self.interrupt_after is not None:
            self.interrupt_after -= 1
            if self.interrupt_after < 0:
                raise KeyboardInterrupt
        status, events = self.steps.pop(0)
        assert self.found is not None
        self.found = replace(self.found, status=status)
        self.history.extend(events)

    def events(self, stack_id: str) -> Iterator[Sequence[StackEvent]]:
        newest_first = self.history[::-1]
        for begin in range(0, len(newest_first), self.page_size):
            self.pages_read += 1
            yield newest_first[begin : begin + self.page_size]

    def template(self, stack_id: str) -> Template:
        return self.deployed

    def resources(self, stack_id: str) -> dict[str, str]:
        return dict(self.held)

    def delete_stack(self, stack_id: str, token: str) -> None:
        self.deleted.append(stack_id)
        assert self.found is not None
        self.found = replace(self.found, status="DELETE_COMPLETE" if self.found.in_review else "DELETE_IN_PROGRESS")
        self.history.append(stack_event("DELETE_IN_PROGRESS"))

    def create_change_set(
        self, stack_name: str, name: str, *, creating: bool, template_url: str, api_key: str | None
    ) -> str:
        self.requests.append(Request(creating, template_url, api_key))
        if creating:
            self.found = stack("REVIEW_IN_PROGRESS", outputs={}, parameters=())
        identifier = f"set-{len(self.requests)}"
        self.open.add(identifier)
        return identifier

    def change_set(self, change_set_id: str) -> ChangeSet:
        if self.pending:
            self.pending -= 1
            return ChangeSet(change_set_id, STACK_ID, "CREATE_PENDING")
        return ChangeSet(change_set_id, STACK_ID, self.status, self.reason, self.changes)

    def execute(self, change_set_id: str, token: str) -> None:
        self.executed.append(change_set_id)
        self.open.discard(change_set_id)
        assert self.found is not None
        verb = "CREATE" if self.requests[-1].creating else "UPDATE"
        self.found = stack(f"{verb}_IN_PROGRESS")
        self.history.append(stack_event(f"{verb}_IN_PROGRESS"))
        self.steps = self.steps or [(f"{verb}_COMPLETE", [stack_event(f"{verb}_COMPLETE")])]

    def delete_change_set(self, change_set_id: str) -> None:
        self.open.discard(change_set_id)


@dataclass
class FakeAssets(Assets):
    """A bucket; it silently loses uploads, or belongs to somebody else, where asked to."""

    bucket: str = "esctl-assets-123456789012-eu-central-1"
    objects: dict[str, int] = field(default_factory=dict)
    uploads: list[str] = field(default_factory=list)
    prepared: bool = False
    loses: bool = False
    foreign: bool = False

    def prepare(self) -> None:
        if self.foreign:
            raise AccessError(f"can't use the asset bucket {self.bucket}: it belongs to another account")
        self.prepared = True

    def size(self, key: str) -> int | None:
        return self.objects.get(key)

    def put(self, key: str, path: Path) -> None:
        self.uploads.append(key)
        if not self.loses:
            self.objects[key] = path.stat().st_size

    def url(self, key: str) -> str:
        return f"https://{self.bucket}/{key}"


@dataclass
class FakeTables(Tables):
    """Tables by name: True where something is in them; deleting those in `broken` fails."""

    tables: dict[str, bool] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)

    def holds_items(self, table: str) -> bool:
        return self.tables.get(table, False)

    def delete(self, table: str) -> bool:
        if table in self.broken:
            raise AccessError(f"DeleteTable of {table} was refused")
        return self.tables.pop(table, None) is not None


@dataclass
class World:
    """Everything that a context is made of, with a clock that only sleeping moves.

    Attributes
    ----------
    answer
        What is typed at every question; None: there is no terminal.
    """

    folder: Path
    cloudformation: FakeCloudFormation = field(default_factory=FakeCloudFormation)
    assets: FakeAssets = field(default_factory=FakeAssets)
    tables: FakeTables = field(default_factory=FakeTables)
    template: Template = field(default_factory=lambda: TEMPLATE)
    sources: str = "sources-1"
    answer: str | None = None
    now: float = 0.0
    syntheses: int = 0

    def __post_init__(self) -> None:
        self.stderr = io.StringIO()

    @property
    def said(self) -> str:
        """Everything that was written to stderr."""
        return self.stderr.getvalue()

    @property
    def asked(self) -> int:
        """How many questions were answered."""
        return self.said.count("[y/N]: ") + self.said.count("to destroy it: ")

    def context(
        self, target: Target = AWS, *, api_key: str | None = KEY, yes: bool = False, **settings: Any
    ) -> DeployContext:
        state = State(self.folder)
        environment = Environment(
            stdin=io.StringIO("" if self.answer is None else f"{self.answer}\n" * 9),
            stdout=io.StringIO(),
            stderr=self.stderr,
            variables={"TERM": "dumb"},
            directory=self.folder,
            stdin_is_terminal=self.answer is not None,
            stderr_is_terminal=self.answer is not None,
            width=160,
            sleep=self._sleep,
            monotonic=lambda: self.now,
        )
        return DeployContext(
            target=target,
            settings=Settings(api_key=api_key, **settings),
            state=state,
            output=Output(environment),
            assemblies=Assemblies(state, self.synthesize, lambda older: self.sources),
            cloudformation=self.cloudformation,
            assets=self.assets,
            tables=self.tables,
            older_code=lambda stack: OlderCode(),
            yes=yes,
        )

    def _sleep(self, seconds: float) -> None:
        self.now += seconds

    def synthesize(self, settings: StackSettings, outdir: Path, validate: bool, older: Path | None) -> None:
        self.syntheses += 1
        write_assembly(outdir, settings.stack_name, self.template)


def write_assembly(outdir: Path, name: str, template: Mapping[str, Any]) -> None:
    """Write a cloud assembly as the CDK does, as far as we read it."""
    (outdir / "code.zip").write_bytes(b"code")
    (outdir / f"{name}.template.json").write_text(json.dumps(template))
    bucket = "esctl-assets-${AWS::AccountId}-${AWS::Region}"

    def file(path: str, key: str) -> dict[str, Any]:
        destination = {"bucketName": bucket, "objectKey": key}
        return {"source": {"path": path, "packaging": "file"}, "destinations": {"here": destination}}

    template_key = f"{hashlib.sha256(json.dumps(template).encode()).hexdigest()}.json"
    files = {"c": file("code.zip", "c0de.zip"), "t": file(f"{name}.template.json", template_key)}
    (outdir / f"{name}.assets.json").write_text(json.dumps({"files": files}))
