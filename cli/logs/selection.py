"""Which lines are shown."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cli.logs.lines import Kind, Line

_REMEMBERED_MAX = 10_000
# What a function or the gateway calls a request, and what binds the lines of several functions together.
_REQUEST_FIELDS = ("requestId", "functionRequestId", "correlation_id", "xray_trace_id", "traceId")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked for; None and empty mean everything.

    Attributes
    ----------
    text
        Stands in the line as it is, in any case.
    stream_id
        The line is about this stream.
    event_id
        With ``stream_id``: it is about this event.
    request_id
        An id of a request, an invocation, a correlation or a trace, or the beginning of one.
    correlation_id
        Of the event asked for: lines that bear it are about it too.
    """

    text: str = ""
    stream_id: str | None = None
    event_id: int | None = None
    request_id: str | None = None
    correlation_id: str | None = None

    @property
    def everything(self) -> bool:
        return not (self.text or self.stream_id is not None or self.request_id)


@dataclass
class Selection:
    """Picks lines, and remembers the invocations that they are of, so that their REPORT lines come along."""

    wanted: Wanted
    _invocations: OrderedDict[str, None] = field(default_factory=OrderedDict)

    def pick(self, lines: Iterable[Line]) -> list[Line]:
        """Return the lines to show, in their order."""
        return [line for line in lines if self._wants(line)]

    def _wants(self, line: Line) -> bool:
        if line.kind in (Kind.START, Kind.END, Kind.METRICS):
            return False
        if self.wanted.everything:
            return True
        if line.kind is Kind.REPORT:
            return line.request_id in self._invocations
        if not matches(line, self.wanted):
            return False
        if line.request_id:
            self._invocations[line.request_id] = None
            if len(self._invocations) > _REMEMBERED_MAX:
                self._invocations.popitem(last=False)
        return True


def matches(line: Line, wanted: Wanted) -> bool:
    """Tell whether one line is what was asked for."""
    if wanted.text and wanted.text.lower() not in line.raw.message.lower():
        return False
    if wanted.request_id and not _is_of_request(line, wanted.request_id):
        return False
    if wanted.stream_id is None:
        return True
    if wanted.correlation_id and line.fields.get("correlation_id") == wanted.correlation_id:
        return True
    return is_about(line.fields, wanted.stream_id, wanted.event_id)


def _is_of_request(line: Line, wanted: str) -> bool:
    ids = [line.request_id, *(str(line.fields.get(name, "")) for name in _REQUEST_FIELDS)]
    ids += [str(each) for each in _list(line.fields.get("correlationIds"))]
    return any(each.startswith(wanted) for each in ids if each)


def is_about(fields: Mapping[str, Any], stream_id: str, event_id: int | None) -> bool:
    """Tell whether a line's fields speak of a stream, and of one event in it where one is given."""
    if fields.get("streamId") != stream_id:
        return False
    if event_id is None or event_id in _list(fields.get("eventIds")):
        return True
    first = fields.get("eventId")
    return isinstance(first, int) and first <= event_id <= _number(fields.get("lastEventId"), first)


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _number(value: object, otherwise: int) -> int:
    return value if isinstance(value, int) else otherwise
