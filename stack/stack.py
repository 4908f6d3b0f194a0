"""The stack: wires all constructs together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from aws_cdk import CfnOutput, CfnParameter, Duration, IStackSynthesizer, Stack
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from handlers.api.routes import Function, all_routes
from stack.api import Api
from stack.event_store import EventStore
from stack.function import EsFunction, FunctionSpec, Platform, flag
from stack.observability import Observability
from stack.projection import ProjectionDefinition, ProjectionStack
from stack.publisher import Publisher
from stack.queues import protect_dead_letters
from stack.read_models import ReadModels
from stack.replay import Replay
from stack.settings import StackSettings

KEY_MIN_LENGTH = 20  # limits of API Gateway
KEY_MAX_LENGTH = 128

RECONCILE_EVERY_MIN = 1  # the shortest that EventBridge offers
TARGETS_PER_RULE = 5  # the most of EventBridge ("Amazon EventBridge quotas")

TAGS = {"application": "esctl"}  # CloudFormation copies them to the resources


class EsStack(Stack):
    """The event store, its projections and their API."""

    def __init__(
        self,
        scope: Construct,
        settings: StackSettings,
        asset: Path,
        projections: Mapping[str, ProjectionDefinition],
        synthesizer: IStackSynthesizer,
    ) -> None:
        name = settings.stack_name
        super().__init__(scope, name, stack_name=name, tags=TAGS, synthesizer=synthesizer)
        code = lambda_.Code.from_asset(str(asset))
        self._settings = settings
        self.platform = Platform(code=code, tracing=settings.tracing)
        self.store = EventStore(self)
        self.publisher = Publisher(self, self.platform, self.store)
        self.read_models = ReadModels(self)
        self.projections = [
            ProjectionStack(self, definition, self.platform, self.store, self.read_models, self.publisher.topic)
            for definition in projections.values()
        ]
        self.replay = Replay(self, self.platform, self.store, self.read_models)
        protect_dead_letters(self, [self.replay.queue, *(each.queue for each in self.projections)])
        self.reconciler = self._add_reconciler()
        behind_api = self._functions_behind_api()
        self.api = Api(self, settings, all_routes(projections.values()), behind_api, self._api_key())
        self.observability = Observability(
            self,
            store=self.store,
            publisher=self.publisher,
            projections=self.projections,
            replay=self.replay,
            reconciler=self.reconciler,
            functions=[*behind_api.values(), *self._functions_behind_queues()],
        )
        self._outputs()

    def _functions_behind_api(self) -> dict[str, EsFunction]:
        """Declare the functions that serve routes; return them by logical id."""
        functions = [
            self._add_event(),
            self._list_rows(),
            self._trigger_replay(),
            self._recover(),
            self._browse(),
        ]
        return {function.spec.logical_id: function for function in functions}

    def _functions_behind_queues(self) -> list[EsFunction]:
        projectors = [each.projector for each in self.projections]
        return [self.publisher.function, *projectors, self.replay.worker, self.reconciler]

    def _api_key(self) -> str:
        parameter = CfnParameter(
            self,
            "ApiKey",
            description="The API key that clients send as x-api-key",
            no_echo=True,
            min_length=KEY_MIN_LENGTH,
            max_length=KEY_MAX_LENGTH,
        )
        return parameter.value_as_string

    def _add_event(self) -> EsFunction:
        spec = FunctionSpec(Function.ADD_EVENT, "add_event", "add-event", "Appends events")
        environment = {
            "EVENTS_TABLE": self.store.events.table_name,
            "IDEMPOTENCY_TABLE": self.store.idempotency.table_name,
            "STRICT": flag(self._settings.strict),
        }
        function = EsFunction(self, spec, self.platform, environment)
        self.store.allow_append(function)
        return function

    def _list_rows(self) -> EsFunction:
        spec = FunctionSpec(Function.LIST_ROWS, "list_rows", "list-rows", "Lists the rows of read models")
        function = EsFunction(self, spec, self.platform, self.read_models.environment)
        self.read_models.allow_reading_states(function)
        self.read_models.allow_reading_rows(function)
        return function

    def _trigger_replay(self) -> EsFunction:
        spec = FunctionSpec(
            Function.TRIGGER_REPLAY, "trigger_replay", "trigger-replay", "Starts and cancels replays and rollbacks"
        )
        function = EsFunction(self, spec, self.platform, self._environment(replaying=True))
        self.store.allow_reading(function)
        self.read_models.allow_changing_generations(function)
        self.read_models.allow_running_jobs(function)
        self.replay.queue.allow_sending(function)
        return function

    def _recover(self) -> EsFunction:
        spec = FunctionSpec(Function.RECOVER, "recover", "recover", "Resumes halted streams and skips events")
        function = EsFunction(self, spec, self.platform, self._environment(triggering=True))
        self.store.allow_reading(function)
        self.read_models.allow_changing_states(function)
        self.read_models.allow_listing_halted(function)
        self._allow_triggering(function)
        return function

    def _browse(self) -> EsFunction:
        spec = FunctionSpec(
            Function.BROWSE, "browse", "browse", "Answers questions about streams, projections and replays"
        )
        function = EsFunction(self, spec, self.platform, self._environment(triggering=True))
        self.store.allow_reading(function)
        self.store.allow_listing_streams(function)
        self.read_models.allow_reading_states(function)
        self.read_models.allow_listing_states(function)
        self.read_models.allow_listing_halted(function)
        self.read_models.allow_reading_jobs(function)
        self.read_models.allow_listing_jobs(function)
        queues = [each.queue for each in self.projections]
        if queues:
            arns = [arn for each in queues for arn in (each.queue.queue_arn, each.dead_letters.queue_arn)]
            function.allow(["sqs:GetQueueAttributes"], *arns)
        return function

    def _add_reconciler(self) -> EsFunction:
        """Declare the function that projects even an event whose every message was lost (P6), and its schedule."""
        scope = Construct(self, "Reconciling")
        spec = FunctionSpec(
            "Reconciler",
            "reconciler",
            "reconciler",
            "Compares heads with checkpoints of one projection and triggers what lags",
            timeout_s=60 * RECONCILE_EVERY_MIN,
        )
        function = EsFunction(scope, spec, self.platform, self._environment(replaying=True, triggering=True))
        self.store.allow_reading(function)
        self.store.allow_listing_streams(function)
        self.read_models.allow_changing_generations(function)
        self.read_models.allow_listing_halted(function)
        self.read_models.allow_running_jobs(function)
        self.read_models.allow_listing_jobs(function)
        self.replay.queue.allow_sending(function)
        self._allow_triggering(function)
        self._schedule(scope, function)
        return function

    def _schedule(self, scope: Construct, function: EsFunction) -> None:
        """Invoke a function every minute for each projection, so that none delays another."""
        schedule = events.Schedule.rate(Duration.minutes(RECONCILE_EVERY_MIN))
        names = [each.definition.name for each in self.projections]
        for number, start in enumerate(range(0, len(names), TARGETS_PER_RULE), start=1):
            rule_targets = [
                targets.LambdaFunction(
                    function.resource,
                    event=events.RuleTargetInput.from_object({"projection": name}),
                    retry_attempts=0,  # the next run does what this one did not
                )
                for name in names[start : start + TARGETS_PER_RULE]
            ]
            rule_id = "Schedule" if number == 1 else f"Schedule{number}"
            events.Rule(scope, rule_id, schedule=schedule, targets=rule_targets)

    def _allow_triggering(self, function: EsFunction) -> None:
        """Let a function send hints to every projector."""
        arns = [each.queue.queue.queue_arn for each in self.projections]
        if arns:
            function.allow(["sqs:SendMessage"], *arns)

    def _environment(self, *, replaying: bool = False, triggering: bool = False) -> dict[str, str]:
        """Return the environment of a function of all projections."""
        environment = {"EVENTS_TABLE": self.store.events.table_name, **self.read_models.environment}
        if replaying:
            environment["REPLAY_QUEUE_URL"] = self.replay.queue.queue.queue_url
        if triggering:
            environment["PROJECTION_QUEUES"] = self.replay.queue.url_pattern
        return environment

    def _outputs(self) -> None:
        values = {
            "ApiUrl": self.api.url,
            "ApiId": self.api.rest.rest_api_id,
            "ApiKeyId": self.api.key.key_id,
            "EventsTable": self.store.events.table_name,
            "IdempotencyTable": self.store.idempotency.table_name,
            "StatesTable": self.read_models.states.table_name,
            "RowsTable": self.read_models.rows.table_name,
            "JobsTable": self.read_models.jobs.table_name,
            "DashboardName": self.observability.dashboard_name,
            "TopicArn": self.publisher.topic.topic_arn,
            "FailureQueueUrl": self.publisher.failures.queue_url,
            "ReplayQueueUrl": self.replay.queue.queue.queue_url,
            "ReplayDeadLetterQueueUrl": self.replay.queue.dead_letters.queue_url,
        }
        for projection in self.projections:
            name = projection.definition.pascal_name
            values[f"{name}QueueUrl"] = projection.queue.queue.queue_url
            values[f"{name}DeadLetterQueueUrl"] = projection.queue.dead_letters.queue_url
        for name, value in values.items():
            CfnOutput(self, f"{name}Output", value=value).override_logical_id(name)
