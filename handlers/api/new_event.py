"""Read and validate one event of a request against its schema, the limits and the catalogue."""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from handlers import catalogue
from handlers.api.schemas import IMPORTED_EVENT, NEW_EVENT
from handlers.core import lossless_json
from handlers.core.clock import parse_rfc3339, rfc3339
from handlers.core.dynamodb import NESTING_LEVELS
from handlers.core.errors import Fault
from handlers.core.events import NewEvent, StreamId
from handlers.core.validation import Validator
from handlers.store import limits

# Tolerates the skew between this clock and the one that stamped an imported event.
MAX_CLOCK_SKEW = timedelta(minutes=1)

_new, _imported = Validator(NEW_EVENT), Validator(IMPORTED_EVENT)


@dataclass(frozen=True, slots=True)
class EventContext:
    """What reading an event depends on, apart from the event.

    Attributes
    ----------
    request_id
        The API request's id: the default correlationId.
    caller
        The identity that signed the request, if API Gateway verified one: the actor of its events.
    strict
        Whether types outside the catalogue are refused.
    importing
        Whether ``timeStamp`` and ``schemaVersion`` are allowed.
    """

    request_id: str
    caller: str | None
    now: datetime
    strict: bool
    importing: bool


def read_event(value: Any, place: str, context: EventContext) -> tuple[NewEvent | None, list[Fault]]:
    """Return the event, or None if it is invalid, and every fault, with pointers that begin with ``place``."""
    faults = (_imported if context.importing else _new)(value, place)
    if isinstance(value, dict):
        faulty = {fault.pointer.removeprefix(place).split("/")[1] for fault in faults if fault.pointer != place}
        valid = {name: field for name, field in value.items() if name not in faulty}
        # Data is validated against the schemaVersion it claims, so not if that is invalid.
        needed = {"streamId", "type", "data"} | (value.keys() & {"schemaVersion"} if context.importing else set())
        faults += _semantic_faults(valid, place, context, needed)
    if faults:
        return None, faults
    metadata = _metadata(value, context)
    return (
        NewEvent(
            stream_id=StreamId(value["streamId"]),
            type=value["type"],
            data=lossless_json.dumps(value["data"]),
            expected_version=value.get("expectedVersion"),
            metadata=None if metadata is None else lossless_json.dumps(metadata),
            time_stamp=rfc3339(parse_rfc3339(value["timeStamp"])) if "timeStamp" in value else None,
            schema_version=value.get("schemaVersion", catalogue.current_version(value["type"])),
        ),
        [],
    )


def _semantic_faults(valid: dict[str, Any], place: str, context: EventContext, needed: Set[str]) -> Iterator[Fault]:
    """Yield faults that a schema cannot express; data is examined if all needed fields are valid."""
    for name in ("data", "metadata"):
        if name in valid and limits.depth(valid[name]) > NESTING_LEVELS:
            del valid[name]
            yield Fault(f"{place}/{name}", f"must be at most {NESTING_LEVELS} levels deep")
    if "timeStamp" in valid:
        yield from _time_faults(valid["timeStamp"], f"{place}/timeStamp", context.now)
    if valid.keys() >= needed:
        yield from _data_faults(valid, place, context)


def _time_faults(value: str, place: str, now: datetime) -> Iterator[Fault]:
    try:
        if parse_rfc3339(value) > now + MAX_CLOCK_SKEW:
            yield Fault(place, "must not be in the future")
    except ValueError:
        yield Fault(place, "must be an RFC 3339 time with an offset, such as 2026-11-23T10:15:30.123Z")


def _data_faults(value: dict[str, Any], place: str, context: EventContext) -> Iterator[Fault]:
    """Validate data, upcast to the newest version, against its type's schema."""
    event_type, data = value["type"], value["data"]
    known = catalogue.known_types()
    if context.strict and event_type not in known:
        yield Fault(
            f"{place}/type", f"must be in the catalogue, because this stack is strict (known: {', '.join(known)})"
        )
        return
    newest = catalogue.current_version(event_type)
    version = value.get("schemaVersion", newest)
    if version > newest and event_type in known:  # a type outside the catalogue may have any version
        yield Fault(f"{place}/schemaVersion", f"must be a whole number from 1 to {newest}")
        return
    try:
        data = catalogue.upcast(event_type, version, data)
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
        yield Fault(f"{place}/data", f"does not fit its schemaVersion: upcasting raised {type(error).__name__}")
        return
    for fault in catalogue.validate(event_type, data):
        yield Fault(f"{place}/data{fault.pointer}", fault.detail)


def _metadata(value: dict[str, Any], context: EventContext) -> dict[str, Any] | None:
    """Complete the metadata; an import's is kept as given, except for the actor.

    The actor is always the identity that API Gateway verified, if any. An import keeps the event's previous actor as
    ``originalActor``, unless an earlier import has recorded one.
    """
    given: dict[str, Any] | None = value.get("metadata")
    metadata = dict(given or {})
    if "timeStamp" not in value and context.request_id:
        metadata = {"correlationId": context.request_id} | metadata
    if context.caller and metadata.get("actor") != context.caller:
        if context.importing and "actor" in metadata:
            metadata.setdefault("originalActor", metadata["actor"])
        metadata["actor"] = context.caller
    return metadata or (given if "timeStamp" in value else None)
