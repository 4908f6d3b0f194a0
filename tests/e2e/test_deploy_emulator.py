"""Deploying small stacks through the real adapters: what CloudFormation (the emulator's) really does."""

import io
import itertools
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cli.config.targets import AwsTarget
from cli.deploy.assembly import Assemblies
from cli.deploy.aws import Assets, CloudFormation, Tables
from cli.deploy.follow import EventReader
from cli.deploy.plan import Action
from cli.deploy.run import DeployContext, deploy, destroy, diff
from cli.errors import CliError, DeploymentError, ExitCode, NotDeployedError
from tests.unit.deploy.fakes import KEY, World

_names = (f"small-{number}" for number in itertools.count())


def table(**properties: Any) -> dict[str, Any]:
    key = [{"AttributeName": "streamId", "KeyType": "HASH"}]
    kinds = [{"AttributeName": "streamId", "AttributeType": "S"}]
    base = {"KeySchema": key, "AttributeDefinitions": kinds, "BillingMode": "PAY_PER_REQUEST"}
    return {"Type": "AWS::DynamoDB::Table", "Properties": {**base, **properties}}


def template(**resources: Any) -> dict[str, Any]:
    events = {**table(DeletionProtectionEnabled=True), "DeletionPolicy": "Retain"}
    key = {"Type": "AWS::ApiGateway::ApiKey", "Properties": {"Value": {"Ref": "ApiKey"}, "Enabled": True}}
    return {
        "Parameters": {"ApiKey": {"Type": "String", "NoEcho": True, "MinLength": 20}},
        "Resources": {"Events": events, "Key": key, **resources},
        "Outputs": {"EventsTable": {"Value": {"Ref": "Events"}}, "ApiUrl": {"Value": "https://x/v1"}},
    }


QUEUE = {"Type": "AWS::SQS::Queue", "Properties": {}}
TOPIC = {"Type": "AWS::SNS::Topic", "Properties": {}}


class Clients:
    def __init__(self, client: Callable[[str], Any]) -> None:
        self.client = client


class RealTime(World):
    """A world whose clock runs, faster than AWS is polled."""

    def _sleep(self, seconds: float) -> None:
        time.sleep(min(seconds, 0.05))
        super()._sleep(seconds)


class Account:
    """One small stack on the emulator."""

    def __init__(self, folder: Path, client: Callable[[str], Any]) -> None:
        self.world = RealTime(folder)
        self.client = client
        self.name = next(_names)

    def context(self, **options: Any) -> DeployContext:
        target = AwsTarget(self.name, "us-east-1", account="000000000000")
        clients: Any = Clients(self.client)
        fake = self.world.context(target, **options)
        return replace(
            fake,
            assemblies=Assemblies(fake.state, self.world.synthesize, lambda older: repr(self.world.template)),
            cloudformation=CloudFormation(clients),
            assets=Assets(clients, target),
            tables=Tables(clients, 0.1),
        )

    def change_sets(self) -> list[Any]:
        found = self.client("cloudformation").list_change_sets(StackName=self.name)["Summaries"]
        return [each for each in found if each["ExecutionStatus"] != "EXECUTE_COMPLETE"]

    def exists(self) -> bool:
        stacks = self.client("cloudformation").describe_stacks()["Stacks"]
        return any(each["StackName"] == self.name for each in stacks)

    def tables(self) -> list[str]:
        names: list[str] = self.client("dynamodb").list_tables()["TableNames"]
        return [name for name in names if name.startswith(f"{self.name}-")]


@pytest.fixture
def account(tmp_path: Path, emulator_client: Callable[[str], Any]) -> Account:
    made = Account(tmp_path, emulator_client)
    made.world.template = template(Queue=QUEUE)
    return made


def test_deploy_then_nothing_changed(account: Account) -> None:
    assert deploy(account.context(yes=True))[0].action == "create"
    events = [line.split()[1:] for line in account.world.said.splitlines() if "(" in line and "COMPLETE" in line]
    assert sorted(event[1] for event in events) == sorted(["Events", "Key", "Queue", account.name])
    assert events[-1][:2] == ["CREATE_COMPLETE", account.name]
    assert deploy(account.context())[0].action == "unchanged"
    assert account.world.syntheses == 1


def test_the_stack_has_the_key_but_does_not_show_it(account: Account) -> None:
    assert KEY not in repr(deploy(account.context(yes=True)))
    described = account.client("cloudformation").describe_stacks(StackName=account.name)["Stacks"][0]
    assert KEY not in repr(described)
    keys = account.client("apigateway").get_api_keys(includeValues=True)["items"]
    assert KEY in [each["value"] for each in keys]


def test_another_machine_gets_an_empty_change_set_too(account: Account, tmp_path: Path) -> None:
    deploy(account.context(yes=True))
    other = Account(tmp_path / "other", account.client)
    other.name, other.world.template = account.name, account.world.template
    assert deploy(other.context())[0].action == "unchanged"
    assert deploy(other.context(api_key=None))[0].action == "unchanged"
    assert account.change_sets() == []


