"""An account in memory: the ports of deploying, scripted. Nothing here waits or speaks to anybody."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cli.deployment.assembly import Assemblies
from cli.deployment.follow import Pace
from cli.deployment.job import TAGS, Job, Services
from cli.deployment.model import Action, Change, ChangeSet, ChangeSetRequest, Resource, Stack, StackEvent, Template
from cli.deployment.ports import BucketState
from cli.deployment.widening import Widening
from cli.errors import UsageError
from cli.settings import Settings
from cli.state import State
from cli.targets import Target
from stack.settings import StackSettings

STACK_ID = "arn:aws:cloudformation:eu-central-1:123456789012:stack/shop/1"
KEY = "correct-horse-battery-staple"
BEGAN = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)

AWS = Target("aws", "shop", "eu-central-1", account="123456789012")
LOCAL = Target("local", "shop", "us-east-1", account="000000000000", endpoint_url="http://127.0.0.1:4566")

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
        changed_at="2026-11-23T12:00:00+00:00",
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


@dataclass
class FakeStacks:
    """A stack whose running operation goes one step further whenever it is looked at by its id, as following does.

    `steps` are (status, events that have come by then).
    """

    found: Stack | None = None
    history: list[StackEvent] = field(default_factory=list)
    steps: list[tuple[str, Sequence[StackEvent]]] = field(default_factory=list)
    deployed: Template = field(default_factory=lambda: TEMPLATE)
    held: Sequence[Resource] = ()
    page_size: int = 100
    deleted: list[str] = field(default_factory=list)
    pages_read: int = 0
    interrupt_after: int | None = None

    def describe(self, stack: str) -> Stack | None:
        if self.found is not None and self.found.in_progress and self.steps and stack == self.found.id:
            self._step()
        if self.found is not None and self.found.status == "DELETE_COMPLETE" and stack == self.found.name:
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

    def resources(self, stack_id: str) -> Sequence[Resource]:
        return self.held

    def delete(self, stack_id: str, token: str) -> None:
        self.deleted.append(stack_id)
        assert self.found is not None
        begins = self.found.status != "REVIEW_IN_PROGRESS"
        self.found = replace(self.found, status="DELETE_IN_PROGRESS" if begins else "DELETE_COMPLETE")
        self.history.append(stack_event("DELETE_IN_PROGRESS"))


@dataclass
class FakeChangeSets:
    """Change sets over a `FakeStacks`; `answers` are what describing one gives, one after the other."""

    stacks: FakeStacks
    changes: tuple[Change, ...] = (Change(Action.CHANGE, "Role", "AWS::IAM::Role", ("Policies",)),)
    status: str = "CREATE_COMPLETE"
    reason: str = ""
    pending: int = 1
    requests: list[ChangeSetRequest] = field(default_factory=list)
    open: set[str] = field(default_factory=set)
    executed: list[str] = field(default_factory=list)

    def create(self, request: ChangeSetRequest) -> str:
        self.requests.append(request)
        if request.creating:
            self.stacks.found = stack("REVIEW_IN_PROGRESS", outputs={}, parameters=())
        name = f"set-{len(self.requests)}"
        self.open.add(name)
        return name

    def describe(self, change_set_id: str) -> ChangeSet:
        if self.pending:
            self.pending -= 1
            return ChangeSet(change_set_id, STACK_ID, "CREATE_PENDING")
        return ChangeSet(change_set_id, STACK_ID, self.status, self.reason, self.changes)

    def execute(self, change_set_id: str, token: str) -> None:
        self.executed.append(change_set_id)
        self.open.discard(change_set_id)
        assert self.stacks.found is not None
        verb = "CREATE" if self.requests[-1].creating else "UPDATE"
        self.stacks.found = stack(f"{verb}_IN_PROGRESS")
        self.stacks.history.append(stack_event(f"{verb}_IN_PROGRESS"))
        self.stacks.steps = self.stacks.steps or [(f"{verb}_COMPLETE", [stack_event(f"{verb}_COMPLETE")])]

    def delete(self, change_set_id: str) -> None:
        self.open.discard(change_set_id)


@dataclass
class FakeAssets:
    """A bucket; `loses` uploads without a word where asked to."""

    bucket: BucketState = BucketState.MISSING
    objects: dict[str, int] = field(default_factory=dict)
    uploads: list[str] = field(default_factory=list)
    prepared: list[str] = field(default_factory=list)
    loses: bool = False

    def state(self, bucket: str) -> BucketState:
        return self.bucket

    def prepare(self, bucket: str) -> None:
        self.prepared.append(bucket)
        self.bucket = BucketState.READY

    def size(self, bucket: str, key: str) -> int | None:
        return self.objects.get(f"{bucket}/{key}")

    def put(self, bucket: str, key: str, path: Path) -> None:
        self.uploads.append(key)
        if not self.loses:
            self.objects[f"{bucket}/{key}"] = path.stat().st_size

    def url(self, bucket: str, key: str) -> str:
        return f"https://{bucket}/{key}"


@dataclass
class FakeTables:
    """Tables by name: True where something is in them."""

    tables: dict[str, bool] = field(default_factory=dict)

    def holds_items(self, table: str) -> bool:
        return self.tables.get(table, False)

    def delete(self, table: str) -> bool:
        return self.tables.pop(table, None) is not None


class FakeView:
    def __init__(self, shown: list[StackEvent]) -> None:
        self._shown = shown

    def __enter__(self) -> "FakeView":
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def show(self, event: StackEvent) -> None:
        self._shown.append(event)


@dataclass
class FakeReporter:
    """Notes what is said; `answer` None: nobody is there to be asked."""

    answer: bool | str | None = None
    said: list[str] = field(default_factory=list)
    planned: list[tuple[Sequence[Change], Sequence[Widening]]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    shown: list[StackEvent] = field(default_factory=list)

    def say(self, text: str) -> None:
        self.said.append(text)

    def working(self, text: str) -> AbstractContextManager[object]:
        self.said.append(text)
        return nullcontext()

    def plan(self, changes: Sequence[Change], widenings: Sequence[Widening]) -> None:
        self.planned.append((changes, widenings))

    def watching(self, title: str, expected: int) -> FakeView:
        self.said.append(title)
        return FakeView(self.shown)

    def confirm(self, question: str) -> bool:
        return bool(self._answered(question))

    def type_in(self, question: str) -> str:
        return str(self._answered(question))

    def _answered(self, question: str) -> bool | str:
        self.asked.append(question)
        if self.answer is None:
            raise UsageError("there is no terminal", "Add --yes")
        return self.answer


@dataclass
class World:
    """Everything that a job is made of, with a clock that only sleeping moves."""

    folder: Path
    stacks: FakeStacks = field(default_factory=FakeStacks)
    assets: FakeAssets = field(default_factory=FakeAssets)
    tables: FakeTables = field(default_factory=FakeTables)
    reporter: FakeReporter = field(default_factory=FakeReporter)
    template: Template = field(default_factory=lambda: TEMPLATE)
    sources: str = "sources-1"
    now: float = 0.0
    syntheses: int = 0

    def __post_init__(self) -> None:
        self.change_sets = FakeChangeSets(self.stacks)

    def job(self, target: Target = AWS, *, api_key: str | None = KEY, yes: bool = False, **settings: Any) -> Job:
        state = State(self.folder)
        return Job(
            target=target,
            settings=Settings(api_key=api_key, **settings),
            services=Services(self.stacks, self.change_sets, self.assets, self.tables),
            reporter=self.reporter,
            pace=Pace(self._sleep, lambda: self.now, poll_s=1.0, stall_s=60.0 if target.is_local else None),
            state=state,
            assemblies=Assemblies(state, self._synthesize),
            sources=lambda: self.sources,
            yes=yes,
        )

    def _sleep(self, seconds: float) -> None:
        self.now += seconds

    def _synthesize(self, settings: StackSettings, outdir: Path, validate: bool) -> None:
        self.syntheses += 1
        write_assembly(outdir, settings.stack_name, self.template)


def write_assembly(outdir: Path, name: str, template: Mapping[str, Any]) -> None:
    """A cloud assembly as the CDK writes it, as far as we read it."""
    (outdir / "code.zip").write_bytes(b"code")
    (outdir / f"{name}.template.json").write_text(json.dumps(template))
    bucket = "esctl-assets-${AWS::AccountId}-${AWS::Region}"

    def file(path: str, key: str) -> dict[str, Any]:
        destination = {"bucketName": bucket, "objectKey": key}
        return {"source": {"path": path, "packaging": "file"}, "destinations": {"here": destination}}

    files = {"c": file("code.zip", "c0de.zip"), "t": file(f"{name}.template.json", "7emplate.json")}
    (outdir / f"{name}.assets.json").write_text(json.dumps({"files": files}))
    artifacts = {
        f"{name}.assets": {"type": "cdk:asset-manifest", "properties": {"file": f"{name}.assets.json"}},
        name: {
            "type": "aws:cloudformation:stack",
            "properties": {"templateFile": f"{name}.template.json", "tags": {"application": "esctl"}},
        },
    }
    (outdir / "manifest.json").write_text(json.dumps({"artifacts": artifacts}))
