"""``POST /addEvent`` and ``POST /addEvents``: read, append, answer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from handlers import runtime
from handlers.api import body, http
from handlers.api.newevent import Surroundings, read_event
from handlers.api.request import Request
from handlers.api.response import Response, distinct, json_response
from handlers.clock import Clock
from handlers.core.dynamodb_limits import TRANSACTION_ITEMS
from handlers.errors import Fault, InvalidInput, VersionConflict, pointer
from handlers.events import Event, NewEvent
from handlers.store import EventStore
from handlers.store.limits import (
    MAX_EVENT_BODY_BYTES,
    MAX_EVENTS_BODY_BYTES,
    check_sizes,
    idempotency_key_faults,
)
from handlers.store.port import Appended, IdempotencyKey

# The idempotency guard is one of the items of the transaction (E4).
MAX_EVENTS = TRANSACTION_ITEMS
MAX_GUARDED_EVENTS = TRANSACTION_ITEMS - 1


@dataclass(frozen=True, slots=True)
class Appending:
    """What the two routes need.

    Attributes
    ----------
    store
        Gives the event store; asked at the first request, not at import.
    strict
        Whether event types outside the catalogue are refused.
    """

    store: Callable[[], EventStore]
    clock: Clock
    strict: bool = False

    def routes(self) -> http.Routes:
        return {"POST /addEvent": self.add_event, "POST /addEvents": self.add_events}

    def add_event(self, request: Request) -> Response:
        """Append the one event that the body is."""
        value, faults = body.parse(request.text(MAX_EVENT_BODY_BYTES))
        key, key_faults = _idempotency_key(request)
        faults += key_faults
        event, event_faults = read_event(value, "", self._surroundings(request, importing=False))
        faults = _merged(value, faults, event_faults)
        if event is None or faults:
            raise InvalidInput(faults)
        appended = self._append([event], _guard(key, request.resource, [value]))
        return _created(_reference(appended.events[0]), appended)

    def add_events(self, request: Request) -> Response:
        """Append 1 to 100 events, all or none."""
        value, faults = body.parse(request.text(MAX_EVENTS_BODY_BYTES))
        key, key_faults = _idempotency_key(request)
        faults += key_faults
        limit = MAX_EVENTS if key is None else MAX_GUARDED_EVENTS
        items, shape_faults = _items(value, limit)
        events: list[NewEvent] = []
        for index, item in enumerate(items):
            event, event_faults = read_event(
                item, pointer("events", index), self._surroundings(request, importing=True)
            )
            shape_faults += event_faults
            if event is not None:
                events.append(event)
        faults = _merged(value, faults, shape_faults)
        if faults:
            raise InvalidInput(faults)
        appended = self._append(events, _guard(key, request.resource, items))
        return _created({"events": [_reference(event) for event in appended.events]}, appended)

    def _surroundings(self, request: Request, *, importing: bool) -> Surroundings:
        return Surroundings(
            request_id=request.request_id,
            caller=request.caller,
            now=self.clock.now(),
            strict=self.strict,
            importing=importing,
        )

    def _append(self, events: Sequence[NewEvent], guard: IdempotencyKey | None) -> Appended:
        check_sizes(events)
        log = runtime.logger()
        try:
            appended = self.store().append(events, guard)
        except VersionConflict:
            runtime.count(AppendConflicts=1)
            raise
        stored = 0 if appended.replayed else len(appended.events)
        runtime.count(EventsAppended=stored, AppendConflicts=appended.conflicts)
        for line in _log_lines(appended):
            log.info("replayed" if appended.replayed else "appended", extra=line)
        return appended


def _merged(value: Any, json_faults: list[Fault], shape_faults: list[Fault]) -> list[Fault]:
    """Put the faults together; text without a value in it has no shape to find fault with."""
    broken = value is None and any(fault.pointer == "" for fault in json_faults)
    return distinct(json_faults if broken else json_faults + shape_faults)


def _items(value: Any, limit: int) -> tuple[list[Any], list[Fault]]:
    """Return the events of an addEvents body, as far as it is one."""
    if not isinstance(value, dict):
        return [], [Fault("", "is not a JSON object")]
    faults = [Fault(pointer(name), "is not known here (known: events)") for name in value if name != "events"]
    if "events" not in value:
        return [], [Fault("/events", "is missing"), *faults]
    events = value["events"]
    if not isinstance(events, list):
        return [], [Fault("/events", "is not an array"), *faults]
    if not 1 <= len(events) <= limit:
        because = "; the idempotency guard is one of the 100 items of a transaction" if limit < MAX_EVENTS else ""
        return [], [Fault("/events", f"holds {len(events):,} events, not 1 to {limit}{because}"), *faults]
    return events, faults


def _idempotency_key(request: Request) -> tuple[str | None, list[Fault]]:
    key = request.headers.get("idempotency-key")
    if key is None:
        return None, []
    faults = idempotency_key_faults(key, "header:Idempotency-Key")
    return None if faults else key, faults


def _guard(key: str | None, resource: str, events: Sequence[Any]) -> IdempotencyKey | None:
    return None if key is None else IdempotencyKey(key, payload_hash(resource, events))


def payload_hash(resource: str, events: Sequence[Any]) -> str:
    """Return a hash of what a request means: 64 hex digits.

    Blanks, the order of keys and the way a number is written (``1.0``, ``1``, ``10e-1``) make no difference.
    """
    meaning = json.dumps([resource, _canonical(list(events))], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(meaning.encode()).hexdigest()


def _canonical(value: Any) -> Any:
    # Texts and numbers are told apart by a first letter, so that "1" and 1 differ.
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
    return {
        "streamId": event.stream_id,
        "eventId": event.event_id,
        "type": event.type,
        "timeStamp": event.time_stamp,
    }


def _created(value: object, appended: Appended) -> Response:
    return json_response(201, value, {"Idempotent-Replayed": "true"} if appended.replayed else None)


def _log_lines(appended: Appended) -> list[dict[str, Any]]:
    """Return one log line's fields per stream: where its events are, so that an event can be followed from here on."""
    lines: dict[str, dict[str, Any]] = {}
    for event in appended.events:
        first = {"streamId": event.stream_id, "eventId": event.event_id, "type": event.type, "conflicts": 0}
        line = lines.setdefault(event.stream_id, first)
        line |= {"lastEventId": event.event_id, "conflicts": appended.conflicts}
        correlation_id = event.meta().get("correlationId")
        if correlation_id:
            line["correlation_id"] = correlation_id
    return list(lines.values())
