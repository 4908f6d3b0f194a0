"""Reading one event of a request: its shape, the limits, the catalogue; every fault with its place."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from handlers import catalogue, exactjson
from handlers.clock import parse_rfc3339, rfc3339
from handlers.errors import Fault, pointer
from handlers.events import NewEvent, StreamId
from handlers.projection import rows
from handlers.store import limits

REQUIRED = ("streamId", "type", "data")
OPTIONAL = ("expectedVersion", "metadata")
# An import brings what was stored elsewhere: when it happened, and in which form of its type.
IMPORTED = ("timeStamp", "schemaVersion")

# Clocks differ: what another machine has just stored is not "in the future" for being a little ahead of us.
MAX_CLOCK_SKEW = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What matters to reading an event besides the event.

    Attributes
    ----------
    request_id
        The API request's id: the correlationId of events that bring none.
    caller
        The identity that signed the request, where API Gateway checked one: the actor of its events.
    strict
        Whether types outside the catalogue are refused.
    importing
        Whether ``timeStamp`` and ``schemaVersion`` may be given.
    """

    request_id: str
    caller: str | None
    now: datetime
    strict: bool
    importing: bool


def read_event(value: Any, place: str, around: Surroundings) -> tuple[NewEvent | None, list[Fault]]:
    """Read an event of a request body.

    Returns
    -------
    The event when nothing is wrong with it, else None; and every fault, with pointers that begin with ``place``.
    """
    if not isinstance(value, dict):
        return None, [Fault(place, "is not a JSON object")]
    known = REQUIRED + OPTIONAL + (IMPORTED if around.importing else ())
    faults = [Fault(place + pointer(name), "is missing") for name in REQUIRED if name not in value]
    faults += _field_faults(value, place, around)
    faults += (
        Fault(place + pointer(name), f"is not known here (known: {', '.join(known)})")
        for name in value
        if name not in known
    )
    if faults:
        return None, faults
    metadata = _metadata(value, around)
    return (
        NewEvent(
            stream_id=StreamId(value["streamId"]),
            type=value["type"],
            data=exactjson.dumps(value["data"]),
            expected_version=value.get("expectedVersion"),
            metadata=None if metadata is None else exactjson.dumps(metadata),
            time_stamp=rfc3339(parse_rfc3339(value["timeStamp"])) if "timeStamp" in value else None,
            schema_version=value.get("schemaVersion", catalogue.current_version(value["type"])),
        ),
        [],
    )


def _field_faults(value: dict[str, Any], place: str, around: Surroundings) -> list[Fault]:
    """Check the fields that are there, each by itself, and then the data by its type."""
    faults: list[Fault] = []
    sound = True
    for name, check in (
        ("streamId", limits.stream_id_faults),
        ("type", limits.type_faults),
        ("data", limits.data_faults),
    ):
        found = check(value[name], place + pointer(name)) if name in value else []
        sound = sound and name in value and not found
        faults += found
    if "metadata" in value:
        faults += limits.metadata_faults(value["metadata"], place + pointer("metadata"))
    if "expectedVersion" in value:
        faults += limits.integer_faults(value["expectedVersion"], place + pointer("expectedVersion"), low=-1)
    if "timeStamp" in value and around.importing:
        faults += _time_faults(value["timeStamp"], place + pointer("timeStamp"), around.now)
    if sound:
        faults += _data_faults(value, place, around)
    return faults


def _time_faults(value: Any, place: str, now: datetime) -> list[Fault]:
    try:
        moment = parse_rfc3339(value) if isinstance(value, str) else None
    except ValueError:
        moment = None
    if moment is None:
        return [Fault(place, "is not an RFC 3339 time with an offset, such as 2026-11-23T10:15:30.123Z")]
    return [Fault(place, "is in the future")] if moment > now + MAX_CLOCK_SKEW else []


def _data_faults(value: dict[str, Any], place: str, around: Surroundings) -> list[Fault]:
    """Hold the data against its type's schema and what projections need; in the newest form, as they will see it."""
    event_type, data = value["type"], value["data"]
    if around.strict and event_type not in catalogue.known_types():
        known = ", ".join(catalogue.known_types())
        return [Fault(place + "/type", f"is not in the catalogue, and this stack is strict (known: {known})")]
    newest = catalogue.current_version(event_type)
    if "schemaVersion" in value and around.importing:
        # A type outside the catalogue may have any history elsewhere.
        high = newest if event_type in catalogue.known_types() else limits.MAX_SAFE_INTEGER
        faults = limits.integer_faults(value["schemaVersion"], place + "/schemaVersion", low=1, high=high)
        if faults:
            return faults
    try:
        data = catalogue.upcast(event_type, value.get("schemaVersion", newest), data)
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
        return [Fault(place + "/data", f"does not have the form of its schemaVersion: {type(error).__name__}")]
    from handlers.projections import registry

    faults = [Fault(place + "/data" + each.pointer, each.detail) for each in catalogue.validate(event_type, data)]
    projections = registry().values()
    return faults + rows.row_faults(projections, value["streamId"], event_type, data, place + "/data")


def _metadata(value: dict[str, Any], around: Surroundings) -> dict[str, Any] | None:
    """Complete the metadata; an import's stays as it is, but for the actor.

    The actor is always the identity that API Gateway checked, where it checked one. In an import, the actor that the event
    had elsewhere is kept as ``originalActor``, unless an earlier import has recorded one there.
    """
    given: dict[str, Any] | None = value.get("metadata")
    metadata = dict(given or {})
    if "timeStamp" not in value and around.request_id:
        metadata = {"correlationId": around.request_id} | metadata
    if around.caller and metadata.get("actor") != around.caller:
        if around.importing and "actor" in metadata:
            metadata.setdefault("originalActor", metadata["actor"])
        metadata["actor"] = around.caller
    return metadata or (given if "timeStamp" in value else None)
