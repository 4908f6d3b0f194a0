"""The dashboard and the alarms of a stack."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from aws_cdk import Aws
from aws_cdk import aws_cloudwatch as cloudwatch
from constructs import Construct

from stack import dashboard
from stack.api import STAGE
from stack.event_store import EventStore
from stack.function import EsFunction, namespace
from stack.projection import ProjectionStack
from stack.publisher import Publisher
from stack.replay import Replay

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


class Observability(Construct):
    """What an operator looks at, and what calls them."""

    def __init__(
        self,
        scope: Construct,
        *,
        store: EventStore,
        publisher: Publisher,
        projections: Sequence[ProjectionStack],
        replay: Replay,
        reconciler: EsFunction,
        functions: Iterable[EsFunction],
    ) -> None:
        super().__init__(scope, "Observability")
        self._publisher = publisher
        self._projections = projections
        self._replay = replay
        self._reconciler = reconciler.spec.service
        self._functions = {function.spec.logical_id: function.resource.function_name for function in functions}
        declared = [add_alarm(self, alarm) for alarm in self._alarms()]
        board = cloudwatch.CfnDashboard(
            self, "Board", dashboard_body=dashboard.body(self._names(store), [alarm.attr_arn for alarm in declared])
        )
        board.override_logical_id("Dashboard")
        self.dashboard_name = board.ref

    def _alarms(self) -> list[Alarm]:
        failures = self._publisher.failures.queue_name
        replays = self._replay.queue.dead_letters.queue_name
        found = [
            dead_letters_alarm("FailureQueueAlarm", failures, "Events could not be announced on the topic"),
            dead_letters_alarm("ReplayDeadLettersAlarm", replays, "A slice of a replay failed again and again"),
            iterator_age_alarm(self._functions["Publisher"]),
            api_errors_alarm(Aws.STACK_NAME, STAGE),
        ]
        for each in self._projections:
            definition = each.definition
            found += [
                dead_letters_alarm(
                    f"{definition.pascal_name}DeadLettersAlarm",
                    each.queue.dead_letters.queue_name,
                    f"The projection {definition.name} could not take in messages",
                ),
                projection_lag_alarm(f"{definition.pascal_name}LagAlarm", self._reconciler, definition.name),
            ]
        for logical_id, name in self._functions.items():
            found += function_alarms(logical_id, name)
        return found

    def _names(self, store: EventStore) -> dashboard.Names:
        queues = {each.definition.name: each.queue for each in self._projections} | {"replays": self._replay.queue}
        return dashboard.Names(
            region=Aws.REGION,
            api=Aws.STACK_NAME,
            stage=STAGE,
            events_table=store.events.table_name,
            functions=self._functions,
            queues={label: queue.queue.queue_name for label, queue in queues.items()},
            dead_letters={
                **{label: queue.dead_letters.queue_name for label, queue in queues.items()},
                "publisher": self._publisher.failures.queue_name,
            },
            reconciler=self._reconciler,
            projectors={each.definition.name: each.projector.spec.service for each in self._projections},
        )


def dead_letters_alarm(logical_id: str, queue_name: str, what: str) -> Alarm:
    """Ring when anything lies in a dead-letter or failure queue."""
    return Alarm(
        logical_id=logical_id,
        meaning=f"{what}. See: esctl dead-letters list",
        namespace="AWS/SQS",
        metric="ApproximateNumberOfMessagesVisible",
        dimensions={"QueueName": queue_name},
    )


def function_alarms(logical_id: str, function_name: str) -> Sequence[Alarm]:
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


def iterator_age_alarm(function_name: str) -> Alarm:
    """Ring when stored events wait for the publisher."""
    return Alarm(
        logical_id="IteratorAgeAlarm",
        meaning="Stored events wait to be announced. See: esctl tail-logs --function Publisher",
        namespace="AWS/Lambda",
        metric="IteratorAge",
        dimensions={"FunctionName": function_name},
        threshold=ITERATOR_AGE_MS,
    )


def api_errors_alarm(api_name: str, stage: str) -> Alarm:
    """Ring when the API answers that it failed."""
    return Alarm(
        logical_id="ApiErrorsAlarm",
        meaning="The API answered with 5xx. See: esctl tail-logs",
        namespace="AWS/ApiGateway",
        metric="5XXError",
        dimensions={"ApiName": api_name, "Stage": stage},
        statistic="Sum",
    )


def projection_lag_alarm(logical_id: str, service: str, name: str) -> Alarm:
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
