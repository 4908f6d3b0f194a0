"""Take a snapshot of a stack: its projections, queues, functions and API, queried concurrently.

The work does not grow with the number of streams: the API describes some streams of each projection, the halted ones and
the worst ones first, and reports what the reconciler found when it last compared all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar

from cli.client.aws import errors
from cli.client.records import BEHIND, HALTED, ProjectionStatus, StreamStatus
from cli.client.service import STREAMS_MAX, Service
from cli.errors import CliError, NotFoundError
from cli.operate.resources import Queue, Resources, find_resources, queues_of
from handlers.core.clock import parse_rfc3339

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_sqs import SQSClient

    from cli.client.aws import Clients
    from cli.config.targets import Target

T = TypeVar("T")

# Every stream that is behind costs a call for the age of its oldest event; beyond this number, counts suffice.
_AGES_MAX = 20
# Between two looks at a queue whose oldest message has no known age: a projector takes milliseconds per message.
_SECOND_LOOK_S = 2.0
_HOUR = timedelta(hours=1)
_THREADS = 4
BACKLOG = 100
"""A queue with more messages than this has a backlog: the threshold of the stack's alarm for events that lag."""

_Metric = tuple[str, str, str, str, str, int]
"""Namespace, metric, dimension name and value, statistic, period in seconds."""


@dataclass(frozen=True, slots=True)
class ApiHealth:
    """Whether the API answers.

    Attributes
    ----------
    milliseconds
        Latency of the call, measured here.
    error
        Why it did not answer.
    """

    ok: bool
    milliseconds: float | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """The status of one queue; unknown values are None.

    Attributes
    ----------
    waiting, in_flight
        Messages waiting, and messages being processed.
    oldest_s
        Age of the oldest message.
    dead_letters
        Messages in its dead-letter or failure queue.
    moving
        False if messages wait, and their number has not fallen within seconds; None if that was not measured.
    """

    name: str
    waiting: int | None
    in_flight: int | None
    oldest_s: float | None
    dead_letters: int | None
    moving: bool | None = None


