"""The metrics that the functions emit are those that dashboard and alarms look at, name and dimensions alike."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from stack import dashboard, observability
from stack.function import namespace

OWN = namespace()

# As in a function: a process of its own, for Powertools keeps its metrics in module state.
_EMIT = """
from handlers import runtime
runtime.gauge("test-items", ProjectionLag=3, StreamsHalted=1)
runtime.count({counted})
{rate}
runtime.flush_metrics()
"""
_EMITTED = {
    "add-event": ("EventsAppended=1, AppendConflicts=1", ""),
    "projector-test-items": ("EventsProjected=1, EventsSkipped=1, StreamHalted=1", ""),
    "replay-worker": ("", "runtime.rate('ReplayRate', 12.5)"),
    "reconciler": ("", ""),
}


def emitted(service: str) -> set[tuple[str, frozenset[tuple[str, str]]]]:
    """What a function of this name can emit."""
    counted, rate = _EMITTED[service]
    done = subprocess.run(
        [sys.executable, "-c", _EMIT.format(counted=counted, rate=rate)],
        env={"POWERTOOLS_SERVICE_NAME": service, "POWERTOOLS_METRICS_NAMESPACE": OWN},
        capture_output=True,
        text=True,
        check=True,
    )
    found = set()
    for line in done.stdout.splitlines():
        document = json.loads(line)
        [directive] = document["_aws"]["CloudWatchMetrics"]
        assert directive["Namespace"] == OWN
        for dimensions in directive["Dimensions"]:
            values = frozenset((name, document[name]) for name in dimensions)
            found |= {(metric["Name"], values) for metric in directive["Metrics"]}
    return found


def looked_at() -> set[tuple[str, frozenset[tuple[str, str]]]]:
    """What the dashboard and the alarm of the lag look at."""
    names = dashboard.Names(
        region="r",
        api="a",
        stage="s",
        events_table="t",
        functions={"Publisher": "p"},
        queues={},
        dead_letters={},
        projectors={"test-items": "projector-test-items"},
        reconciler="reconciler",
    )
    found = set()
    for widget in json.loads(dashboard.body(names, []))["widgets"]:
        for own, metric, *rest in widget["properties"].get("metrics", []):
            if own == OWN:
                dimensions: list[Any] = [each for each in rest if isinstance(each, str)]
                found.add((metric, frozenset(zip(dimensions[::2], dimensions[1::2], strict=True))))
    lag = observability.projection_lag_alarm("LagAlarm", "reconciler", "test-items")
    return found | {(lag.metric, frozenset(lag.dimensions.items()))}


def test_what_is_looked_at_is_emitted() -> None:
    every = set().union(*(emitted(service) for service in _EMITTED))

    assert looked_at() <= every
    assert {name for name, _ in looked_at()} >= {"EventsAppended", "EventsProjected", "ProjectionLag", "ReplayRate"}
