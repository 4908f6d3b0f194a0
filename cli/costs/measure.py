"""What events needed, measured from the functions' own log lines: requests, units, milliseconds, bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import median

from cli.logs.lines import Kind, Line

# A line is stored with 26 bytes more: https://aws.amazon.com/cloudwatch/pricing/ counts them.
_LINE_OVERHEAD_BYTES = 26
_APPENDING = "AddEvent"
_PUBLISHING = "Publisher"
_PROJECTING = "Projector"
_SINGLE_READS = {"dynamodb.GetItem": 1, "dynamodb.Query": 1, "dynamodb.TransactGetItems": 4}


@dataclass
class FunctionUse:
    """One function on the way of an event.

    Attributes
    ----------
    durations_ms
        Billed milliseconds of each invocation.
    requests
        AWS requests by service and operation, like ``dynamodb.PutItem``.
    """

    memory_mb: int = 0
    durations_ms: list[float] = field(default_factory=list)
    requests: Counter[str] = field(default_factory=Counter)
    read_units: float = 0.0
    write_units: float = 0.0
    log_bytes: int = 0

    @property
    def invocations(self) -> int:
        return len(self.durations_ms)

    @property
    def typical_ms(self) -> float:
        """The median: a few cold starts among few invocations would spoil the mean."""
        return median(self.durations_ms) if self.durations_ms else 0.0

    @property
    def reads_by_count(self) -> float:
        """Read units of small items by the number of requests: what the emulator says of them is wrong."""
        return float(sum(self.requests[name] * units for name, units in _SINGLE_READS.items()))


@dataclass
class Measured:
    """What happened in a time.

    Attributes
    ----------
    events
        Events appended.
    calls
        Calls of the API that appended them.
    published, delivered
        Messages to the topic, and from it to the queues of projections.
    functions
        By logical id: those that events pass through.
    """

    events: int = 0
    calls: int = 0
    published: int = 0
    delivered: int = 0
    functions: dict[str, FunctionUse] = field(default_factory=dict)


def on_the_way(functions: Iterable[str]) -> list[str]:
    """The functions that every event passes through, in its order."""
    names = sorted(functions)
    return [
        *(name for name in (_APPENDING, _PUBLISHING) if name in names),
        *(name for name in names if name.startswith(_PROJECTING)),
    ]


def measure(lines: Iterable[Line]) -> Measured:
    """Add up log lines of the functions on an event's way."""
    found = Measured()
    for line in lines:
        use = found.functions.setdefault(line.function, FunctionUse())
        use.log_bytes += len(line.raw.message.encode()) + _LINE_OVERHEAD_BYTES
        if line.kind is Kind.REPORT:
            _report(use, line.fields)
        elif line.text == "appended" and line.function == _APPENDING:
            found.events += int(line.fields.get("lastEventId", 0)) - int(line.fields.get("eventId", 0)) + 1
        elif line.function == _APPENDING and line.text.startswith("POST "):
            found.calls += 1
        elif line.text == "published":
            found.published += len(line.fields.get("eventIds", ()))
        elif line.text == "projected":
            found.delivered += len(line.fields.get("eventIds", ()))
        _used(use, line.fields.get("used"))
    return found


def _report(use: FunctionUse, fields: Mapping[str, str]) -> None:
    use.memory_mb = int(float(fields.get("Memory Size", "0").split()[0]))
    billed = fields.get("Billed Duration") or fields.get("Duration") or "0"
    use.durations_ms.append(float(billed.split()[0]))


def _used(use: FunctionUse, used: object) -> None:
    if not isinstance(used, Mapping):
        return
    use.requests.update(used.get("requests", {}))
    use.read_units += float(used.get("readUnits", 0))
    use.write_units += float(used.get("writeUnits", 0))
