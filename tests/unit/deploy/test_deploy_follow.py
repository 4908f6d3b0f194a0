"""Events are shown exactly once, and the first cause is told from its consequences."""

import pytest

from cli.config.targets import Target
from cli.deploy.follow import EventReader, OperationResult, StackEvent, follow
from cli.errors import DeploymentError
from tests.unit.deploy.fakes import AWS, LOCAL, STACK_ID, FakeCloudFormation, World, event, stack, stack_event


def reader_of(cloudformation: FakeCloudFormation) -> EventReader:
    return EventReader(lambda: cloudformation.events(STACK_ID))


def outcome(*events: StackEvent) -> OperationResult:
    return OperationResult(stack(), events)


def test_every_event_is_read_once_over_many_pages_and_looks() -> None:
    cloudformation = FakeCloudFormation(page_size=3, history=[event("Old", "CREATE_COMPLETE") for _ in range(7)])
    reader = EventReader.from_now(lambda: cloudformation.events(STACK_ID))
    expected, read = [], []
    for size in (1, 0, 11, 3, 2, 0, 30):
        fresh = [event(f"R{size}", "CREATE_COMPLETE") for _ in range(size)]
        cloudformation.history += fresh
        expected += fresh
        read += reader.new()
    assert read == expected


def test_an_event_that_turns_up_below_a_known_one_is_not_missed() -> None:
    cloudformation = FakeCloudFormation(page_size=10)
    reader = EventReader.from_now(lambda: cloudformation.events(STACK_ID))
    first, late, second = (event(name, "CREATE_COMPLETE") for name in ("First", "Late", "Second"))
    cloudformation.history = [first, second]
    assert reader.new() == [first, second]
    cloudformation.history = [first, late, second]
    assert reader.new() == [late]
    assert reader.new() == []


def test_a_look_reads_no_more_pages_than_it_needs() -> None:
    cloudformation = FakeCloudFormation(page_size=10, history=[event("Old", "CREATE_COMPLETE") for _ in range(500)])
    reader = EventReader.from_now(lambda: cloudformation.events(STACK_ID))
    cloudformation.history.append(event("New", "CREATE_COMPLETE"))
    cloudformation.pages_read = 0
    assert [each.logical_id for each in reader.new()] == ["New"]
    assert cloudformation.pages_read == 1


@pytest.mark.parametrize("page_size", [1, 2, 3, 100])
def test_attaching_reads_the_running_operation_from_its_beginning(page_size: int) -> None:
    before = [stack_event("CREATE_IN_PROGRESS"), event("A", "CREATE_COMPLETE"), stack_event("CREATE_COMPLETE")]
    running = [stack_event("UPDATE_IN_PROGRESS"), event("A", "UPDATE_IN_PROGRESS")]
    cloudformation = FakeCloudFormation(page_size=page_size, history=[*before, *running])
    assert EventReader.from_operation(lambda: cloudformation.events(STACK_ID)).new() == running


def test_attaching_to_a_first_creation_reads_all() -> None:
    events = [stack_event("CREATE_IN_PROGRESS"), event("A", "CREATE_IN_PROGRESS")]
    cloudformation = FakeCloudFormation(history=events)
    assert EventReader.from_operation(lambda: cloudformation.events(STACK_ID)).new() == events


def test_the_cause_is_the_first_failure_that_is_not_a_consequence() -> None:
    ended = outcome(
        stack_event("CREATE_IN_PROGRESS"),
        event("Role", "CREATE_IN_PROGRESS"),
        event("Queue", "CREATE_FAILED", "Resource creation cancelled"),
        event("Table", "CREATE_FAILED", "Read capacity is not allowed"),
        event("Topic", "CREATE_FAILED", "Resource creation cancelled"),
        stack_event("ROLLBACK_IN_PROGRESS", "The following resource(s) failed to create: [Table, Queue, Topic]."),
        event("Role", "DELETE_FAILED", "in use"),
        stack_event("ROLLBACK_FAILED"),
    )
    assert ended.cause is not None
    assert (ended.cause.logical_id, ended.cause.reason) == ("Table", "Read capacity is not allowed")
    assert ended.cancelled == 2


def test_a_refusal_of_the_whole_stack_is_its_own_cause() -> None:
    ended = outcome(stack_event("CREATE_IN_PROGRESS"), stack_event("ROLLBACK_IN_PROGRESS", "Limit exceeded"))
    assert ended.cause is not None
    assert ended.cause.reason == "Limit exceeded"


def test_nothing_failed_no_cause() -> None:
    assert outcome(stack_event("CREATE_IN_PROGRESS"), stack_event("CREATE_COMPLETE")).cause is None


def test_following_ends_with_the_rollback(world: World) -> None:
    failed = event("Table", "CREATE_FAILED", "no")
    world.cloudformation.found = stack("CREATE_IN_PROGRESS")
    world.cloudformation.steps = [
        ("CREATE_IN_PROGRESS", [event("Table", "CREATE_IN_PROGRESS")]),
        ("ROLLBACK_IN_PROGRESS", [failed, stack_event("ROLLBACK_IN_PROGRESS")]),
        ("ROLLBACK_IN_PROGRESS", []),
        ("ROLLBACK_COMPLETE", [event("Table", "DELETE_COMPLETE"), stack_event("ROLLBACK_COMPLETE")]),
    ]
    shown, ended = followed(world)
    assert ended.stack.status == "ROLLBACK_COMPLETE"
    assert ended.cause == failed
    assert tuple(shown) == ended.events
    assert ended.events[-1].status == "ROLLBACK_COMPLETE"


def test_a_local_operation_that_nobody_works_on_is_given_up(world: World) -> None:
    world.cloudformation.found = stack("CREATE_IN_PROGRESS")
    world.cloudformation.history = [stack_event("CREATE_IN_PROGRESS")]
    with pytest.raises(DeploymentError, match="nothing happened for 30 s") as caught:
        followed(world, LOCAL)
    assert "esctl destroy --local" in caught.value.hint


def test_aws_may_take_its_time(world: World) -> None:
    world.cloudformation.found = stack("CREATE_IN_PROGRESS")
    quiet: list[tuple[str, list[StackEvent]]] = [("CREATE_IN_PROGRESS", [])] * 600
    world.cloudformation.steps = [*quiet, ("CREATE_COMPLETE", [])]
    _, ended = followed(world)
    assert ended.stack.status == "CREATE_COMPLETE"
    assert world.now >= 1200


def test_a_stack_that_vanishes_is_said(world: World) -> None:
    with pytest.raises(DeploymentError, match="no longer exists"):
        followed(world)


def followed(world: World, target: Target = AWS) -> tuple[list[StackEvent], OperationResult]:
    """Follow the world's stack; return what was shown, and how it ended."""
    shown: list[StackEvent] = []
    environment = world.context().output.environment
    describe = lambda: world.cloudformation.stack(STACK_ID)  # noqa: E731
    return shown, follow(reader_of(world.cloudformation), describe, shown.append, environment, target)
