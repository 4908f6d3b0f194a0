"""Destroying: asked by name, events kept unless told otherwise, and what stays is listed."""

import pytest

from cli.deployment.deploy import deploy
from cli.deployment.destroy import destroy
from cli.deployment.model import Resource
from cli.errors import CliError, DeploymentError, ExitCode, NotDeployedError, UsageError
from cli.targets import Target, Targets
from tests.unit.deployment.fakes import AWS, LOCAL, STACK_ID, World, event, stack, stack_event

EVENTS = Resource("Events", "shop-Events-1", "AWS::DynamoDB::Table", "CREATE_COMPLETE")
ROLE = Resource("Role", "shop-Role-1", "AWS::IAM::Role", "CREATE_COMPLETE")


@pytest.fixture
def world(world: World) -> World:
    """A world with a deployed stack that ends well when it is deleted."""
    deploy(world.job(yes=True))
    world.reporter.asked.clear()
    world.stacks.held = [EVENTS, ROLE]
    world.tables.tables = {"shop-Events-1": True}
    skipped = event("Events", "DELETE_SKIPPED")
    world.stacks.steps = [
        ("DELETE_IN_PROGRESS", [event("Role", "DELETE_COMPLETE", kind="AWS::IAM::Role"), skipped]),
        ("DELETE_COMPLETE", [stack_event("DELETE_COMPLETE")]),
    ]
    return world


def test_the_name_has_to_be_typed(world: World) -> None:
    world.reporter.answer = "shop"
    result = destroy(world.job(), delete_events=False)
    assert world.stacks.deleted == [STACK_ID]
    assert result.left == (("AWS::DynamoDB::Table", "Events-1"),)


@pytest.mark.parametrize("typed", ["", "Shop", "yes"])
def test_another_name_changes_nothing(world: World, typed: str) -> None:
    world.reporter.answer = typed
    with pytest.raises(UsageError, match="nothing was changed"):
        destroy(world.job(), delete_events=False)
    assert world.stacks.deleted == []


def test_without_a_terminal_it_wants_yes(world: World) -> None:
    with pytest.raises(UsageError):
        destroy(world.job(), delete_events=False)
    assert world.stacks.deleted == []


def test_events_are_kept_and_remembered(world: World) -> None:
    destroy(world.job(yes=True), delete_events=False)
    assert world.tables.tables == {"shop-Events-1": True}
    assert world.job().records.of(world.job().target).kept_tables == ("shop-Events-1",)
    assert Targets(world.job().state).current() is None


def test_events_are_deleted_on_request(world: World) -> None:
    result = destroy(world.job(yes=True), delete_events=True)
    assert result.deleted_tables == ("shop-Events-1",)
    assert world.tables.tables == {}
    assert any("shop-Events-1 will be DELETED" in line for line in world.reporter.said)


def test_kept_events_can_be_deleted_later(world: World) -> None:
    destroy(world.job(yes=True), delete_events=False)
    with pytest.raises(NotDeployedError, match="still kept in shop-Events-1"):
        destroy(world.job(yes=True), delete_events=False)
    assert destroy(world.job(yes=True), delete_events=True).deleted_tables == ("shop-Events-1",)
    with pytest.raises(NotDeployedError, match="nothing to destroy"):
        destroy(world.job(yes=True), delete_events=True)


def test_deleting_kept_events_later_is_asked_for_too(world: World) -> None:
    destroy(world.job(yes=True), delete_events=False)
    world.reporter.answer = "no"
    with pytest.raises(UsageError):
        destroy(world.job(), delete_events=True)
    assert world.tables.tables == {"shop-Events-1": True}


def test_a_running_deployment_is_in_the_way(world: World) -> None:
    world.stacks.found = stack("UPDATE_IN_PROGRESS")
    with pytest.raises(DeploymentError, match="is UPDATE_IN_PROGRESS"):
        destroy(world.job(yes=True), delete_events=False)


@pytest.mark.parametrize(("target", "status"), [(AWS, "CREATE_IN_PROGRESS"), (LOCAL, "UPDATE_IN_PROGRESS")])
def test_what_is_only_being_made_can_go(world: World, target: Target, status: str) -> None:
    world.stacks.found = stack(status)
    destroy(world.job(target, yes=True), delete_events=False)
    assert world.stacks.deleted == [STACK_ID]


def test_a_failing_deletion_tells_its_first_cause(world: World) -> None:
    world.stacks.steps = [
        (
            "DELETE_FAILED",
            [event("Role", "DELETE_FAILED", "must detach policies", "AWS::IAM::Role"), stack_event("DELETE_FAILED")],
        )
    ]
    with pytest.raises(DeploymentError, match=r"Role \(AWS::IAM::Role\): must detach policies") as caught:
        destroy(world.job(yes=True), delete_events=True)
    assert "esctl destroy" in caught.value.hint
    assert world.tables.tables == {"shop-Events-1": True}


def test_interrupted_it_goes_on_and_a_second_call_ends_it(world: World) -> None:
    world.stacks.interrupt_after = 1
    with pytest.raises(CliError, match="goes on without you") as caught:
        destroy(world.job(yes=True), delete_events=True)
    assert caught.value.exit_code == ExitCode.INTERRUPTED
    assert "esctl destroy" in caught.value.hint
    world.stacks.interrupt_after, world.stacks.held = None, []
    assert destroy(world.job(yes=True), delete_events=True).deleted_tables == ("shop-Events-1",)


def test_a_stack_that_is_not_ours_is_left_alone(world: World) -> None:
    world.stacks.found = stack(tags={}, outputs={})
    with pytest.raises(DeploymentError, match="not made by esctl"):
        destroy(world.job(yes=True), delete_events=False)
