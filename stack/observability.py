"""The dashboard and the alarms of a stack."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from aws_cdk import Aws
from aws_cdk import aws_cloudwatch as cloudwatch
from constructs import Construct

from stack import alarms, dashboard
from stack.api import STAGE
from stack.event_store import EventStore
from stack.function import EsFunction
from stack.projection import ProjectionStack
from stack.publisher import Publisher
from stack.reconciler import Reconciler
from stack.replay import Replay


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
        reconciler: Reconciler,
        functions: Iterable[EsFunction],
    ) -> None:
        super().__init__(scope, "Observability")
        self._publisher = publisher
        self._projections = projections
        self._replay = replay
        self._reconciler = reconciler.function.spec.service
        self._functions = {function.spec.logical_id: function.resource.function_name for function in functions}
        declared = [alarms.add_alarm(self, alarm) for alarm in self._alarms()]
        board = cloudwatch.CfnDashboard(
            self, "Board", dashboard_body=dashboard.body(self._names(store), [alarm.attr_arn for alarm in declared])
        )
        board.override_logical_id("Dashboard")
        self.dashboard_name = board.ref

    def _alarms(self) -> list[alarms.Alarm]:
        failures = self._publisher.failures.queue_name
        replays = self._replay.queue.dead_letters.queue_name
        found = [
            alarms.dead_letters("FailureQueueAlarm", failures, "Events could not be announced on the topic"),
            alarms.dead_letters("ReplayDeadLettersAlarm", replays, "A slice of a replay failed again and again"),
            alarms.iterator_age(self._functions["Publisher"]),
            alarms.api_errors(Aws.STACK_NAME, STAGE),
        ]
        for each in self._projections:
            definition = each.definition
            found += [
                alarms.dead_letters(
                    f"{definition.pascal_name}DeadLettersAlarm",
                    each.queue.dead_letters.queue_name,
                    f"The projection {definition.name} could not take in messages",
                ),
                alarms.projection_lag(f"{definition.pascal_name}LagAlarm", self._reconciler, definition.name),
            ]
        for logical_id, name in self._functions.items():
            found += alarms.function_faults(logical_id, name)
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
