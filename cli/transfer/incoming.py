"""One line of an import: read, checked, and ready to be sent. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cli.transfer.files import BadLineError
from handlers import catalogue
from handlers.api.new_event import EventContext, read_event
from handlers.api.route import integer, record
from handlers.core.clock import parse_rfc3339, rfc3339
from handlers.core.errors import TooLargeError
from handlers.core.lossless_json import NotJsonError, dumps, loads
from handlers.core.validation import Validator
from handlers.store.limits import MAX_SAFE_INTEGER, check_sizes


@dataclass(frozen=True, slots=True)
class Incoming:
    """An event to be imported.

    Attributes
    ----------
    line
        Where it stands in the file, from 1.
    event_id
        Where it belongs in its stream; None where the line leaves that to the store.
    text
        As ``POST /addEvents`` takes it: JSON.
    """

    line: int
    stream_id: str
    event_id: int | None
    text: str


# Whether a time is in the future is for the store's clock to say: this machine's may be wrong.
_ANY_TIME = EventContext(request_id="", caller=None, now=datetime(9000, 1, 1, tzinfo=UTC), strict=False, importing=True)


_positions = Validator(
    record(optional={"eventId": integer(0, MAX_SAFE_INTEGER - 1), "expectedVersion": integer(-1, MAX_SAFE_INTEGER - 1)})
)


def read_line(number: int, raw: bytes) -> Incoming:
    """Read one line, and hold it against everything that the store would refuse it for.

    Raises
    ------
    BadLineError
        With every fault.
    """
    try:
        value = loads(raw.decode())
        if not isinstance(value, dict):
            raise BadLineError(["it is not a JSON object"])
        event = dict(value)
        event_id = _take_event_id(event)
    except UnicodeDecodeError as error:
        raise BadLineError(["it is not UTF-8 text"], number) from error
    except NotJsonError as error:
        raise BadLineError([f"it is not JSON: {str(error).replace('line 1, ', '')}"], number) from error
    except BadLineError as error:
        raise BadLineError(error.faults, number) from error
    if event_id is not None:
        event["expectedVersion"] = event_id - 1
    new, faults = read_event(event, "", _ANY_TIME)
    if new is None or faults:
        raise BadLineError([f"{fault.pointer or 'the event'} {fault.detail}" for fault in faults], number)
    try:
        check_sizes([new])
    except TooLargeError as error:
        raise BadLineError([error.detail], number) from error
    return Incoming(number, new.stream_id, event_id, dumps(event))


def _take_event_id(event: dict[str, Any]) -> int | None:
    """Take eventId and expectedVersion, which say the same, out of an event."""
    given = {name: event.pop(name) for name in ("eventId", "expectedVersion") if name in event}
    faults = _positions(given)
    if faults:
        raise BadLineError([f"{fault.pointer} {fault.detail}" for fault in faults])
    meant = {value if name == "eventId" else value + 1 for name, value in given.items()}
    if len(meant) > 1:
        raise BadLineError([f"eventId {given['eventId']} and expectedVersion {given['expectedVersion']} contradict"])
    return meant.pop() if meant else None


def same_event(incoming: Incoming, stored: Mapping[str, Any]) -> bool:
    """Whether a stored event is what the line would make: type, data to the digit, and what else the line says."""
    event = loads(incoming.text)
    newest = catalogue.current_version(event["type"])
    if event["type"] != stored["type"] or canonical(event["data"]) != canonical(stored["data"]):
        return False
    if event.get("schemaVersion", newest) != stored.get("schemaVersion", 1):
        return False
    given, kept = dict(event.get("metadata") or {}), dict(stored.get("metadata") or {})
    if _taken_actor(given) not in (None, _taken_actor(kept)):
        return False
    if "timeStamp" in event:
        at = rfc3339(parse_rfc3339(event["timeStamp"]))
        return at == stored["timeStamp"] and canonical(given) == canonical(kept)
    # Without a time the store has completed the metadata.
    return all(name in kept and canonical(value) == canonical(kept[name]) for name, value in given.items())


def _taken_actor(metadata: dict[str, Any]) -> Any:
    """Take both actors out of metadata; returns the one that the event had first.

    A store that checks signatures has set ``actor`` to the identity that imported the event.
    """
    actor = metadata.pop("actor", None)
    return metadata.pop("originalActor", actor)


def canonical(value: Any) -> str:
    """A JSON value as text in which only the order of names makes no difference."""
    return dumps(_sorted(value))


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _sorted(value[name]) for name in sorted(value)}
    if isinstance(value, list):
        return [_sorted(inner) for inner in value]
    return value
