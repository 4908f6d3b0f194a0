"""Destroying: asked by name, events kept unless told otherwise, and what stays is listed."""

import pytest

from cli.config.selection import Targets
from cli.config.targets import Target
from cli.deploy.run import deploy, destroy, kept_tables
from cli.errors import AccessError, CliError, DeploymentError, ExitCode, NotDeployedError, UsageError
from tests.unit.deploy.fakes import AWS, LOCAL, STACK_ID, World, event, stack, stack_event


@pytest.fixture
def world(world: World) -> World:
    """A world with a deployed stack that ends well when it is deleted."""
    deploy(world.context(yes=True))
    world.cloudformation.held = {"Events": "shop-Events-1", "Role": "shop-Role-1"}
    world.tables.tables = {"shop-Events-1": True}
    skipped = event("Events", "DELETE_SKIPPED")
    world.cloudformation.steps = [
        ("DELETE_IN_PROGRESS", [event("Role", "DELETE_COMPLETE", kind="AWS::IAM::Role"), skipped]),
        ("DELETE_COMPLETE", [stack_event("DELETE_COMPLETE")]),
    ]
    return world


def test_the_name_has_to_be_typed(world: World) -> None:
    world.answer = "shop"
    result = destroy(world.context(), delete_events=False)
    assert world.cloudformation.deleted == [STACK_ID]
    assert result.left == (("AWS::DynamoDB::Table", "Events-1"),)


@pytest.mark.parametrize("typed", ["", "Shop", "yes"])
def test_another_name_changes_nothing(world: World, typed: str) -> None:
    world.answer = typed
    with pytest.raises(UsageError, match="nothing was changed"):
        destroy(world.context(), delete_events=False)
    assert world.cloudformation.deleted == []


def test_without_a_terminal_it_wants_yes(world: World) -> None:
    with pytest.raises(UsageError) as caught:
        destroy(world.context(), delete_events=False)
    assert "--yes" in caught.value.hint
    assert world.cloudformation.deleted == []


def test_events_are_kept_and_remembered(world: World) -> None:
    destroy(world.context(yes=True), delete_events=False)
    assert world.tables.tables == {"shop-Events-1": True}
    assert kept_tables(world.context()) == ["shop-Events-1"]
    assert Targets(world.context().state).current() is None


def test_events_are_deleted_on_request(world: World) -> None:
    result = destroy(world.context(yes=True), delete_events=True)
    assert result.deleted_tables == ("shop-Events-1",)
    assert world.tables.tables == {}
    assert "table shop-Events-1 will be DELETED" in world.said


def test_kept_events_can_be_deleted_later(world: World) -> None:
    destroy(world.context(yes=True), delete_events=False)
    with pytest.raises(NotDeployedError, match="kept in shop-Events-1"):
        destroy(world.context(yes=True), delete_events=False)
    assert destroy(world.context(yes=True), delete_events=True).deleted_tables == ("shop-Events-1",)
    with pytest.raises(NotDeployedError, match="nothing to destroy"):
        destroy(world.context(yes=True), delete_events=True)


def test_deleting_kept_events_later_is_asked_for_too(world: World) -> None:
    destroy(world.context(yes=True), delete_events=False)
    world.answer = "no"
    with pytest.raises(UsageError):
        destroy(world.context(), delete_events=True)
    assert world.tables.tables == {"shop-Events-1": True}


def test_a_running_deployment_is_in_the_way(world: World) -> None:
    world.cloudformation.found = stack("UPDATE_IN_PROGRESS")
    with pytest.raises(DeploymentError, match="is UPDATE_IN_PROGRESS"):
        destroy(world.context(yes=True), delete_events=False)


@pytest.mark.parametrize(("target", "status"), [(AWS, "CREATE_IN_PROGRESS"), (LOCAL, "UPDATE_IN_PROGRESS")])
def test_what_is_only_being_made_can_go(world: World, target: Target, status: str) -> None:
    world.cloudformation.found = stack(status)
    destroy(world.context(target, yes=True), delete_events=False)
    assert world.cloudformation.deleted == [STACK_ID]


def test_a_failing_deletion_tells_its_first_cause(world: World) -> None:
    world.cloudformation.steps = [
        (
            "DELETE_FAILED",
            [event("Role", "DELETE_FAILED", "must detach policies", "AWS::IAM::Role"), stack_event("DELETE_FAILED")],
        )
    ]
    with pytest.raises(DeploymentError, match=r"Role \(AWS::IAM::Role\): must detach policies") as caught:
        destroy(world.context(yes=True), delete_events=True)
    assert "esctl destroy" in caught.value.hint
    assert world.tables.tables == {"shop-Events-1": True}


def test_interrupted_it_goes_on_and_a_second_call_ends_it(world: World) -> None:
    world.cloudformation.interrupt_after = 1
    with pytest.raises(CliError, match="still deleting shop") as caught:
        destroy(world.context(yes=True), delete_events=True)
    assert caught.value.exit_code == ExitCode.INTERRUPTED
    assert "esctl destroy" in caught.value.hint
    world.cloudformation.interrupt_after, world.cloudformation.held = None, {}
    assert destroy(world.context(yes=True), delete_events=True).deleted_tables == ("shop-Events-1",)


def test_a_stack_that_is_not_ours_is_left_alone(world: World) -> None:
    world.cloudformation.found = stack(tags={}, outputs={})
    with pytest.raises(DeploymentError, match="not created by esctl"):
        destroy(world.context(yes=True), delete_events=False)


def test_tables_that_could_not_be_deleted_are_still_known(world: World) -> None:
    world.tables.broken = {"shop-Events-1"}
    with pytest.raises(AccessError):
        destroy(world.context(yes=True), delete_events=True)
    world.tables.broken.clear()
    assert destroy(world.context(yes=True), delete_events=True).deleted_tables == ("shop-Events-1",)


def test_a_new_stack_that_has_the_table_no_longer_counts_it_as_kept(world: World) -> None:
    destroy(world.context(yes=True), delete_events=False)
    world.cloudformation.steps = []
    deploy(world.context(yes=True))
    assert kept_tables(world.context()) == []


@pytest.mark.parametrize("content", ["", "[]", '{"tables": 5}', '{"tables": "shop"}', '{"tables": ["shop-Ev'])
def test_damaged_knowledge_of_kept_tables_is_named_and_stops_nothing(world: World, content: str) -> None:
    destroy(world.context(yes=True), delete_events=False)
    path = world.folder / "kept" / f"{AWS.record}.json"
    path.write_text(content)
    world.cloudformation.steps = []
    deploy(world.context(yes=True))
    assert f"{path} is damaged" in world.said
    assert not path.exists()
