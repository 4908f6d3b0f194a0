"""What an operator looks at, and what calls them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.stack.synthesized import Properties, Synthesized
from tests.stack.test_functions import FUNCTIONS

DEAD_LETTERS = {
    "FailureQueueAlarm": "FailureQueue",
    "ReplayDeadLettersAlarm": "ReplayDeadLetterQueue",
    "TestItemsDeadLettersAlarm": "TestItemsDeadLetterQueue",
}


def dimensions(alarm: Properties) -> dict[str, Any]:
    return {each["Name"]: each["Value"] for each in alarm["Dimensions"]}


@pytest.mark.parametrize(("alarm", "queue"), DEAD_LETTERS.items())
def test_any_dead_letter_rings(stack: Synthesized, alarm: str, queue: str) -> None:
    properties = stack.properties(alarm)
    assert dimensions(properties) == {"QueueName": {"Fn::GetAtt": [queue, "QueueName"]}}
    assert properties["MetricName"] == "ApproximateNumberOfMessagesVisible"
    assert (properties["Statistic"], properties["Threshold"]) == ("Maximum", 0)


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name != "ProjectorTestItems"])
def test_errors_and_throttles_of_functions_ring(stack: Synthesized, name: str) -> None:
    for metric in ("Errors", "Throttles"):
        properties = stack.properties(f"{name}{metric}Alarm")
        assert properties["MetricName"] == metric
        assert dimensions(properties) == {"FunctionName": {"Ref": name}}


def test_failures_of_a_projector_ring_as_dead_letters_or_lag(stack: Synthesized) -> None:
    about = {name for name in stack.of_type("AWS::CloudWatch::Alarm") if "TestItems" in name}
    assert about == {"TestItemsDeadLettersAlarm", "TestItemsLagAlarm"}


def test_events_that_wait_for_the_publisher_ring(stack: Synthesized) -> None:
    properties = stack.properties("IteratorAgeAlarm")
    assert properties["MetricName"] == "IteratorAge"
    assert properties["Threshold"] == 60_000
    assert dimensions(properties) == {"FunctionName": {"Ref": "Publisher"}}


def test_failures_of_the_api_ring(stack: Synthesized) -> None:
    properties = stack.properties("ApiErrorsAlarm")
    assert properties["MetricName"] == "5XXError"
    assert dimensions(properties) == {"ApiName": {"Ref": "AWS::StackName"}, "Stage": "v1"}


def test_lag_that_stays_rings(stack: Synthesized) -> None:
    properties = stack.properties("TestItemsLagAlarm")
    own = {"Fn::Join": ["", ["esctl/", {"Ref": "AWS::StackName"}]]}  # two stacks don't ring each other's alarms
    assert (properties["Namespace"], properties["MetricName"]) == (own, "ProjectionLag")
    assert dimensions(properties) == {"projection": "test-items", "service": "reconciler"}
    assert (properties["Statistic"], properties["EvaluationPeriods"]) == ("Minimum", 2)


def test_silence_rings_no_alarm_and_each_says_what_it_means(stack: Synthesized) -> None:
    for alarm in stack.of_type("AWS::CloudWatch::Alarm").values():
        assert alarm["TreatMissingData"] == "notBreaching"
        assert alarm["ComparisonOperator"] == "GreaterThanThreshold"
        assert alarm["AlarmDescription"]


def rendered(dashboard: Properties) -> dict[str, Any]:
    """Return the dashboard's JSON with references in angle brackets."""
    parts = dashboard["DashboardBody"]["Fn::Join"][1]
    text = "".join(part if isinstance(part, str) else f"<{_name(part)}>" for part in parts)
    document: dict[str, Any] = json.loads(text)
    return document


def _name(reference: dict[str, Any]) -> str:
    return str(reference.get("Ref") or reference["Fn::GetAtt"][0])


def test_dashboard_shows_every_alarm_function_and_queue(stack: Synthesized) -> None:
    document = rendered(stack.properties("Dashboard"))
    shown = json.dumps(document)
    for name in [*FUNCTIONS, *stack.of_type("AWS::SQS::Queue"), *stack.of_type("AWS::CloudWatch::Alarm")]:
        assert f"<{name}>" in shown


@pytest.mark.parametrize(
    "metric",
    [
        "EventsAppended",
        "AppendConflicts",
        "EventsProjected",
        "EventsSkipped",
        "ProjectionLag",
        "StreamsHalted",
        "ReplayRate",
        "IteratorAge",
        "5XXError",
    ],
)
def test_dashboard_shows_our_metrics(stack: Synthesized, metric: str) -> None:
    widgets = rendered(stack.properties("Dashboard"))["widgets"]
    assert metric in {line[1] for each in widgets for line in each["properties"].get("metrics", [])}


def test_graphs_do_not_overlap(stack: Synthesized) -> None:
    widgets = rendered(stack.properties("Dashboard"))["widgets"]
    cells = [
        (x, y)
        for each in widgets
        for x in range(each["x"], each["x"] + each["width"])
        for y in range(each["y"], each["y"] + each["height"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
