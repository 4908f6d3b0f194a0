"""The shared stack itself."""

from __future__ import annotations

from tests.e2e.support import Machine, Stack


def test_the_stack_answers_to_its_user_and_over_http(stack: Stack) -> None:
    item = stack.fresh_item()

    event_id = stack.append(stack.projected_stream, "ITEM_CREATED", {"itemId": item, "amount": 7})

    stack.wait_for_item(item, 7)
    assert stack.events(stack.projected_stream)[event_id]["data"] == {"itemId": item, "amount": 7}
    assert stack.outputs["EventsTable"] in stack.client("dynamodb").list_tables()["TableNames"]


def test_a_fresh_machine_knows_no_target(machine: Machine) -> None:
    assert machine.esctl("list").exit_code == 3
