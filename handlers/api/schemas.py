"""JSON Schema fragments of requests and responses, with their names in the OpenAPI document."""

from __future__ import annotations

from handlers.api.response import MAX_TOKEN_CHARACTERS
from handlers.api.route import Component, ProjectionState, array, integer, record, text
from handlers.core.validation import BASE64URL, NOT_BLANK, VISIBLE_ASCII, Validator
from handlers.replay.jobs import DONE, FAILED, REWIND, ROLLBACK, RUNNING, SWITCHING
from handlers.replay.jobs import REPLAY as REPLAY_KIND
from handlers.store.limits import (
    MAX_ACTOR_CHARACTERS,
    MAX_METADATA_ID_CHARACTERS,
    MAX_SAFE_INTEGER,
    MAX_STREAM_ID_CHARACTERS,
    MAX_TYPE_CHARACTERS,
)

# -- events --------------------------------------------------------------------------------------------------------------

STREAM_ID = Component(
    "StreamId",
    text(
        1,
        MAX_STREAM_ID_CHARACTERS,
        pattern=NOT_BLANK,
        description="The stream: any Unicode text that is not blank.",
        examples=["eb724435-02cb-4c68-9d7a-4b6471c5a810"],
    ),
)
stream_id_faults = Validator(STREAM_ID)
EVENT_ID = Component(
    "EventId",
    integer(0, MAX_SAFE_INTEGER, description="The event's position in its stream, from 0, without gaps."),
)
EVENT_TYPE = Component(
    "EventType",
    text(
        1,
        MAX_TYPE_CHARACTERS,
        pattern=VISIBLE_ASCII,
        description="Visible ASCII, stored as sent. Known types have a schema in the catalogue. Events of other types are "
        "stored, but no projection applies them; a strict stack refuses them.",
        examples=["ITEM_CREATED"],
    ),
)
EVENT_DATA = Component(
    "EventData",
    {
        "type": "object",
        "description": "At most 32 levels deep; the whole event has at most 399 KB. Numbers and the order of keys are kept. "
        "For an event that a projection handles, the row's key has 1 to 1,024 bytes and numbers fit DynamoDB (38 digits, "
        "below 1E+126).",
    },
)
METADATA = Component(
    "Metadata",
    {
        "type": "object",
        "description": "At most 16 KB. correlationId is the request's id unless given, except in events with a timeStamp. "
        "actor is the identity that signed the request, if any; an actor given to POST /addEvents is then kept as "
        "originalActor.",
        "properties": {
            "correlationId": text(1, MAX_METADATA_ID_CHARACTERS),
            "causationId": text(1, MAX_METADATA_ID_CHARACTERS),
            "actor": text(1, MAX_ACTOR_CHARACTERS),
            "originalActor": text(
                1,
                MAX_ACTOR_CHARACTERS,
                description="Of an imported event: its original actor, according to the importer.",
            ),
        },
    },
)
TIME_STAMP = Component(
    "TimeStamp",
    {
        "type": "string",
        "format": "date-time",
        "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}[.][0-9]{3}Z$",
        "description": "RFC 3339, UTC, milliseconds.",
        "examples": ["2026-11-23T10:15:30.123Z"],
    },
)

_REQUIRED = {"streamId": STREAM_ID, "type": EVENT_TYPE, "data": EVENT_DATA}
_OPTIONAL = {
    "expectedVersion": integer(
        -1,
        MAX_SAFE_INTEGER,
        description="The head that the stream must have (-1: the stream must not exist); otherwise the request is refused "
        "(409). Of several events to one stream, the first one's version applies to all.",
    ),
    "metadata": METADATA,
}
_IMPORTED = {
    "timeStamp": {
        "type": "string",
        "format": "date-time",
        "description": "For imports: when the event happened, as RFC 3339 with T and an offset, not in the future. The "
        "event's metadata is then stored as given, except for the actor.",
    },
    "schemaVersion": integer(
        1,
        MAX_SAFE_INTEGER,
        description="For imports: the schema version of the data; the newest by default.",
    ),
}
NEW_EVENT = Component("NewEvent", record(_REQUIRED, _OPTIONAL))
IMPORTED_EVENT = Component("ImportedEvent", record(_REQUIRED, {**_OPTIONAL, **_IMPORTED}))
EVENT_REFERENCE = Component(
    "EventReference",
    record({"streamId": STREAM_ID, "eventId": EVENT_ID, "type": EVENT_TYPE, "timeStamp": TIME_STAMP}),
)
EVENT = Component(
    "Event",
    record(
        {
            "streamId": STREAM_ID,
            "eventId": EVENT_ID,
            "type": EVENT_TYPE,
            "data": EVENT_DATA,
            "timeStamp": TIME_STAMP,
            "schemaVersion": integer(1, description="The schema version of the data."),
        },
        {"metadata": METADATA},
    ),
)

# -- pages ---------------------------------------------------------------------------------------------------------------

