"""The least that each function needs."""

from __future__ import annotations

import pytest

from tests.stack.synthesized import Synthesized, as_list, references
from tests.stack.test_functions import FUNCTIONS

WRITES = {"dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem", "dynamodb:BatchWriteItem"}

TOUCHED = {
    "AddEvent": {"Events", "Idempotency"},
    "ListRows": {"States", "Rows"},
    "TriggerReplay": {"Events", "States", "Jobs", "ReplayQueue"},
    "Browse": {"Events", "States", "Jobs", "TestItemsQueue", "TestItemsDeadLetterQueue"},
    "Recover": {"Events", "States", "TestItemsQueue"},
    "Publisher": {"Events", "Topic", "FailureQueue"},
    "ProjectorTestItems": {"Events", "States", "Rows", "Jobs", "TestItemsQueue"},
    "ReplayWorker": {"Events", "States", "Rows", "Jobs", "ReplayQueue"},
    "Reconciler": {"Events", "States", "Jobs", "TestItemsQueue", "ReplayQueue"},
}
"""The column "may touch" of the functions in docs/architecture.md."""


def test_each_function_has_a_role_of_its_own(stack: Synthesized) -> None:
    roles = [each["Role"]["Fn::GetAtt"][0] for each in stack.of_type("AWS::Lambda::Function").values()]
    assert len(set(roles)) == len(FUNCTIONS)
    for role in roles:
        assert "ManagedPolicyArns" not in stack.properties(role)
        (statement,) = stack.properties(role)["AssumeRolePolicyDocument"]["Statement"]
        assert statement["Principal"] == {"Service": "lambda.amazonaws.com"}


def test_no_policy_is_attached_from_elsewhere(stack: Synthesized) -> None:
    assert not stack.of_type("AWS::IAM::Policy")
    assert not stack.of_type("AWS::IAM::ManagedPolicy")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_permission_has_a_wildcard(stack: Synthesized, name: str) -> None:
    for statement in stack.statements_of(name):
        assert statement["Effect"] == "Allow"
        assert not [action for action in statement["Action"] if "*" in action]
        assert not [resource for resource in statement["Resource"] if "*" in str(resource)]


def test_tracing_adds_the_one_wildcard_that_xray_wants(chosen: Synthesized) -> None:
    for name in FUNCTIONS:
        wide = [each for each in chosen.statements_of(name) if "*" in each["Resource"]]
        assert [each["Action"] for each in wide] == [["xray:PutTraceSegments", "xray:PutTelemetryRecords"]]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_touches_only_what_the_architecture_says(stack: Synthesized, name: str) -> None:
    touched = {
        reference
        for statement in stack.statements_of(name)
        for resource in as_list(statement["Resource"])
        for reference in references(resource)
    }
    assert touched == TOUCHED[name] | {f"{name}Logs"}


def test_only_add_event_writes_events_and_nothing_changes_them(stack: Synthesized) -> None:
    writers = {name: stack.actions_on(name, "Events") & WRITES for name in FUNCTIONS}
    assert {name: actions for name, actions in writers.items() if actions} == {"AddEvent": {"dynamodb:PutItem"}}


@pytest.mark.parametrize(
    ("queue", "function"), {"TestItemsQueue": "ProjectorTestItems", "ReplayQueue": "ReplayWorker"}.items()
)
def test_consumers_may_take_messages_and_put_them_back(stack: Synthesized, queue: str, function: str) -> None:
    consuming = {"ReceiveMessage", "DeleteMessage", "GetQueueAttributes", "ChangeMessageVisibility"}
    assert stack.actions_on(function, queue) - {"sqs:SendMessage"} == {f"sqs:{action}" for action in consuming}
    others = set(FUNCTIONS) - {function}
    assert not [name for name in others if "sqs:ReceiveMessage" in stack.actions_on(name, queue)]


@pytest.mark.parametrize("name", ["ListRows", "Browse"])
def test_readers_write_and_send_nothing(stack: Synthesized, name: str) -> None:
    actions = {action for statement in stack.statements_of(name) for action in statement["Action"]}
    assert not actions & WRITES
    assert {action for action in actions if action.startswith(("sqs:", "sns:"))} <= {"sqs:GetQueueAttributes"}


def test_rows_are_written_by_projector_and_replay_only(stack: Synthesized) -> None:
    writers = {name for name in FUNCTIONS if stack.actions_on(name, "Rows") & WRITES}
    assert writers == {"ProjectorTestItems", "ReplayWorker"}


def test_the_control_item_is_changed_only_with_its_fences(stack: Synthesized) -> None:
    changing = {name for name in FUNCTIONS if "dynamodb:PutItem" in stack.actions_on(name, "States")}
    assert changing == {"TriggerReplay", "ProjectorTestItems", "ReplayWorker", "Reconciler"}
    assert stack.actions_on("Recover", "States") & WRITES == {"dynamodb:UpdateItem"}


def test_only_the_replay_worker_deletes_generations(stack: Synthesized) -> None:
    sweepers = {name for name in FUNCTIONS if "dynamodb:BatchWriteItem" in stack.actions_on(name, "States")}
    assert sweepers == {"ReplayWorker"}


def test_a_projector_only_fails_jobs(stack: Synthesized) -> None:
    assert stack.actions_on("ProjectorTestItems", "Jobs") == {"dynamodb:UpdateItem"}


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name != "ProjectorTestItems"])
def test_functions_of_all_projections_are_limited_to_none(stack: Synthesized, name: str) -> None:
    assert not [each for each in stack.conditions_on(name, "States") if each is not None]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_only_a_replay_scans_and_only_who_lists_streams_reads_their_index(stack: Synthesized, name: str) -> None:
    actions = {action for statement in stack.statements_of(name) for action in statement["Action"]}
    resources = str([statement["Resource"] for statement in stack.statements_of(name)])

    assert ("dynamodb:Scan" in actions) == (name == "ReplayWorker")
    assert ("/index/streams" in resources) == (name in {"Browse", "Reconciler"})
    assert ("/index/halted" in resources) == (name in {"Browse", "Recover", "Reconciler"})
    assert ("/index/index5" in resources) == (name == "ListRows")
