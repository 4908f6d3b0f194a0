"""The routes of the API: each with its request, its responses and the function that serves it.

From these declarations follow dispatch (`handlers.api.http`), validation (`handlers.api.request`), API Gateway's
resources (`stack.api`), the document (`handlers.api.openapi`) and the paths of clients.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Protocol

from handlers.api import schemas
from handlers.api.route import Body, Route, Success, array, integer, record, text
from handlers.api.schemas import EVENT_ID, NEXT_TOKEN, PAGE_TOKEN, STREAM_ID
from handlers.core.dynamodb import TRANSACTION_ITEMS
from handlers.core.validation import PRINTABLE_ASCII
from handlers.projection.definition import MAX_NAME_CHARACTERS
from handlers.store.limits import (
    MAX_EVENT_BODY_BYTES,
    MAX_EVENTS_BODY_BYTES,
    MAX_IDEMPOTENCY_KEY_CHARACTERS,
    MAX_SAFE_INTEGER,
)

EVENTS, PROJECTIONS, REPLAYS, CONTRACT = "events", "projections", "replays", "contract"
TAGS = {
    EVENTS: "Append to streams and read them.",
    PROJECTIONS: "Read and recover read models.",
    REPLAYS: "Rebuild a read model while the old one is served.",
    CONTRACT: "The API itself.",
}


class Function(StrEnum):
    """Logical ids of the Lambda functions; each projection has one more, ``List<Name>``."""

    ADD_EVENT = "AddEvent"
    BROWSE = "Browse"
    RECOVER = "Recover"
    TRIGGER_REPLAY = "TriggerReplay"


IDEMPOTENCY_KEY = text(
    1,
    MAX_IDEMPOTENCY_KEY_CHARACTERS,
    pattern=PRINTABLE_ASCII,
    description="Makes retries safe: for 30 days, the same request with the same key gets the first response, and a "
    "different request is refused (422).",
)
KEY_HEADER, REPLAYED_HEADER = "Idempotency-Key", "Idempotent-Replayed"
_IDEMPOTENT = {KEY_HEADER: IDEMPOTENCY_KEY}
_REPLAYED = {
    REPLAYED_HEADER: {
        "type": "string",
        "const": "true",
        "description": f"Present, and true, if this repeats the first response to the same {KEY_HEADER}.",
    }
}
_NAME = {"name": {"type": "string", "description": "The projection's name, for example test-items."}}
_EVENT_NUMBER = integer(0, MAX_SAFE_INTEGER)
_ONE_STREAM = record(optional={"streamId": STREAM_ID})
_EXAMPLE_STREAM = "eb724435-02cb-4c68-9d7a-4b6471c5a810"


def _limit(high: int, default: int, description: str = "The largest number to return.") -> dict[str, object]:
    return integer(1, high, default=default, description=description)


# -- events --------------------------------------------------------------------------------------------------------------

ADD_EVENT = Route(
    "POST",
    "/addEvent",
    operation="addEvent",
    function=Function.ADD_EVENT,
    tag=EVENTS,
    summary="Append one event",
    headers=_IDEMPOTENT,
    body=Body(
        schemas.NEW_EVENT,
        checked={},
        max_bytes=MAX_EVENT_BODY_BYTES,
        optional=False,
        examples={
            "created": {
                "streamId": _EXAMPLE_STREAM,
                "type": "ITEM_CREATED",
                "data": {"itemId": "1", "amount": 225},
            }
        },
    ),
    success=Success(201, "Appended.", schemas.EVENT_REFERENCE, _REPLAYED),
    problems=(409, 422),
)
_EVENT_COUNT = {"minItems": 1, "maxItems": TRANSACTION_ITEMS}
ADD_EVENTS = Route(
    "POST",
    "/addEvents",
    operation="addEvents",
    function=Function.ADD_EVENT,
    tag=EVENTS,
    summary="Append up to 100 events atomically",
    description="To one stream or several. With an Idempotency-Key at most 99: a DynamoDB transaction holds 100 items, and "
    "the idempotency record is one of them.",
    headers=_IDEMPOTENT,
    body=Body(
        record({"events": array(schemas.IMPORTED_EVENT, **_EVENT_COUNT)}),
        checked=record({"events": array({}, **_EVENT_COUNT)}),
        max_bytes=MAX_EVENTS_BODY_BYTES,
        optional=False,
    ),
    success=Success(
        201,
        "Appended, in the order given.",
        record({"events": array(schemas.EVENT_REFERENCE, **_EVENT_COUNT)}),
        _REPLAYED,
    ),
    problems=(409, 422),
)
LIST_STREAMS = Route(
    "GET",
    "/streams",
    operation="listStreams",
    function=Function.BROWSE,
    tag=EVENTS,
    summary="List the streams",
    description="A new stream is listed within about a second.",
    query={"limit": _limit(1000, 100), "nextToken": PAGE_TOKEN},
    success=Success(
        200,
        "Stream ids.",
        record({"streams": array(record({"streamId": STREAM_ID})), "nextToken": NEXT_TOKEN}),
    ),
)
FORWARD, BACKWARD = "forward", "backward"
LIST_EVENTS = Route(
    "GET",
    "/streams/{streamId}/events",
    operation="listEvents",
    function=Function.BROWSE,
    tag=EVENTS,
    summary="Read the events of a stream",
    path_parameters={
        "streamId": {
            **STREAM_ID,
            "description": "Percent-encoded. An id that a URL cannot carry (with a slash, two dots, a percent sign), or "
            "that begins with ~, is sent as ~ and the unpadded base64url of its UTF-8 text.",
        }
    },
    query={
        "from": {
            **_EVENT_NUMBER,
            "description": "The first eventId; by default the beginning of the stream, or its head when reading backward.",
        },
        "limit": _limit(1000, 100, "The largest number to return; a page may hold fewer (6 MB)."),
        "direction": {
            "type": "string",
            "enum": [FORWARD, BACKWARD],
            "description": "Ascending (forward, the default) or descending eventIds.",
        },
        "nextToken": PAGE_TOKEN,
    },
    success=Success(
        200, "Events, with data exactly as stored.", record({"events": array(schemas.EVENT), "nextToken": NEXT_TOKEN})
    ),
    problems=(404,),
)

# -- projections ---------------------------------------------------------------------------------------------------------


class Listed(Protocol):
    """The properties of a projection that its route depends on."""

    @property
    def name(self) -> str: ...
    @property
    def pascal_name(self) -> str: ...
    @property
    def key(self) -> str: ...


def list_rows(projection: Listed) -> Route:
    """Return the route that lists the rows of a projection; a row has its key and any other fields."""
    row = {"type": "object", "required": [projection.key], "properties": {projection.key: text()}}
    return Route(
        "GET",
        f"/list{projection.pascal_name}",
        operation=f"list{projection.pascal_name}",
        function=f"List{projection.pascal_name}",
        tag=PROJECTIONS,
        summary=f"List the rows of the projection {projection.name}",
        description="In the order of their keys, as of one instant. Every projection has such a path: /list and its name in "
        "PascalCase.",
        query={
            # A page has at most 1 MB, some thousands of small rows; 1,000 are still quick to read and send.
            "limit": _limit(1000, 1000, "The largest number to return; a page may hold fewer (1 MB)."),
            "nextToken": PAGE_TOKEN,
            "streamId": {
                **STREAM_ID,
                "description": "The stream whose rows to list; required only if the projection follows several.",
            },
        },
        success=Success(
            200,
            "Rows.",
            record(
                {
                    "items": array(row),
                    "checkpoint": integer(-1, description="The last event applied to the items; -1 if there is none."),
                    "nextToken": NEXT_TOKEN,
                },
                {
                    "settled": {
                        "const": False,
                        "description": "Present, and false, if events were applied while the rows were read: repeat the "
                        "request for the rows as of one instant.",
                    }
                },
            ),
        ),
        problems=(404, 410),
    )


LIST_PROJECTIONS = Route(
    "GET",
    "/projections",
    operation="listProjections",
    function=Function.BROWSE,
    tag=PROJECTIONS,
    summary="Show the status of each projection",
    query={
        "name": text(1, 256, description="Only this projection."),
        "streamId": {**STREAM_ID, "description": "Only this stream."},
        # Each stream costs a query for its head, some 5 ms: a thousand stay well below API Gateway's 29 seconds.
        "limit": _limit(1000, 100, "The largest number of streams per projection."),
    },
    success=Success(200, "Projections.", record({"projections": array(schemas.PROJECTION)})),
)
RESUME = Route(
    "POST",
    "/projections/{name}/resume",
    operation="resumeProjection",
    function=Function.RECOVER,
    tag=PROJECTIONS,
    summary="Retry the events that streams are halted at",
    description="One stream, or every halted stream of the projection.",
    path_parameters=_NAME,
    body=Body(_ONE_STREAM),
    success=Success(202, "Resumed; the projector catches up.", schemas.RESUMED),
    problems=(404, 409),
)
SKIP = Route(
    "POST",
    "/projections/{name}/skip",
    operation="skipEvent",
    function=Function.RECOVER,
    tag=PROJECTIONS,
    summary="Skip the event that a stream is halted at",
    path_parameters=_NAME,
    body=Body(record({"streamId": STREAM_ID, "eventId": EVENT_ID})),
    success=Success(200, "Skipped; the read model keeps a record of it.", schemas.SKIPPED),
    problems=(404, 409),
)

# -- replays -------------------------------------------------------------------------------------------------------------

TRIGGER_REPLAY = Route(
    "POST",
    "/triggerReplay",
    operation="triggerReplay",
    function=Function.TRIGGER_REPLAY,
    tag=REPLAYS,
    summary="Rebuild a read model from its events",
    description="Returns the running replay if there is one. Readers see the old rows until the new ones are complete. "
    "With fromEventId above 0, reapplies the events from there on in place, if the projection allows it.",
    body=Body(
        record(
            optional={
                "projection": text(
                    1, MAX_NAME_CHARACTERS, description="Required only if there are several projections."
                ),
                "streamId": STREAM_ID,
                "fromEventId": {**_EVENT_NUMBER, "default": 0},
            }
        ),
        examples={"one": {"streamId": _EXAMPLE_STREAM, "fromEventId": 0}, "all": {}},
    ),
    success=Success(202, "Started, or already running.", schemas.REPLAY),
    problems=(404, 409),
)
ROLLBACK = Route(
    "POST",
    "/projections/{name}/rollback",
    operation="rollbackProjection",
    function=Function.TRIGGER_REPLAY,
    tag=REPLAYS,
    summary="Return to the previous generation",
    description="A replay that continues the previous generation from its checkpoint, then switches to it.",
    path_parameters=_NAME,
    body=Body(_ONE_STREAM),
    success=Success(202, "Started, or already running.", schemas.REPLAY),
    problems=(404, 409),
)
LIST_REPLAYS = Route(
    "GET",
    "/replays",
    operation="listReplays",
    function=Function.BROWSE,
    tag=REPLAYS,
    summary="List the newest replays",
    # Each costs a few reads: the job, and the state of every running stream.
    query={"limit": _limit(100, 20)},
    success=Success(200, "Newest first.", record({"replays": array(schemas.REPLAY_SUMMARY)})),
)
GET_REPLAY = Route(
    "GET",
    "/replays/{replayId}",
    operation="getReplay",
    function=Function.BROWSE,
    tag=REPLAYS,
    summary="Show the progress of a replay",
    path_parameters={
        "replayId": {"type": "string", "description": "From the response to the request that started it."}
    },
    success=Success(200, "Progress.", schemas.REPLAY),
    problems=(404,),
)

# -- the API itself ------------------------------------------------------------------------------------------------------

GET_CONTRACT = Route(
    "GET",
    "/openapi.json",
    operation="getContract",
    function=Function.BROWSE,
    tag=CONTRACT,
    summary="This document",
    success=Success(200, "OpenAPI 3.1.", {"type": "object"}),
)


def all_routes(projections: Iterable[Listed]) -> tuple[Route, ...]:
    """Return every route of an API with these projections."""
    return (
        ADD_EVENT,
        ADD_EVENTS,
        LIST_STREAMS,
        LIST_EVENTS,
        *map(list_rows, projections),
        LIST_PROJECTIONS,
        RESUME,
        SKIP,
        TRIGGER_REPLAY,
        ROLLBACK,
        LIST_REPLAYS,
        GET_REPLAY,
        GET_CONTRACT,
    )
