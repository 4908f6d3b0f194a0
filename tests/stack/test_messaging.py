"""From the table's stream to the functions: topic, queues, mappings, schedule."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from handlers.projection.definition import Prefix, Projection
from stack.projection import subscription_filter
from tests.stack.synthesized import Properties, Synthesized

TEST_STREAM = "eb724435-02cb-4c68-9d7a-4b6471c5a810"

CONSUMED = {"TestItemsQueue": "ProjectorTestItems", "ReplayQueue": "ReplayWorker"}
DEAD_LETTERS = {"TestItemsQueue": "TestItemsDeadLetterQueue", "ReplayQueue": "ReplayDeadLetterQueue"}


def mapping_of(stack: Synthesized, function: str) -> Properties:
    mappings = stack.of_type("AWS::Lambda::EventSourceMapping").values()
    (mapping,) = [each for each in mappings if each["FunctionName"] == {"Ref": function}]
    return mapping


def test_topic_is_fifo_with_throughput_per_group(stack: Synthesized) -> None:
    from aws_cdk.assertions import Match

    stack.template.has_resource_properties(
        "AWS::SNS::Topic",
        {
            "FifoTopic": True,
            "FifoThroughputScope": "MessageGroup",
            "ContentBasedDeduplication": Match.absent(),
            "KmsMasterKeyId": "alias/aws/sns",
        },
    )


@pytest.mark.parametrize("queue", [*DEAD_LETTERS, *DEAD_LETTERS.values()])
def test_queue_is_fifo_in_high_throughput_mode(stack: Synthesized, queue: str) -> None:
    properties = stack.properties(queue)
    assert properties["FifoQueue"] is True
    assert properties["DeduplicationScope"] == "messageGroup"
    assert properties["FifoThroughputLimit"] == "perMessageGroupId"
    assert properties["SqsManagedSseEnabled"] is True


@pytest.mark.parametrize(("queue", "dead_letters"), DEAD_LETTERS.items())
def test_queue_gives_up_into_its_dead_letter_queue(stack: Synthesized, queue: str, dead_letters: str) -> None:
    policy = stack.properties(queue)["RedrivePolicy"]
    assert policy["deadLetterTargetArn"] == {"Fn::GetAtt": [dead_letters, "Arn"]}
    assert policy["maxReceiveCount"] == 3
    assert stack.properties(dead_letters)["MessageRetentionPeriod"] == 14 * 24 * 3600


@pytest.mark.parametrize(("queue", "dead_letters"), DEAD_LETTERS.items())
def test_dead_letter_queue_accepts_messages_of_its_own_queue_only(
    stack: Synthesized, queue: str, dead_letters: str
) -> None:
    policy = stack.properties(dead_letters)["RedriveAllowPolicy"]
    assert policy["redrivePermission"] == "byQueue"
    (source,) = policy["sourceQueueArns"]
    _, parts = source["Fn::Join"]
    _, named = stack.properties(queue)["QueueName"]["Fn::Join"]
    assert "".join(part if isinstance(part, str) else "*" for part in parts[:-2]) == f"arn:*:sqs:*:*:{queue}-"
    assert [f"{queue}-", *parts[-2:]] == named


def test_failure_queue_is_no_queues_dead_letter_queue(stack: Synthesized) -> None:
    assert stack.properties("FailureQueue")["RedriveAllowPolicy"] == {"redrivePermission": "denyAll"}


def test_every_dead_letter_queue_says_whose_it_is(extended: Synthesized) -> None:
    queues = extended.of_type("AWS::SQS::Queue")
    sources = {
        each["RedrivePolicy"]["deadLetterTargetArn"]["Fn::GetAtt"][0]
        for each in queues.values()
        if "RedrivePolicy" in each
    }
    assert {name for name, each in queues.items() if "RedriveAllowPolicy" in each} == {*sources, "FailureQueue"}


@pytest.mark.parametrize(("queue", "function"), CONSUMED.items())
def test_messages_stay_hidden_for_six_times_the_timeout(stack: Synthesized, queue: str, function: str) -> None:
    assert stack.properties(queue)["VisibilityTimeout"] == 6 * stack.properties(function)["Timeout"]


@pytest.mark.parametrize(("queue", "function"), CONSUMED.items())
def test_function_reports_which_messages_failed(stack: Synthesized, queue: str, function: str) -> None:
    mapping = mapping_of(stack, function)
    assert mapping["EventSourceArn"] == {"Fn::GetAtt": [queue, "Arn"]}
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]


def test_replay_takes_one_slice_at_a_time(stack: Synthesized) -> None:
    assert mapping_of(stack, "ReplayWorker")["BatchSize"] == 1
    assert mapping_of(stack, "ProjectorTestItems")["BatchSize"] == 10


def test_replays_leave_concurrency_to_the_rest(stack: Synthesized) -> None:
    assert mapping_of(stack, "ReplayWorker")["ScalingConfig"] == {"MaximumConcurrency": 5}


def test_projection_gets_the_messages_of_its_streams_only(stack: Synthesized) -> None:
    stack.template.has_resource_properties(
        "AWS::SNS::Subscription",
        {
            "Protocol": "sqs",
            "RawMessageDelivery": True,
            "FilterPolicy": {"stream": [hashlib.sha256(TEST_STREAM.encode()).hexdigest()]},
            "Endpoint": {"Fn::GetAtt": ["TestItemsQueue", "Arn"]},
        },
    )


def test_one_policy_protects_all_dead_letter_queues(extended: Synthesized) -> None:
    policy = extended.properties("DeadLetterQueuesPolicy")
    queues = {name for name in extended.of_type("AWS::SQS::Queue") if name.endswith("DeadLetterQueue")}
    assert {each["Ref"] for each in policy["Queues"]} == queues


def test_a_queue_has_one_policy(extended: Synthesized) -> None:
    # Of several, the last to be written would remain.
    policies = extended.of_type("AWS::SQS::QueuePolicy").values()
    protected = sorted(queue["Ref"] for policy in policies for queue in policy["Queues"])
    assert protected == sorted(extended.of_type("AWS::SQS::Queue"))


@pytest.mark.parametrize(
    ("streams", "accepted"),
    [
        (None, None),
        (["a", "b"], {"stream": [hashlib.sha256(each).hexdigest() for each in (b"a", b"b")]}),
        ([f"order-{number}" for number in range(101)], None),
        (Prefix("ordér-"), {"start": [{"prefix": "6f7264c3a9722d"}]}),
    ],
    ids=["all streams", "named streams", "more than a filter holds", "prefix"],
)
def test_subscription_is_filtered_by_stream(streams: Any, accepted: Any) -> None:
    found = subscription_filter(Projection("orders", key="id", streams=streams))
    conditions = None if found is None else {name: each.conditions for name, each in found.items()}
    assert conditions == accepted


def test_only_the_topic_may_send_to_a_projections_queue(stack: Synthesized) -> None:
    policies = stack.of_type("AWS::SQS::QueuePolicy").values()
    (policy,) = [each for each in policies if each["Queues"] == [{"Ref": "TestItemsQueue"}]]
    allowed = [each for each in policy["PolicyDocument"]["Statement"] if each["Effect"] == "Allow"]
    assert len(allowed) == 1
    assert allowed[0]["Condition"] == {"ArnEquals": {"aws:SourceArn": {"Ref": "Topic"}}}


def test_queues_and_topic_refuse_plain_http(stack: Synthesized) -> None:
    policies = stack.of_type("AWS::SQS::QueuePolicy") | stack.of_type("AWS::SNS::TopicPolicy")
    assert len(policies) == 5
    for policy in policies.values():
        denied = [each for each in policy["PolicyDocument"]["Statement"] if each["Effect"] == "Deny"]
        assert [each["Condition"]["Bool"] for each in denied] == [{"aws:SecureTransport": "false"}]


def test_publisher_sees_inserts_only_and_splits_batches_that_fail(stack: Synthesized) -> None:
    mapping = mapping_of(stack, "Publisher")
    assert mapping["EventSourceArn"] == {"Fn::GetAtt": ["Events", "StreamArn"]}
    assert mapping["FilterCriteria"] == {"Filters": [{"Pattern": '{"eventName":["INSERT"]}'}]}
    assert mapping["StartingPosition"] == "TRIM_HORIZON"
    assert mapping["BisectBatchOnFunctionError"] is True
    assert mapping["MaximumRetryAttempts"] == 5
    assert mapping["MaximumRecordAgeInSeconds"] == 600
    # The publisher raises (P8): a batch with reported failures counts as done on the local target.
    assert "FunctionResponseTypes" not in mapping


def test_what_cannot_be_published_ends_in_a_standard_queue(stack: Synthesized) -> None:
    mapping = mapping_of(stack, "Publisher")
    assert mapping["DestinationConfig"] == {"OnFailure": {"Destination": {"Fn::GetAtt": ["FailureQueue", "Arn"]}}}
    assert "FifoQueue" not in stack.properties("FailureQueue")
    assert stack.actions_on("Publisher", "FailureQueue") == {"sqs:SendMessage"}


def test_reconciler_runs_every_minute(stack: Synthesized) -> None:
    (rule,) = stack.of_type("AWS::Events::Rule").values()
    assert rule["ScheduleExpression"] == "rate(1 minute)"
    assert rule["State"] == "ENABLED"
    (target,) = rule["Targets"]
    assert target["Arn"] == {"Fn::GetAtt": ["Reconciler", "Arn"]}
    assert json.loads(target["Input"]) == {"projection": "test-items"}