@dataclass(frozen=True, slots=True)
class FunctionStatus:
    """A function's invocations in the last hour; throttles are None if unknown."""

    name: str
    invocations: int
    errors: int
    throttles: int | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The status of a stack at one moment.

    Attributes
    ----------
    stack_status
        CloudFormation's status; None if unknown.
    functions
        None if unknown.
    unknown
        Reasons by unknown part.
    unsaved
        Why the local target cannot save its data, and since when; None if it can, and on AWS.
    """

    stack_status: str | None
    api: ApiHealth
    projections: tuple[ProjectionStatus, ...] = ()
    queues: tuple[QueueStatus, ...] = ()
    functions: tuple[FunctionStatus, ...] | None = None
    unknown: Mapping[str, str] = field(default_factory=dict)
    unsaved: str | None = None

    @property
    def streams(self) -> list[StreamStatus]:
        """The streams of all projections that were looked at."""
        return [stream for projection in self.projections for stream in projection.streams]


def take_snapshot(
    target: Target,
    service: Service,
    clients: Clients,
    unsaved: Callable[[], str | None],
    sleep: Callable[[float], None],
) -> Snapshot:
    """Query all services concurrently; a query that fails makes only its own part unknown.

    Parameters
    ----------
    unsaved
        Returns why the local target cannot save its data, or None.
    sleep
        Waits before the second look at a queue.

    Raises
    ------
    CliError
        Neither CloudFormation nor the API answers: CloudFormation's error.
    """
    # Create the clients here: unlike using a client, creating one is not thread-safe.
    for name in ("cloudformation", "cloudwatch", "logs", "sqs"):
        clients.client(name)
    with ThreadPoolExecutor(_THREADS) as pool:
        stack = pool.submit(_known, lambda: find_resources(clients, target.stack_name))
        health = pool.submit(_projections, service)
        queues = pool.submit(_known, lambda: _queues(target, clients, sleep))
        resources, no_resources = stack.result()
        functions, no_functions = _functions(target, clients, resources)
        (answered, projections), (queued, no_queues) = health.result(), queues.result()
    if no_resources is not None and not answered.ok:
        raise no_resources
    unknown = {"stack": no_resources, "functions": no_functions or no_resources, "queues": no_queues}
    return Snapshot(
        stack_status=resources.status if resources else None,
        api=answered,
        projections=tuple(projections),
        queues=tuple(queued or ()),
        functions=None if functions is None else tuple(functions),
        unknown={what: error.message for what, error in unknown.items() if error is not None},
        unsaved=unsaved(),
    )


def _known(ask: Callable[[], T]) -> tuple[T | None, CliError | None]:
    """Return the answer, or the error."""
    try:
        with errors():
            return ask(), None
    except CliError as error:
        return None, error


def _projections(service: Service) -> tuple[ApiHealth, list[ProjectionStatus]]:
    started = perf_counter()
    try:
        described = service.projections(limit=STREAMS_MAX)
        health = ApiHealth(True, round((perf_counter() - started) * 1000, 1))
        found = with_ages(service, described, datetime.now(UTC))
    except CliError as error:
        return ApiHealth(False, error=error.message), []
    return health, found


def _queues(target: Target, clients: Clients, sleep: Callable[[float], None]) -> list[QueueStatus]:
    queues = queues_of(target.outputs)
    ages = _ages(target, clients, queues)
    sqs = clients.client("sqs")
    found = [queue_status(sqs, queue, ages.get(queue.name)) for queue in queues]
    return looked_at_again(sqs, queues, found, sleep)


def looked_at_again(
    sqs: SQSClient, queues: Sequence[Queue], found: Sequence[QueueStatus], sleep: Callable[[float], None]
) -> list[QueueStatus]:
    """Look once more at the queues in which messages wait, if the age of the oldest one is unknown."""
    unsure = {queue.name for queue in found if queue.waiting and queue.oldest_s is None}
    if unsure:
        sleep(_SECOND_LOOK_S)
    again = {queue.name: queue_status(sqs, queue, None) for queue in queues if queue.name in unsure}
    return [
        replace(again[each.name], moving=_moves(each, again[each.name])) if each.name in again else each
        for each in found
    ]


def _moves(before: QueueStatus, after: QueueStatus) -> bool:
    """Return whether a queue's messages are being processed, judged by two looks."""
    if not after.waiting or before.waiting is None:
        return True
    # A short queue may have as many messages as before because new ones come in: then some are in flight.
    busy = bool(before.in_flight or after.in_flight) and after.waiting <= BACKLOG
    return busy or after.waiting < before.waiting


def _ages(target: Target, clients: Clients, queues: list[Queue]) -> dict[str, float]:
    if not target.has_metrics:
        return {}
    return _known(lambda: oldest_messages(clients.client("cloudwatch"), queues))[0] or {}


def _functions(
    target: Target, clients: Clients, resources: Resources | None
) -> tuple[list[FunctionStatus] | None, CliError | None]:
    if resources is None:
        return None, None
    if not target.has_metrics:
        logs = clients.client("logs")
        return _known(lambda: function_statuses_from_logs(logs, resources.functions, resources.log_groups))
    return _known(lambda: function_statuses(clients.client("cloudwatch"), resources.functions))


def with_ages(service: Service, projections: Iterable[ProjectionStatus], now: datetime) -> list[ProjectionStatus]:
    """Return the projections; their streams with the age of the oldest event not applied yet."""
    left = _AGES_MAX

    def with_age(stream: StreamStatus) -> StreamStatus:
        nonlocal left
        if stream.state not in (BEHIND, HALTED) or not left:
            return stream
        left -= 1
        return replace(stream, lag_s=age_of_event(service, stream.stream_id, stream.checkpoint + 1, now))

    return [replace(each, streams=tuple(map(with_age, each.streams))) for each in projections]


def age_of_event(service: Service, stream_id: str, event_id: int, now: datetime) -> float | None:
    """Return the seconds since an event was stored; None if there is no such event."""
    try:
        events = service.events_page(stream_id, first=event_id, limit=1).items
    except NotFoundError:
        return None
    return max(0.0, (now - parse_rfc3339(events[0]["timeStamp"])).total_seconds()) if events else None