PAGE_TOKEN = text(
    1, MAX_TOKEN_CHARACTERS, pattern=BASE64URL, description="Continues a list: the nextToken of the previous page."
)
NEXT_TOKEN = Component(
    "NextToken",
    {
        "type": ["string", "null"],
        "maxLength": MAX_TOKEN_CHARACTERS,
        "description": "Opaque; null at the end. A page ends at the limit, or earlier if more would not fit one response.",
    },
)

# -- projections ---------------------------------------------------------------------------------------------------------

_HEAD = integer(-1, description="The last event in the store; -1 if there is none.")
_CHECKPOINT = integer(-1, description="The last event applied; -1 if there is none.")
_GENERATION = integer(0)

HALT = Component("Halt", record({"eventId": EVENT_ID, "error": text(), "at": TIME_STAMP}))
PROJECTED_STREAM = Component(
    "ProjectedStream",
    record(
        {
            "streamId": STREAM_ID,
            "state": {"type": "string", "enum": list(ProjectionState)},
            "head": _HEAD,
            "checkpoint": _CHECKPOINT,
            "lag": integer(0, description="Number of events not yet applied."),
            "generation": _GENERATION,
        },
        {
            "fingerprint": text(description="Of the code that built the rows."),
            "halted": HALT,
            "replay": record(
                {"replayId": text(), "kind": text(), "generation": _GENERATION, "checkpoint": _CHECKPOINT}
            ),
            "previous": record({"generation": _GENERATION, "checkpoint": _CHECKPOINT, "at": TIME_STAMP}),
            "skipped": array(HALT),
        },
    ),
)
PROJECTION = Component(
    "Projection",
    record(
        {
            "name": text(),
            "listPath": text(description="The path that lists its rows."),
            "follows": {"type": ["array", "null"], "items": STREAM_ID, "description": "null: every stream."},
            "eventTypes": array(text()),
            "fingerprint": text(description="Of the deployed projection's code."),
            "streams": array(PROJECTED_STREAM),
            "more": {"type": "boolean", "description": "Whether it follows more streams than the limit."},
        }
    ),
)
RESUMED = Component(
    "Resumed",
    record(
        {
            "projection": text(),
            "streams": array(
                record({"streamId": STREAM_ID, "eventId": EVENT_ID}), description="Empty if none was halted."
            ),
        }
    ),
)
SKIPPED = Component(
    "Skipped",
    record({"projection": text(), "streamId": STREAM_ID, "eventId": EVENT_ID, "checkpoint": integer(0)}),
)

# -- replays -------------------------------------------------------------------------------------------------------------

_JOB_STATE = {"type": "string", "enum": [RUNNING, SWITCHING, DONE, FAILED]}

REPLAY_ERROR = Component(
    "ReplayError",
    record(
        {"error": text()},
        {"eventId": EVENT_ID},
        description="The error of the projection's handler, and the event that raised it.",
    ),
)
_ENDED = {"finishedAt": TIME_STAMP, "error": REPLAY_ERROR}
REPLAYED_STREAM = Component(
    "ReplayedStream",
    record(
        {
            "streamId": STREAM_ID,
            "state": _JOB_STATE,
            "firstEventId": integer(
                0,
                description="The first event of this stream's replay: 0, except for a rollback or a rewind.",
            ),
            "eventsDone": integer(0),
            "head": _HEAD,
            "startedAt": TIME_STAMP,
        },
        _ENDED,
    ),
)
_REPLAY = {
    "replayId": text(),
    "projection": text(),
    "kind": {
        "type": "string",
        "enum": [REPLAY_KIND, ROLLBACK, REWIND],
        "description": "rewind: reapplies events from one in the middle, in place.",
    },
    "state": _JOB_STATE,
    "fromEventId": integer(0),
    "eventsDone": integer(0),
    "head": integer(-1, description="The highest head of its streams."),
    "eventsPerSecond": {"type": "number", "minimum": 0},
    "startedAt": TIME_STAMP,
}
REPLAY_SUMMARY = Component("ReplaySummary", record(_REPLAY, _ENDED))
REPLAY = Component("Replay", record({**_REPLAY, "streams": array(REPLAYED_STREAM)}, _ENDED))

# -- problems ------------------------------------------------------------------------------------------------------------

FAULT = Component(
    "Fault",
    record(
        {"detail": text()},
        {
            "pointer": text(description="JSON pointer into the body; empty: the whole body."),
            "in": {"type": "string", "enum": ["query", "header", "path"]},
            "name": text(),
        },
        oneOf=[{"required": ["pointer"]}, {"required": ["in", "name"]}],
    ),
)
PROBLEM = Component(
    "Problem",
    {
        "type": "object",
        "properties": {
            "type": text(format="uri-reference", examples=["urn:esctl:problem:invalid-input"]),
            "title": text(),
            "status": integer(400, 599),
            "detail": text(),
            "instance": text(description="The API request's id, also in the logs."),
            "errors": array(FAULT, description="Every fault of the request, up to 100."),
            "errorsOmitted": integer(1),
        },
        "required": ["type", "title"],
        "description": "RFC 9457. Further members depend on the type: head and expectedVersion (version-conflict), size and "
        "limit (too-large).",
    },
)
