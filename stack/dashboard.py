"""The dashboard's body: rows of graphs in CloudWatch's JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stack.function import namespace

WIDTH, HEIGHT = 8, 6  # three graphs to a row of CloudWatch's 24 columns

Series = Sequence[object]
"""One line of a graph in CloudWatch's notation: namespace, metric, dimension, value, …, options."""


@dataclass(frozen=True, slots=True)
class Names:
    """The names of the resources in the dashboard, by label.

    Parameters
    ----------
    functions
        Function names by logical id.
    queues, dead_letters
        Queue names by label.
    projectors
        Service names of the projectors by projection.
    reconciler
        Service name of the function that measures the lag of the projections.
    """

    region: str
    api: str
    stage: str
    events_table: str
    functions: Mapping[str, str]
    queues: Mapping[str, str]
    dead_letters: Mapping[str, str]
    projectors: Mapping[str, str]
    reconciler: str


def body(names: Names, alarm_arns: Sequence[str]) -> str:
    """Render the dashboard: the alarms, then graphs in the order in which an event passes through the stack."""
    graphs = [*_api(names), *_events(names), *_queues(names), *_functions(names)]
    widgets: list[dict[str, object]] = [
        {"type": "alarm", "x": 0, "y": 0, "width": 24, "height": 4, "properties": {"alarms": list(alarm_arns)}}
    ]
    for index, (title, statistic, series) in enumerate(graphs):
        properties = {
            "title": title,
            "region": names.region,
            "view": "timeSeries",
            "period": 60,
            "stat": statistic,
            "metrics": [list(line) for line in series],
        }
        x, y = index % 3 * WIDTH, 4 + index // 3 * HEIGHT
        widgets.append({"type": "metric", "x": x, "y": y, "width": WIDTH, "height": HEIGHT, "properties": properties})
    return json.dumps({"widgets": widgets}, separators=(",", ":"))


Graph = tuple[str, str, Sequence[Series]]


def _api(names: Names) -> list[Graph]:
    stage = ("ApiName", names.api, "Stage", names.stage)
    latency = ("AWS/ApiGateway", "Latency", *stage)
    return [
        ("Requests", "Sum", [("AWS/ApiGateway", "Count", *stage)]),
        (
            "Client and server errors",
            "Sum",
            [("AWS/ApiGateway", metric, *stage) for metric in ("4XXError", "5XXError")],
        ),
        ("Latency (ms)", "p50", [(*latency, {"label": "p50"}), (*latency, {"label": "p99", "stat": "p99"})]),
    ]


def _events(names: Names) -> list[Graph]:
    def per_projector(metric: str) -> list[Series]:
        return [
            (namespace(), metric, "service", service, {"label": name}) for name, service in names.projectors.items()
        ]

    def per_projection(metric: str) -> list[Series]:
        service = ("service", names.reconciler)
        return [(namespace(), metric, "projection", name, *service, {"label": name}) for name in names.projectors]

    appended = [(namespace(), metric, "service", "add-event") for metric in ("EventsAppended", "AppendConflicts")]
    return [
        ("Appended", "Sum", appended),
        ("Projected", "Sum", [*per_projector("EventsProjected"), *per_projector("EventsSkipped")]),
        ("Lag (events)", "Maximum", per_projection("ProjectionLag")),
        ("Halted streams", "Maximum", per_projection("StreamsHalted")),
        ("Replays (events per second)", "Average", [(namespace(), "ReplayRate", "service", "replay-worker")]),
        (
            "Events table (units)",
            "Sum",
            [
                ("AWS/DynamoDB", metric, "TableName", names.events_table)
                for metric in ("ConsumedWriteCapacityUnits", "ConsumedReadCapacityUnits")
            ],
        ),
    ]


def _queues(names: Names) -> list[Graph]:
    def lines(metric: str, queues: Mapping[str, str]) -> list[Series]:
        return [("AWS/SQS", metric, "QueueName", queue, {"label": label}) for label, queue in queues.items()]

    return [
        ("Waiting messages", "Maximum", lines("ApproximateNumberOfMessagesVisible", names.queues)),
        ("Oldest message (s)", "Maximum", lines("ApproximateAgeOfOldestMessage", names.queues)),
        ("Dead letters", "Maximum", lines("ApproximateNumberOfMessagesVisible", names.dead_letters)),
    ]


def _functions(names: Names) -> list[Graph]:
    def lines(metric: str) -> list[Series]:
        return [
            ("AWS/Lambda", metric, "FunctionName", function, {"label": label})
            for label, function in names.functions.items()
        ]

    publisher = names.functions["Publisher"]
    return [
        ("Errors", "Sum", lines("Errors")),
        ("Throttles", "Sum", lines("Throttles")),
        ("Duration p99 (ms)", "p99", lines("Duration")),
        ("Wait for the publisher (ms)", "Maximum", [("AWS/Lambda", "IteratorAge", "FunctionName", publisher)]),
    ]
