"""Events are shown exactly once, and the first cause is told from its consequences."""

import pytest

from cli.deployment.follow import EventReader, Pace, cancelled_with, first_cause, follow
from cli.errors import DeploymentError
from tests.unit.deployment.fakes import STACK_ID, FakeReporter, FakeStacks, event, stack, stack_event


def pace(stall_s: float | None = None) -> Pace:
    clock = [0.0]

    def sleep(seconds: float) -> None:
        clock[0] += seconds

    return Pace(sleep, lambda: clock[0], poll_s=1.0, stall_s=stall_s)


def test_every_event_is_read_once_over_many_pages_and_looks() -> None:
    stacks = FakeStacks(page_size=3, history=[event("Old", "CREATE_COMPLETE") for _ in range(7)])
    reader = EventReader.from_now(stacks, STACK_ID)
    expected, read = [], []
    for size in (1, 0, 11, 3, 2, 0, 30):
        fresh = [event(f"R{size}", "CREATE_COMPLETE") for _ in range(size)]
        stacks.history += fresh
        expected += fresh
        read += reader.new()
    assert read == expected


def test_an_event_that_turns_up_below_a_known_one_is_not_missed() -> None:
    stacks = FakeStacks(page_size=10)
    reader = EventReader.from_now(stacks, STACK_ID)
    first, late, second = (event(name, "CREATE_COMPLETE") for name in ("First", "Late", "Second"))
    stacks.history = [first, second]
    assert reader.new() == [first, second]
    stacks.history = [first, late, second]
    assert reader.new() == [late]
    assert reader.new() == []


def test_a_look_reads_no_more_pages_than_it_needs() -> None:
    stacks = FakeStacks(page_size=10, history=[event("Old", "CREATE_COMPLETE") for _ in range(500)])
    reader = EventReader.from_now(stacks, STACK_ID)
    stacks.history.append(event("New", "CREATE_COMPLETE"))
    stacks.pages_read = 0
    assert [each.logical_id for each in reader.new()] == ["New"]
    assert stacks.pages_read == 1


@pytest.mark.parametrize("page_size", [1, 2, 3, 100])
def test_attaching_reads_the_running_operation_from_its_beginning(page_size: int) -> None:
    before = [stack_event("CREATE_IN_PROGRESS"), event("A", "CREATE_COMPLETE"), stack_event("CREATE_COMPLETE")]
    running = [stack_event("UPDATE_IN_PROGRESS"), event("A", "UPDATE_IN_PROGRESS")]
    stacks = FakeStacks(page_size=page_size, history=[*before, *running])
    assert EventReader.from_operation(stacks, STACK_ID).new() == running


def test_attaching_to_a_first_creation_reads_all() -> None:
    events = [stack_event("CREATE_IN_PROGRESS"), event("A", "CREATE_IN_PROGRESS")]
    assert EventReader.from_operation(FakeStacks(history=events), STACK_ID).new() == events


def test_the_cause_is_the_first_failure_that_is_nobody_elses_consequence() -> None:
    events = [
        stack_event("CREATE_IN_PROGRESS"),
        event("Role", "CREATE_IN_PROGRESS"),
        event("Queue", "CREATE_FAILED", "Resource creation cancelled"),
        event("Table", "CREATE_FAILED", "Read capacity is not allowed"),
        event("Topic", "CREATE_FAILED", "Resource creation cancelled"),
        stack_event("ROLLBACK_IN_PROGRESS", "The following resource(s) failed to create: [Table, Queue, Topic]."),
        event("Role", "DELETE_FAILED", "in use"),
        stack_event("ROLLBACK_FAILED"),
    ]
    cause = first_cause(events)
    assert cause is not None
    assert (cause.logical_id, cause.reason) == ("Table", "Read capacity is not allowed")
    assert cancelled_with(events) == 2


def test_a_refusal_of_the_whole_stack_is_its_own_cause() -> None:
    events = [stack_event("CREATE_IN_PROGRESS"), stack_event("ROLLBACK_IN_PROGRESS", "Limit exceeded")]
    cause = first_cause(events)
    assert cause is not None
    assert cause.reason == "Limit exceeded"


def test_nothing_failed_no_cause() -> None:
    assert first_cause([stack_event("CREATE_IN_PROGRESS"), stack_event("CREATE_COMPLETE")]) is None


def test_following_ends_with_the_roll_back() -> None:
    failed = event("Table", "CREATE_FAILED", "no")
    stacks = FakeStacks(
        found=stack("CREATE_IN_PROGRESS"),
        steps=[
            ("CREATE_IN_PROGRESS", [event("Table", "CREATE_IN_PROGRESS")]),
            ("ROLLBACK_IN_PROGRESS", [failed, stack_event("ROLLBACK_IN_PROGRESS")]),
            ("ROLLBACK_IN_PROGRESS", []),
            ("ROLLBACK_COMPLETE", [event("Table", "DELETE_COMPLETE"), stack_event("ROLLBACK_COMPLETE")]),
        ],
    )
    reporter = FakeReporter()
    outcome = follow(EventReader(stacks, STACK_ID), reporter.watching("", 0), pace())
    assert outcome.stack.status == "ROLLBACK_COMPLETE"
    assert outcome.cause == failed
    assert tuple(reporter.shown) == outcome.events
    assert outcome.events[-1].status == "ROLLBACK_COMPLETE"


def test_an_operation_that_nobody_works_on_is_given_up() -> None:
    stacks = FakeStacks(found=stack("CREATE_IN_PROGRESS"), history=[stack_event("CREATE_IN_PROGRESS")])
    with pytest.raises(DeploymentError, match="stands still"):
        follow(EventReader(stacks, STACK_ID), FakeReporter().watching("", 0), pace(stall_s=60.0))


def test_a_stack_that_vanishes_is_said() -> None:
    with pytest.raises(DeploymentError, match="doesn't exist any more"):
        follow(EventReader(FakeStacks(), STACK_ID), FakeReporter().watching("", 0), pace())
