"""What a deployment does to a stack in which each projection had tables of its own: which resources it must not touch."""

from __future__ import annotations

import hashlib
import json

import pytest

from tests.stack.synthesized import Synthesized

KEPT = {
    "ApiClientKey": "AWS::ApiGateway::ApiKey",
    "ApiRest4DEC74FE": "AWS::ApiGateway::RestApi",
    "ApiRestDeploymentStagev1F506FEE3": "AWS::ApiGateway::Stage",
    "ApiRestUsagePlan34BBA4F5": "AWS::ApiGateway::UsagePlan",
    "AddEvent": "AWS::Lambda::Function",
    "Browse": "AWS::Lambda::Function",
    "Dashboard": "AWS::CloudWatch::Dashboard",
    "Events": "AWS::DynamoDB::Table",
    "FailureQueue": "AWS::SQS::Queue",
    "Idempotency": "AWS::DynamoDB::Table",
    "ProjectorTestItems": "AWS::Lambda::Function",
    "Publisher": "AWS::Lambda::Function",
    "PublishingFailuresPolicy4C8B9BAA": "AWS::SQS::QueuePolicy",
    "PublishingPublisherFunctionStreamC37E5980": "AWS::Lambda::EventSourceMapping",
    "PublishingTopicPolicy87F1964F": "AWS::SNS::TopicPolicy",
    "Reconciler": "AWS::Lambda::Function",
    "ReconcilingSchedule5AD446DF": "AWS::Events::Rule",
    "Recover": "AWS::Lambda::Function",
    "ReplayQueue": "AWS::SQS::Queue",
    "ReplayWorker": "AWS::Lambda::Function",
    "ReplayingFifoQueuePolicy6D8E1F62": "AWS::SQS::QueuePolicy",
    "ReplayingReplayWorkerFunctionMessages7A511CEE": "AWS::Lambda::EventSourceMapping",
    "TestItemsProjectionFifoQueuePolicy23B7C913": "AWS::SQS::QueuePolicy",
    "TestItemsProjectionFifoQueueesctlPublishingTopicE35E28D211F295EA": "AWS::SNS::Subscription",
    "TestItemsProjectionProjectorTestItemsFunctionMessages480E2CA3": "AWS::Lambda::EventSourceMapping",
    "TestItemsQueue": "AWS::SQS::Queue",
    "Topic": "AWS::SNS::Topic",
    "TriggerReplay": "AWS::Lambda::Function",
}

UNCHANGED = {
    "Events": "7695ca0547c3fb2b",
    "Idempotency": "ddd7b82ced4a125e",
    "PublishingPublisherFunctionStreamC37E5980": "b99d88e176bf88f5",
    "TestItemsProjectionFifoQueuePolicy23B7C913": "541eecf11f460c9d",
    "TestItemsProjectionFifoQueueesctlPublishingTopicE35E28D211F295EA": "769e26f0fc274e39",
    "TestItemsProjectionProjectorTestItemsFunctionMessages480E2CA3": "fa1d6d3f905a5b89",
    "TestItemsQueue": "b2ddbc528657adc2",
    "Topic": "5b063afa160db459",
}
"""Hashes of the resources that hold events or deliver them."""


@pytest.mark.parametrize("logical_id", KEPT)
def test_resource_is_updated_in_place(stack: Synthesized, logical_id: str) -> None:
    assert stack.resources[logical_id]["Type"] == KEPT[logical_id]


@pytest.mark.parametrize("logical_id", UNCHANGED)
def test_what_holds_or_delivers_events_is_not_touched(stack: Synthesized, logical_id: str) -> None:
    assert digest(stack, logical_id) == UNCHANGED[logical_id]


def digest(stack: Synthesized, logical_id: str) -> str:
    text = json.dumps(stack.resources[logical_id], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def test_read_models_are_replaced(stack: Synthesized) -> None:
    # The old tables have other keys. The reconciler rebuilds the read models from the events.
    assert not {"TestItemsState", "TestItemsRows"} & set(stack.resources)
    assert [key["AttributeName"] for key in stack.properties("Jobs")["KeySchema"]] == ["replayId"]
