"""JSON Schema fragments of requests and responses, with their names in the OpenAPI document."""

from __future__ import annotations

from handlers.api.response import MAX_TOKEN_CHARACTERS
from handlers.api.route import Component, ProjectionState, array, integer, record, text
from handlers.core.validation import BASE64URL, NOT_BLANK, VISIBLE_ASCII, Validator
from handlers.replay.jobs import KINDS, STATES
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
        "A projection halts the stream at an event from which it cannot make its rows.",
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
        {"halted": HALT, "skipped": array(HALT)},
    ),
)
_LAG = integer(0, description="Number of events not applied when the stream was compared.")
COMPARED = Component(
    "Compared",
    record(
        {
            "startedAt": TIME_STAMP,
            "finishedAt": TIME_STAMP,
            "streams": integer(0, description="Number of streams compared."),
            "lagging": integer(0, description="Number of streams that were behind."),
            "lag": integer(0, description="The largest lag."),
            "worst": array(record({"streamId": STREAM_ID, "lag": _LAG})),
        },
        description="The reconciler's last complete comparison of all streams with their checkpoints.",
    ),
)
ROW = Component("Row", {"type": "object", "description": "The attributes of its key, and those of the projection."})
_FOLLOWS = {
    "description": "null: every stream. An array: these streams. An object: the streams whose ids begin with a text.",
    "oneOf": [{"type": "null"}, array(STREAM_ID), record({"prefix": text(1)})],
}
_OF_CODE = text(description="Of the code that builds its rows.")
PROJECTION = Component(
    "Projection",
    record(
        {
            "name": text(),
            "listPath": text(description="The path that lists its rows."),
            "rowsPath": text(description="The path that reads and queries its rows."),
            "follows": _FOLLOWS,
            "keyAttributes": array(text(), description="The attributes of a row that are its key."),
            "indexes": array(
                record(
                    {
                        "attribute": text(),
                        "sort": {
                            "type": ["string", "null"],
                            "description": "The attribute it is sorted by; null: by key.",
                        },
                    }
                )
            ),
            "eventTypes": array(text()),
            "fingerprint": text(description="Of the deployed projection's code."),
            "generation": integer(0, description="The generation that is read."),
            "halted": record(
                {
                    "count": integer(0, 100, description="Number of halted streams, counted up to 100."),
                    "more": {"type": "boolean", "description": "Whether there are more."},
                }
            ),
            "streams": array(PROJECTED_STREAM),
            "more": {"type": "boolean", "description": "Whether it follows more streams than those shown."},
        },
        {
            "generationFingerprint": _OF_CODE,
            "building": record(
                {"generation": _GENERATION, "replayId": text(), "kind": text()}, {"fingerprint": _OF_CODE}
            ),
            "previous": record(
                {"generation": _GENERATION, "at": TIME_STAMP},
                {"fingerprint": _OF_CODE},
                description="The generation before, to which a rollback returns.",
            ),
            "compared": COMPARED,
        },
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
        },
        {"more": {"const": True, "description": "Present, and true, if more streams are halted: repeat the request."}},
    ),
)
SKIPPED = Component(
    "Skipped",
    record({"projection": text(), "streamId": STREAM_ID, "eventId": EVENT_ID, "checkpoint": integer(0)}),
)

# -- replays -------------------------------------------------------------------------------------------------------------

REPLAY_ERROR = Component(
    "ReplayError",
    record(
        {"error": text()},
        {"streamId": STREAM_ID, "eventId": EVENT_ID},
        description="The error of the projection's handler, and the event that raised it.",
    ),
)
REPLAY = Component(
    "Replay",
    record(
        {
            "replayId": text(),
            "projection": text(),
            "kind": {
                "type": "string",
                "enum": list(KINDS),
                "description": "replay: builds a new generation. rollback: returns to the previous one. rewind: reapplies "
                "events from one in the middle, in place. stream: rebuilds the rows of one stream, in place.",
            },
            "state": {"type": "string", "enum": list(STATES)},
            "fromEventId": integer(0),
            "eventsDone": integer(0),
            "segments": record(
                {"done": integer(0), "total": integer(0)}, description="Its parts, which are built concurrently."
            ),
            "eventsPerSecond": {"type": "number", "minimum": 0},
            "startedAt": TIME_STAMP,
        },
        {
            "streamId": {**STREAM_ID, "description": "The only stream that it is about."},
            "generation": integer(0, description="The generation that it builds or returns to."),
            "events": integer(0, description="The number of events in total, if it is known."),
            "head": integer(-1, description="The head of its only stream."),
            "finishedAt": TIME_STAMP,
            "error": REPLAY_ERROR,
        },
    ),
)

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
        "description": "RFC 9457. Further members depend on the type: head and expectedVersion (version-conflict), "
        "checkpoint and halted (not-applied), size and limit (too-large).",
    },
)
