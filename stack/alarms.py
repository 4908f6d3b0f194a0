"""What calls an operator: each alarm as plain data, and how it becomes a resource."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aws_cdk import aws_cloudwatch as cloudwatch
from constructs import Construct

from stack.function import namespace

ITERATOR_AGE_MS = 60_000  # an event usually waits well under a second; after a minute something is stuck
LAG_EVENTS = 100  # less is a burst being worked off, or a halted stream, which its dead letter tells
LAG_PERIODS = 2


@dataclass(frozen=True, slots=True)
class Alarm:
    """An alarm: it rings when the statistic over each of ``periods`` exceeds the threshold.

    Parameters
    ----------
    logical_id
        Its logical id in the template.
    meaning
        What happened and which command to type next, in a sentence or two.
    """

    logical_id: str
    meaning: str
    namespace: str
    metric: str
    dimensions: Mapping[str, str]
    statistic: str = "Maximum"
    threshold: float = 0
    period_s: int = 60
    periods: int = 1


def dead_letters(logical_id: str, queue_name: str, what: str) -> Alarm:
    """Ring when anything lies in a dead-letter or failure queue."""
    return Alarm(
        logical_id=logical_id,
        meaning=f"{what}. See: esctl dead-letters list",
        namespace="AWS/SQS",
        metric="ApproximateNumberOfMessagesVisible",
        dimensions={"QueueName": queue_name},
    )


def function_faults(logical_id: str, function_name: str) -> Sequence[Alarm]:
    """Ring when invocations of a function fail or are throttled."""
    named = {"FunctionName": function_name}
    return (
        Alarm(
            logical_id=f"{logical_id}ErrorsAlarm",
            meaning=f"Invocations of {logical_id} failed. See: esctl tail-logs --function {logical_id}",
            namespace="AWS/Lambda",
            metric="Errors",
            dimensions=named,
            statistic="Sum",
            period_s=300,
        ),
        Alarm(
            logical_id=f"{logical_id}ThrottlesAlarm",
            meaning=f"{logical_id} was throttled: the account's limit of concurrent invocations is reached.",
            namespace="AWS/Lambda",
            metric="Throttles",
            dimensions=named,
            statistic="Sum",
            period_s=300,
        ),
    )


def iterator_age(function_name: str) -> Alarm:
    """Ring when stored events wait for the publisher."""
    return Alarm(
        logical_id="IteratorAgeAlarm",
        meaning="Stored events wait to be announced. See: esctl tail-logs --function Publisher",
        namespace="AWS/Lambda",
        metric="IteratorAge",
        dimensions={"FunctionName": function_name},
        threshold=ITERATOR_AGE_MS,
    )


def api_errors(api_name: str, stage: str) -> Alarm:
    """Ring when the API answers that it failed."""
    return Alarm(
        logical_id="ApiErrorsAlarm",
        meaning="The API answered with 5xx. See: esctl tail-logs",
        namespace="AWS/ApiGateway",
        metric="5XXError",
        dimensions={"ApiName": api_name, "Stage": stage},
        statistic="Sum",
    )


def projection_lag(logical_id: str, service: str, name: str) -> Alarm:
    """Ring when a projection stays behind: even the smallest lag that ``service`` saw is beyond the limit."""
    return Alarm(
        logical_id=logical_id,
        meaning=f"The projection {name} stays behind its streams. See: esctl status",
        namespace=namespace(),
        metric="ProjectionLag",
        dimensions={"projection": name, "service": service},
        statistic="Minimum",
        threshold=LAG_EVENTS,
        period_s=300,
        periods=LAG_PERIODS,
    )


def add_alarm(scope: Construct, alarm: Alarm) -> cloudwatch.CfnAlarm:
    """Declare an alarm; no data means that nothing happened, which is no reason to ring."""
    resource = cloudwatch.CfnAlarm(
        scope,
        alarm.logical_id,
        alarm_description=alarm.meaning,
        namespace=alarm.namespace,
        metric_name=alarm.metric,
        dimensions=[
            cloudwatch.CfnAlarm.DimensionProperty(name=name, value=value) for name, value in alarm.dimensions.items()
        ],
        statistic=alarm.statistic,
        threshold=alarm.threshold,
        comparison_operator="GreaterThanThreshold",
        period=alarm.period_s,
        evaluation_periods=alarm.periods,
        treat_missing_data="notBreaching",
    )
    resource.override_logical_id(alarm.logical_id)
    return resource