def queue_status(sqs: SQSClient, queue: Queue, oldest_s: float | None) -> QueueStatus:
    """Count the messages of a queue and of its dead-letter queue."""
    own = {} if queue.url is None else _attributes(sqs, queue.url)
    dead = _attributes(sqs, queue.dead_letter_url)
    return QueueStatus(
        name=queue.name,
        waiting=None if queue.url is None else own["ApproximateNumberOfMessages"],
        in_flight=None if queue.url is None else own["ApproximateNumberOfMessagesNotVisible"],
        oldest_s=oldest_s,
        dead_letters=sum(dead.values()),
    )


def _attributes(sqs: SQSClient, url: str) -> dict[str, int]:
    answer = sqs.get_queue_attributes(
        QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    )
    return {name: int(value) for name, value in answer["Attributes"].items()}


def function_statuses(cloudwatch: CloudWatchClient, functions: Mapping[str, str]) -> list[FunctionStatus]:
    """Sum up the last hour's invocations, errors and throttles of every function."""
    metrics = ("Invocations", "Errors", "Throttles")
    names = sorted(functions)
    wanted = [
        ("AWS/Lambda", metric, "FunctionName", functions[name], "Sum", int(_HOUR.total_seconds()))
        for name in names
        for metric in metrics
    ]
    values = _metric_values(cloudwatch, wanted, _HOUR)
    numbers = [int(sum(each)) for each in values]
    return [
        FunctionStatus(name, *numbers[index * len(metrics) : (index + 1) * len(metrics)])
        for index, name in enumerate(names)
    ]


def function_statuses_from_logs(
    logs: CloudWatchLogsClient, functions: Iterable[str], groups: Mapping[str, str]
) -> list[FunctionStatus]:
    """Count the last hour's invocations and errors in the logs: the emulator keeps metrics of direct calls only.

    An error is a line at level ERROR, or a traceback that ended an invocation.
    """
    start = int((datetime.now(UTC) - _HOUR).timestamp() * 1000)

    def count(name: str, pattern: str, beginning: str) -> int:
        # The emulator returns up to 10,000 lines, and never a token for more.
        answer = logs.filter_log_events(logGroupName=groups[name], startTime=start, filterPattern=pattern)
        return sum(each["message"].startswith(beginning) for each in answer["events"])

    return [
        FunctionStatus(
            name,
            count(name, "REPORT", "REPORT "),
            count(name, '"level":"ERROR"', "{") + count(name, "Traceback", "Traceback "),
            None,
        )
        for name in sorted(functions)
        if name in groups
    ]


def oldest_messages(cloudwatch: CloudWatchClient, queues: Iterable[Queue]) -> dict[str, float]:
    """Return the age in seconds of the oldest message by queue; queues without messages may be missing."""
    listed = [queue for queue in queues if queue.url is not None]
    names = [str(queue.url).rsplit("/", 1)[-1] for queue in listed]
    wanted = [("AWS/SQS", "ApproximateAgeOfOldestMessage", "QueueName", name, "Maximum", 60) for name in names]
    values = _metric_values(cloudwatch, wanted, timedelta(minutes=10))
    # The newest value is first.
    return {queue.name: each[0] for queue, each in zip(listed, values, strict=True) if each}


def _metric_values(cloudwatch: CloudWatchClient, wanted: list[_Metric], back: timedelta) -> list[list[float]]:
    if not wanted:
        return []
    now = datetime.now(UTC)
    queries: list[Any] = [
        {
            "Id": f"m{index}",
            "MetricStat": {
                "Metric": {
                    "Namespace": namespace,
                    "MetricName": metric,
                    "Dimensions": [{"Name": dimension, "Value": value}],
                },
                "Period": period,
                "Stat": statistic,
            },
        }
        for index, (namespace, metric, dimension, value, statistic, period) in enumerate(wanted)
    ]
    found: dict[str, list[float]] = {}
    pages = cloudwatch.get_paginator("get_metric_data").paginate(
        MetricDataQueries=queries, StartTime=now - back, EndTime=now + timedelta(minutes=1)
    )
    for page in pages:
        for result in page["MetricDataResults"]:
            found.setdefault(result["Id"], []).extend(result["Values"])
    return [found.get(f"m{index}", []) for index in range(len(wanted))]
