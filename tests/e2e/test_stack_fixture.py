"""The shared stack itself."""

from __future__ import annotations

import json

from tests.e2e.support import Machine, Stack


def test_the_stack_answers_to_its_user_and_over_http(stack: Stack) -> None:
    item = stack.fresh_item()

    event_id = stack.append(stack.projected_stream, "ITEM_CREATED", {"itemId": item, "amount": 7})

    stack.wait_for_item(item, 7)
    assert stack.events(stack.projected_stream)[event_id]["data"] == {"itemId": item, "amount": 7}
    assert stack.outputs["EventsTable"] in stack.client("dynamodb").list_tables()["TableNames"]


def test_each_dead_letter_queue_names_its_own_source(stack: Stack) -> None:
    sqs = stack.client("sqs")

    def attributes(output: str) -> dict[str, str]:
        found: dict[str, str] = sqs.get_queue_attributes(QueueUrl=stack.outputs[output], AttributeNames=["All"])[
            "Attributes"
        ]
        return found

    for name in ("TestItems", "Replay"):
        policy = json.loads(attributes(f"{name}DeadLetterQueueUrl")["RedriveAllowPolicy"])
        assert policy == {
            "redrivePermission": "byQueue",
            "sourceQueueArns": [attributes(f"{name}QueueUrl")["QueueArn"]],
        }


def test_a_fresh_machine_knows_no_target(machine: Machine) -> None:
    assert machine.esctl("list").exit_code == 3
