"""A projection more in the registry is all that it takes."""

from __future__ import annotations

import json

import pytest

from tests.stack.synthesized import Synthesized


def test_projection_brings_queues_projector_and_alarms(stack: Synthesized, extended: Synthesized) -> None:
    added = {name: each["Type"] for name, each in extended.resources.items() if name not in stack.resources}
    kinds = sorted(kind for kind in added.values() if kind != "AWS::ApiGateway::Deployment")
    assert kinds == [
        "AWS::ApiGateway::Method",
        "AWS::ApiGateway::Resource",
        "AWS::CloudWatch::Alarm",
        "AWS::CloudWatch::Alarm",
        "AWS::IAM::Role",
        "AWS::Lambda::EventSourceMapping",
        "AWS::Lambda::Function",
        "AWS::Logs::LogGroup",
        "AWS::SNS::Subscription",
        "AWS::SQS::Queue",
        "AWS::SQS::Queue",
        "AWS::SQS::QueuePolicy",
    ]
    assert set(added) >= {
        "SeatMapQueue",
        "SeatMapDeadLetterQueue",
        "ProjectorSeatMap",
        "SeatMapDeadLettersAlarm",
        "SeatMapLagAlarm",
    }
    assert extended.routes()["GET /listSeatMap"][0] == "ListRows"
    assert set(extended.document["Outputs"]) - set(stack.document["Outputs"]) == {
        "SeatMapQueueUrl",
        "SeatMapDeadLetterQueueUrl",
    }


def test_projection_leaves_the_others_tables_and_queues_alone(stack: Synthesized, extended: Synthesized) -> None:
    for kind in ("AWS::DynamoDB::Table", "AWS::SQS::Queue", "AWS::SNS::Subscription"):
        before, after = stack.of_type(kind), extended.of_type(kind)
        assert {name: after[name] for name in before} == before


def test_projection_of_every_stream_is_not_filtered(extended: Synthesized) -> None:
    subscriptions = extended.of_type("AWS::SNS::Subscription").values()
    (subscription,) = [each for each in subscriptions if each["Endpoint"] == {"Fn::GetAtt": ["SeatMapQueue", "Arn"]}]
    assert "FilterPolicy" not in subscription


def test_projector_sees_items_of_its_own_projection_only(extended: Synthesized) -> None:
    own = {"ForAllValues:StringLike": {"dynamodb:LeadingKeys": ["seat-map", "seat-map#*"]}}
    for table in ("States", "Rows"):
        assert extended.conditions_on("ProjectorSeatMap", table) == [own]
    assert extended.environment_of("ProjectorSeatMap")["PROJECTION"] == "seat-map"


@pytest.mark.parametrize("queue", ["TestItemsQueue", "SeatMapQueue"])
def test_functions_for_all_projections_reach_their_queues(extended: Synthesized, queue: str) -> None:
    for name in ("Recover", "Reconciler"):
        assert extended.actions_on(name, queue) == {"sqs:SendMessage"}
    assert extended.actions_on("Browse", queue) == {"sqs:GetQueueAttributes"}


def test_reconciler_runs_once_for_each_projection(extended: Synthesized) -> None:
    (rule,) = extended.of_type("AWS::Events::Rule").values()
    assert [json.loads(each["Input"]) for each in rule["Targets"]] == [
        {"projection": "test-items"},
        {"projection": "seat-map"},
    ]
