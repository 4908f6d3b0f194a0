"""What X-Ray knows about the invocations of a path."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mypy_boto3_xray import XRayClient

_TRACES_MAX = 5  # of one BatchGetTraces


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment or subsegment; ``depth`` is how deep it is nested."""

    name: str
    started_s: float
    milliseconds: float
    depth: int
    error: str

    def document(self) -> dict[str, Any]:
        return {"name": self.name.strip(), "milliseconds": round(self.milliseconds, 1), "depth": self.depth}


def segments(client: XRayClient, trace_ids: Sequence[str]) -> list[Segment]:
    """Ask for the segments of some traces, in the order of their starts; nested ones are indented.

    Raises
    ------
    CliError
    """
    from cli.aws import errors

    found: list[Segment] = []
    for start in range(0, len(trace_ids), _TRACES_MAX):
        with errors():
            answer = client.batch_get_traces(TraceIds=list(trace_ids[start : start + _TRACES_MAX]))
        documents = [json.loads(each["Document"]) for trace in answer["Traces"] for each in trace["Segments"]]
        for document in sorted(documents, key=lambda each: float(each.get("start_time", 0))):
            found += _flat(document, 0)
    return found


def _flat(document: Mapping[str, Any], depth: int) -> list[Segment]:
    started = float(document.get("start_time", 0))
    ended = float(document.get("end_time", started))
    error = next((word for word in ("fault", "error", "throttle") if document.get(word)), "")
    name = f"{'  ' * depth}{document.get('name', '?')}"
    found = [Segment(name, started, (ended - started) * 1000, depth, error)]
    for each in sorted(document.get("subsegments", ()), key=lambda one: float(one.get("start_time", 0))):
        found += _flat(each, depth + 1)
    return found
