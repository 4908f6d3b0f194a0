"""The alarms of a stack, and its dashboard."""

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

ITERATOR_AGE_MS = 60_000  # usually well under a second
LAG_EVENTS = 100  # fewer are a burst, or a halted stream, which has an alarm of its own
LAG_PERIODS = 2


@dataclass(frozen=True, slots=True)
class Alarm:
    """An alarm that fires when the statistic exceeds the threshold in each of ``periods``.

    Parameters
    ----------
    logical_id
        Its logical id in the template.
    meaning
        What happened, and which command to run next.
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
    """Alarms and dashboard."""

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
            dead_letters_alarm("FailureQueueAlarm", failures, "Events could not be published to the topic"),
            dead_letters_alarm("ReplayDeadLettersAlarm", replays, "A task of a replay failed repeatedly"),
            iterator_age_alarm(self._functions["Publisher"]),
            api_errors_alarm(Aws.STACK_NAME, STAGE),
        ]
        for each in self._projections:
            definition = each.definition
            found += [
                dead_letters_alarm(
                    f"{definition.pascal_name}DeadLettersAlarm",
                    each.queue.dead_letters.queue_name,
                    f"The projection {definition.name} could not process messages",
                ),
                projection_lag_alarm(f"{definition.pascal_name}LagAlarm", self._reconciler, definition.name),
            ]
        # None for projectors: the messages of one that fails or is throttled become dead letters, or a lag.
        projectors = {each.projector.spec.logical_id for each in self._projections}
        for logical_id, name in self._functions.items():
            if logical_id not in projectors:
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
    """Fire when a dead-letter or failure queue holds a message."""
    return Alarm(
        logical_id=logical_id,
        meaning=f"{what}. See: esctl dead-letters list",
        namespace="AWS/SQS",
        metric="ApproximateNumberOfMessagesVisible",
        dimensions={"QueueName": queue_name},
    )


def function_alarms(logical_id: str, function_name: str) -> Sequence[Alarm]:
    """Fire when invocations of a function fail or are throttled."""
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
    """Fire when stored events wait for the publisher."""
    return Alarm(
        logical_id="IteratorAgeAlarm",
        meaning="Stored events wait to be published. See: esctl tail-logs --function Publisher",
        namespace="AWS/Lambda",
        metric="IteratorAge",
        dimensions={"FunctionName": function_name},
        threshold=ITERATOR_AGE_MS,
    )


def api_errors_alarm(api_name: str, stage: str) -> Alarm:
    """Fire when the API returns server errors."""
    return Alarm(
        logical_id="ApiErrorsAlarm",
        meaning="The API returned 5xx. See: esctl tail-logs",
        namespace="AWS/ApiGateway",
        metric="5XXError",
        dimensions={"ApiName": api_name, "Stage": stage},
        statistic="Sum",
    )


def projection_lag_alarm(logical_id: str, service: str, name: str) -> Alarm:
    """Fire when a projection stays behind: even the smallest lag reported by ``service`` exceeds the limit."""
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
    """Declare an alarm; missing data means that nothing happened."""
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
