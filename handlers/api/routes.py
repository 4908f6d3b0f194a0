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
from handlers.core.events import StreamId
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
    """Logical ids of the Lambda functions behind the API."""

    ADD_EVENT = "AddEvent"
    BROWSE = "Browse"
    LIST_ROWS = "ListRows"
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
_REPLAY_ID = {"replayId": {"type": "string", "description": "From the response to the request that started it."}}
# A key of 1,024 control characters has 6 times as many in JSON; API Gateway takes 10,240 bytes of request line and headers.
_MAX_TEXT_CHARACTERS = 8_192
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
    def key_attributes(self) -> tuple[str, ...]: ...
    @property
    def only_stream(self) -> StreamId | None: ...


_ROWS_LIMIT = "The largest number to return; a page may hold fewer (1 MB)."


def list_rows(projection: Listed) -> Route:
    """Return the route that lists the rows of a projection; a row has its key and any other fields."""
    attributes = projection.key_attributes
    row = {"type": "object", "required": list(attributes), "properties": {name: text() for name in attributes}}
    one_stream = projection.only_stream is not None
    stream = {"streamId": {**STREAM_ID, "description": "May be given: the stream that the projection follows."}}
    as_of = {"checkpoint": integer(-1, description="The last event applied to the items; -1 if there is none.")}
    settled = {
        "const": False,
        "description": "Present, and false, if events were applied while the rows were read: repeat the request for the "
        "rows as of one instant.",
    }
    page = {"items": array(row), **(as_of if one_stream else {}), "nextToken": NEXT_TOKEN}
    return Route(
        "GET",
        f"/list{projection.pascal_name}",
        # Other routes list the streams, the projections and the replays.
        operation=f"list{projection.pascal_name}" + "Rows" * (projection.name in ("streams", "projections", "replays")),
        function=Function.LIST_ROWS,
        tag=PROJECTIONS,
        summary=f"List the rows of the projection {projection.name}",
        description=f"In the order of their keys{', as of one instant' if one_stream else ''}. Every projection has such a "
        "path: /list and its name in PascalCase.",
        # A page has at most 1 MB, some thousands of small rows; 1,000 are still quick to read and send.
        query={"limit": _limit(1000, 1000, _ROWS_LIMIT), "nextToken": PAGE_TOKEN, **(stream if one_stream else {})},
        success=Success(200, "Rows.", record(page, {"settled": settled} if one_stream else {})),
        problems=(404, 410),
    )


ASCENDING, DESCENDING = "asc", "desc"
MAX_INDEX_PAGE = 100
"""The largest page of an index: its rows are read by key, up to 100 in one call."""


def _some_text(description: str) -> dict[str, object]:
    return text(1, _MAX_TEXT_CHARACTERS, description=description)


_KEY_FORM = "for a compound key, a JSON array of its leading parts, or the first part"
READ_ROWS = Route(
    "GET",
    "/projections/{name}/rows",
    operation="readRows",
    function=Function.LIST_ROWS,
    tag=PROJECTIONS,
    summary="Read rows of a projection",
    description="One row (key); all rows in key order, those whose keys begin with a prefix, or those from one key to "
    "another; or the rows with a value in an index, with from and to as bounds of the index's sort attribute. An index "
    "follows its rows within about a second. GET /projections names the key attributes and indexes.",
    path_parameters=_NAME,
    query={
        "key": _some_text("Only the row with this key; for a compound key, a JSON array of its parts."),
        "prefix": _some_text(
            f"Only rows whose keys begin with this; {_KEY_FORM}. An empty last part ends the part before it."
        ),
        "from": _some_text(
            f"The lowest key, inclusive; {_KEY_FORM}. With index, the lowest value of its sort attribute: a number, or a "
            "text (quoted as in JSON if it could be a number)."
        ),
        "to": _some_text("The highest key or value, inclusive; otherwise like from."),
        "index": _some_text("Only rows with a value in this index, in the order of its sort attribute."),
        "value": _some_text("The value in the index; a number without trailing zeros."),
        "order": {
            "type": "string",
            "enum": [ASCENDING, DESCENDING],
            "default": ASCENDING,
            "description": "Ascending (asc) or descending (desc).",
        },
        "limit": _limit(1000, 100, f"{_ROWS_LIMIT} At most {MAX_INDEX_PAGE} with index."),
        "nextToken": {
            **PAGE_TOKEN,
            "description": "Continues a page with the same parameters: the nextToken of the previous page.",
        },
        "after": _some_text(
            "An event of one's own as <streamId>:<eventId>: the rows reflect it (an index about a second later). Waits up "
            "to 10 seconds; then, or if the stream is halted, the answer is 409."
        ),
    },
    success=Success(
        200, "Rows, each with the attributes of its key.", record({"rows": array(schemas.ROW), "nextToken": NEXT_TOKEN})
    ),
    problems=(404, 409, 410),
)
LIST_PROJECTIONS = Route(
    "GET",
    "/projections",
    operation="listProjections",
    function=Function.BROWSE,
    tag=PROJECTIONS,
    summary="Show the status of each projection",
    description="With the streams that need attention: halted ones first, then those that lagged most in the reconciler's "
    "last round, then others.",
    query={
        "name": text(1, 256, description="Only this projection."),
        "streamId": {**STREAM_ID, "description": "Only this stream."},
        # Each stream costs a query for its head, some 5 ms.
        "limit": _limit(100, 20, "The largest number of streams, divided among the projections (at least one each)."),
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
    description="One stream, or the halted streams of the projection, up to 100 per request.",
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
    description="Returns the running replay if there is one. Readers see the old rows until the new ones are complete, for "
    "all streams at one instant. With a streamId, rebuilds the rows of that stream in place, if each row comes from one "
    "stream. With fromEventId above 0, reapplies the events from there on in place, if the projection allows it.",
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
    description="A replay that continues the previous generation, rows and code, from where it stopped, then switches to "
    "it. For the whole projection: a streamId may be given only if the projection follows no other stream.",
    path_parameters=_NAME,
    body=Body(_ONE_STREAM),
    success=Success(202, "Started, or already running.", schemas.REPLAY),
    problems=(404, 409),
)
CANCEL = Route(
    "POST",
    "/replays/{replayId}/cancel",
    operation="cancelReplay",
    function=Function.TRIGGER_REPLAY,
    tag=REPLAYS,
    summary="Cancel a replay",
    description="The rows that are served stay as they are; what was built so far is deleted.",
    path_parameters=_REPLAY_ID,
    body=Body(record()),
    success=Success(200, "Cancelled.", schemas.REPLAY),
    problems=(404, 409),
)
LIST_REPLAYS = Route(
    "GET",
    "/replays",
    operation="listReplays",
    function=Function.BROWSE,
    tag=REPLAYS,
    summary="List the newest replays",
    # Each costs a few reads.
    query={"limit": _limit(100, 20)},
    success=Success(200, "Newest first.", record({"replays": array(schemas.REPLAY)})),
)
GET_REPLAY = Route(
    "GET",
    "/replays/{replayId}",
    operation="getReplay",
    function=Function.BROWSE,
    tag=REPLAYS,
    summary="Show the progress of a replay",
    path_parameters=_REPLAY_ID,
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
        READ_ROWS,
        LIST_PROJECTIONS,
        RESUME,
        SKIP,
        TRIGGER_REPLAY,
        ROLLBACK,
        CANCEL,
        LIST_REPLAYS,
        GET_REPLAY,
        GET_CONTRACT,
    )
