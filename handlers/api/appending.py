"""``POST /addEvent`` and ``POST /addEvents``: parse, append, respond."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from handlers.api import http
from handlers.api.new_event import EventContext, read_event
from handlers.api.request import Request
from handlers.api.response import Response, json_response
from handlers.api.route import Route
from handlers.api.routes import ADD_EVENT, ADD_EVENTS, KEY_HEADER, REPLAYED_HEADER
from handlers.core.clock import Clock
from handlers.core.dynamodb import TRANSACTION_ITEMS
from handlers.core.errors import VersionConflictError, pointer
from handlers.core.events import Event, NewEvent
from handlers.store import EventStore
from handlers.store.limits import check_sizes
from handlers.store.port import Appended, IdempotencyKey

# The idempotency record is one of the transaction's items (E4).
MAX_EVENTS_WITH_KEY = TRANSACTION_ITEMS - 1


@dataclass(frozen=True, slots=True)
class EventRoutes:
    """Append events; ``strict`` refuses event types outside the catalogue."""

    store: Callable[[], EventStore]
    clock: Clock
    telemetry: http.Telemetry
    strict: bool = False

    def routes(self) -> http.Routes:
        return {ADD_EVENT: self.add_event, ADD_EVENTS: self.add_events}

    def add_event(self, request: Request) -> Response:
        """Append the event in the body."""
        events = self._parse(request, {"": request.body}, importing=False)
        appended = self._append(events, _idempotency_key(ADD_EVENT, request, [request.body]))
        return _created(_reference(appended.events[0]), appended)

    def add_events(self, request: Request) -> Response:
        """Append 1 to 100 events atomically."""
        given = request.body.get("events", [])
        if KEY_HEADER in request.headers and len(given) > MAX_EVENTS_WITH_KEY:
            request.fault("/events", f"must be an array of 1 to {MAX_EVENTS_WITH_KEY} items with an {KEY_HEADER}")
        places = {pointer("events", index): value for index, value in enumerate(given)}
        events = self._parse(request, places, importing=True)
        appended = self._append(events, _idempotency_key(ADD_EVENTS, request, given))
        return _created({"events": [_reference(event) for event in appended.events]}, appended)

    def _parse(self, request: Request, values: Mapping[str, Any], *, importing: bool) -> list[NewEvent]:
        """Read events, keyed by their JSON pointers; raises with every fault of the request."""
        context = EventContext(
            request_id=request.request_id,
            caller=request.caller,
            now=self.clock.now(),
            strict=self.strict,
            importing=importing,
        )
        events = []
        for place, value in values.items():
            event, faults = read_event(value, place, context)
            request.faults += faults
            if event is not None:
                events.append(event)
        request.check()
        check_sizes(events)
        return events

    def _append(self, events: Sequence[NewEvent], key: IdempotencyKey | None) -> Appended:
        try:
            appended = self.store().append(events, key)
        except VersionConflictError:
            self.telemetry.count(AppendConflicts=1)
            raise
        stored = 0 if appended.replayed else len(appended.events)
        self.telemetry.count(EventsAppended=stored, AppendConflicts=appended.conflicts)
        for line in _log_lines(appended):
            self.telemetry.logger().info("replayed" if appended.replayed else "appended", extra=line)
        return appended


def _idempotency_key(route: Route, request: Request, events: Sequence[Any]) -> IdempotencyKey | None:
    key = request.headers.get(KEY_HEADER)
    return None if key is None else IdempotencyKey(key, payload_hash(route.path, events))


def payload_hash(path: str, events: Sequence[Any]) -> str:
    """Return a SHA-256 of a request's meaning, in hex.

    Whitespace, the order of keys and the notation of numbers (``1.0``, ``1``, ``10e-1``) make no difference.
    """
    meaning = json.dumps([path, _canonical(list(events))], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(meaning.encode()).hexdigest()


def _canonical(value: Any) -> Any:
    # A prefix tells strings and numbers apart, so that "1" and 1 differ.
    if isinstance(value, dict):
        return {key: _canonical(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_canonical(inner) for inner in value]
    if isinstance(value, str):
        return "s" + value
    if isinstance(value, bool) or value is None:
        return value
    sign, digits, exponent = Decimal(value).as_tuple()
    significant = "".join(map(str, digits)).lstrip("0")
    stripped = significant.rstrip("0")
    if not stripped:
        return "n0"
    return f"n{'-' * sign}{stripped}e{int(exponent) + len(significant) - len(stripped)}"


def _reference(event: Event) -> dict[str, Any]:
    reference = {"streamId": event.stream_id, "eventId": event.event_id, "type": event.type}
    return {**reference, "timeStamp": event.time_stamp}


def _created(value: object, appended: Appended) -> Response:
    return json_response(201, value, {REPLAYED_HEADER: "true"} if appended.replayed else None)


def _log_lines(appended: Appended) -> list[dict[str, Any]]:
    """Return the fields of one log line per stream: the positions by which `tail-logs` traces an event."""
    lines: dict[str, dict[str, Any]] = {}
    for event in appended.events:
        first = {"streamId": event.stream_id, "eventId": event.event_id, "type": event.type, "conflicts": 0}
        line = lines.setdefault(event.stream_id, first)
        line |= {"lastEventId": event.event_id, "conflicts": appended.conflicts}
        correlation_id = event.meta().get("correlationId")
        if correlation_id:
            line["correlation_id"] = correlation_id
    return list(lines.values())