def test_an_update_keeps_the_key_that_nobody_here_knows(account: Account) -> None:
    deploy(account.context(yes=True))
    account.world.template = template(Queue=QUEUE, Topic=TOPIC)
    plan, stack = deploy(account.context(api_key=None))
    assert (plan.action, [(each.action, each.logical_id) for each in plan.changes]) == (
        "update",
        [(Action.ADD, "Topic")],
    )
    assert stack.status == "UPDATE_COMPLETE"
    assert KEY in [each["value"] for each in account.client("apigateway").get_api_keys(includeValues=True)["items"]]


def test_diff_leaves_nothing_behind(account: Account) -> None:
    assert diff(account.context()).action == "create"
    assert not account.exists()
    deploy(account.context(yes=True))
    account.world.template = template(Topic=TOPIC)
    result = diff(account.context())
    assert {(each.action, each.logical_id) for each in result.changes} == {
        (Action.ADD, "Topic"),
        (Action.REMOVE, "Queue"),
    }
    assert account.change_sets() == []
    account.world.template = template(Queue=QUEUE)
    assert deploy(account.context())[0].action == "unchanged"


def test_a_failing_creation_shows_its_first_cause_and_the_next_one_starts_anew(account: Account) -> None:
    broken = {"Type": "AWS::SQS::Queue", "DependsOn": ["Events"], "Properties": {"VisibilityTimeout": 999_999}}
    account.world.template = template(Broken=broken)
    with pytest.raises(DeploymentError, match=r"failed at Broken \(AWS::SQS::Queue\): .*VisibilityTimeout") as caught:
        deploy(account.context(yes=True))
    assert caught.value.faults[0] == "the stack is now ROLLBACK_COMPLETE"
    assert "ROLLBACK_COMPLETE" in account.world.said.splitlines()[-1]
    account.world.template = template()
    assert deploy(account.context(yes=True))[0].action == "create"


def test_a_failing_update_is_rolled_back_and_told(account: Account) -> None:
    deploy(account.context(yes=True))
    good = account.world.template
    account.world.template = template(Queue={"Type": "AWS::SQS::Queue", "Properties": {"VisibilityTimeout": 999_999}})
    with pytest.raises(DeploymentError, match=r"failed at Queue \(AWS::SQS::Queue\)") as caught:
        deploy(account.context(yes=True))
    assert caught.value.faults[0] == "the stack is now UPDATE_ROLLBACK_COMPLETE"
    account.world.template = good
    assert deploy(account.context())[0].action == "unchanged"


def test_destroy_keeps_events_and_deletes_them_on_request(account: Account) -> None:
    deploy(account.context(yes=True))
    result = destroy(account.context(yes=True), delete_events=False)
    assert [kind for kind, _ in result.left] == ["AWS::DynamoDB::Table"]
    assert account.tables() == [result.left[0][1]]
    assert destroy(account.context(yes=True), delete_events=True).deleted_tables == (result.left[0][1],)
    assert account.tables() == []
    with pytest.raises(NotDeployedError):
        destroy(account.context(yes=True), delete_events=True)


def test_destroy_with_its_events(account: Account) -> None:
    deploy(account.context(yes=True))
    result = destroy(account.context(yes=True), delete_events=True)
    assert len(result.deleted_tables) == 1
    assert (result.left, account.tables()) == ((), [])


def test_two_stacks_side_by_side(account: Account, tmp_path: Path) -> None:
    other = Account(tmp_path, account.client)
    other.world.template = account.world.template
    deploy(account.context(yes=True))
    deploy(other.context(yes=True))
    destroy(account.context(yes=True), delete_events=True)
    assert deploy(other.context())[0].action == "unchanged"


def test_a_stack_that_somebody_else_made_is_left_alone(account: Account) -> None:
    body = '{"Resources": {"Queue": {"Type": "AWS::SQS::Queue"}}}'
    account.client("cloudformation").create_stack(StackName=account.name, TemplateBody=body)
    for act in (deploy, diff, lambda context: destroy(context, delete_events=False)):
        with pytest.raises(DeploymentError, match="not created by esctl"):
            act(account.context(yes=True))


def test_attaching_reads_only_the_last_operation(account: Account) -> None:
    deploy(account.context(yes=True))
    account.world.template = template(Topic=TOPIC)
    deploy(account.context(yes=True))
    cloudformation = account.context().cloudformation
    stack = cloudformation.stack(account.name)
    assert stack is not None
    stack_id = stack.id
    events = EventReader.from_operation(lambda: cloudformation.events(stack_id)).new()
    assert events[0].status == "UPDATE_IN_PROGRESS"
    assert events[0].is_stack
    assert "Topic" in {each.logical_id for each in events}
    assert not any(each.status.startswith("CREATE") for each in events if each.logical_id == "Events")


class Interrupting(io.StringIO):
    """A terminal at which Ctrl-C is pressed as soon as the operation has begun."""

    def write(self, text: str) -> int:
        if "CREATE_IN_PROGRESS" in text:
            raise KeyboardInterrupt
        return super().write(text)


def test_ctrl_c_leaves_it_running_and_a_second_call_sees_its_end(account: Account) -> None:
    account.world.stderr = Interrupting()
    with pytest.raises(CliError, match="still creating") as caught:
        deploy(account.context(yes=True))
    assert caught.value.exit_code == ExitCode.INTERRUPTED
    account.world.stderr = io.StringIO()
    assert deploy(account.context())[0].action == "unchanged"
    assert account.change_sets() == []
