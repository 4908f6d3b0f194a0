"""The metrics that the functions emit are those that dashboard and alarms look at, name and dimensions alike."""

from __future__ import annotations

import ast
import inspect
import json
import subprocess
import sys
from functools import cache
from types import ModuleType
from typing import Any

from handlers.api import appending
from handlers.functions import projector, reconciler, replay_worker

# Each service with the modules that emit its metrics.
_MODULES = {
    "add-event": appending,
    "projector-test-items": projector,
    "replay-worker": replay_worker,
    "reconciler": reconciler,
}


@cache
def own_namespace() -> str:
    from stack.function import namespace

    return namespace()


def calls(module: ModuleType) -> list[str]:
    """Return the calls of `handlers.runtime` that emit a module's metrics, as its source has them, with values of 1."""
    found = []
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        named = ", ".join(f"{keyword.arg}=1" for keyword in node.keywords)
        match node.func.attr:
            case "count" if named:
                found.append(f"runtime.count({named})")
            case "gauge":
                found.append(f"runtime.gauge('test-items', {named})")
            case "rate":
                found.append(f"runtime.rate({ast.unparse(node.args[0])}, 1)")
    return found


def emitted(service: str) -> set[tuple[str, frozenset[tuple[str, str]]]]:
    """Return the names and dimensions of the metrics that a function of this name emits."""
    # As in a function: a process of its own, because Powertools keeps its metrics in module state.
    script = "\n".join(["from handlers import runtime", *calls(_MODULES[service]), "runtime.flush_metrics()"])
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"POWERTOOLS_SERVICE_NAME": service, "POWERTOOLS_METRICS_NAMESPACE": own_namespace()},
        capture_output=True,
        text=True,
        check=True,
    )
    found = set()
    for line in done.stdout.splitlines():
        document = json.loads(line)
        [directive] = document["_aws"]["CloudWatchMetrics"]
        assert directive["Namespace"] == own_namespace()
        for dimensions in directive["Dimensions"]:
            values = frozenset((name, document[name]) for name in dimensions)
            found |= {(metric["Name"], values) for metric in directive["Metrics"]}
    return found


def looked_at() -> set[tuple[str, frozenset[tuple[str, str]]]]:
    """What the dashboard and the alarm of the lag look at."""
    from stack import dashboard, observability

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
            if own == own_namespace():
                dimensions: list[Any] = [each for each in rest if isinstance(each, str)]
                found.add((metric, frozenset(zip(dimensions[::2], dimensions[1::2], strict=True))))
    lag = observability.projection_lag_alarm("LagAlarm", "reconciler", "test-items")
    return found | {(lag.metric, frozenset(lag.dimensions.items()))}


def test_what_is_looked_at_is_emitted() -> None:
    every = set().union(*(emitted(service) for service in _MODULES))

    assert looked_at() <= every
    assert {name for name, _ in looked_at()} >= {"EventsAppended", "EventsProjected", "ProjectionLag", "ReplayRate"}
