"""Asking the services that a snapshot is made of: API, SQS, CloudWatch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from cli.eventstore import Reader, events_page
from cli.observe.model import BEHIND, HALTED, FunctionStatus, QueueStatus, StreamStatus
from cli.observe.resources import Queue

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_sqs import SQSClient


STREAMS_MAX = 1000  # what GET /projections describes at most
# Every stream that is behind costs a call for the age of its oldest event; beyond these the events say enough.
_AGES_MAX = 20
_HOUR = timedelta(hours=1)


def projections(api: Reader) -> list[Mapping[str, Any]]:
    """Return all projections with their streams, in the API's form.

    Raises
    ------
    CliError
    """
    found: list[Mapping[str, Any]] = api.get("/projections", limit=STREAMS_MAX).document["projections"]
    return found


def streams(api: Reader, described: Iterable[Mapping[str, Any]], now: datetime) -> list[StreamStatus]:
    """Describe every stream of every projection, with the age of what is not applied yet."""
    found = []
    ages = 0
    for projection in described:
        for stream in projection["streams"]:
            lag_s = None
            if stream["state"] in (BEHIND, HALTED) and ages < _AGES_MAX:
                ages += 1
                lag_s = age_of_event(api, stream["streamId"], stream["checkpoint"] + 1, now)
            found.append(_stream(projection["name"], stream, lag_s))
    return found


def age_of_event(api: Reader, stream_id: str, event_id: int, now: datetime) -> float | None:
    """Return the seconds since an event was stored; None where it is not there."""
    from cli.errors import NotFoundError
    from handlers.clock import parse_rfc3339

    try:
        events = events_page(api, stream_id, first=event_id, limit=1).events
    except NotFoundError:
        return None
    if not events:
        return None
    return max(0.0, (now - parse_rfc3339(events[0]["timeStamp"])).total_seconds())


def _stream(projection: str, stream: Mapping[str, Any], lag_s: float | None) -> StreamStatus:
    return StreamStatus(
        projection=projection,
        stream_id=stream["streamId"],
        state=stream["state"],
        head=stream["head"],
        checkpoint=stream["checkpoint"],
        lag=stream["lag"],
        lag_s=lag_s,
        halted=stream.get("halted"),
        replay=stream.get("replay"),
        skipped=len(stream.get("skipped", ())),
    )


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
    """Count the last hour's invocations and errors in the log: the emulator keeps metrics of direct calls only.

    An error is a line that a function logged as one, or a traceback that it ended with.
    """
    start = int((datetime.now(UTC) - _HOUR).timestamp() * 1000)

    def count(name: str, pattern: str, beginning: str) -> int:
        # The emulator answers with up to 10,000 lines at once, and never with a token for more.
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
    """Ask for the age in seconds of the oldest message of each queue; one without messages may have none."""
    listed = [queue for queue in queues if queue.url is not None]
    names = [str(queue.url).rsplit("/", 1)[-1] for queue in listed]
    wanted = [("AWS/SQS", "ApproximateAgeOfOldestMessage", "QueueName", name, "Maximum", 60) for name in names]
    values = _metric_values(cloudwatch, wanted, timedelta(minutes=10))
    # The newest value comes first.
    return {queue.name: each[0] for queue, each in zip(listed, values, strict=True) if each}


_Metric = tuple[str, str, str, str, str, int]


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
