"""Read an API Gateway proxy event (REST API, payload version 1.0) as its route declares it."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from handlers.api.response import TokenKind, read_page_token
from handlers.api.route import Body, Route, is_unicode, path_value
from handlers.core import lossless_json
from handlers.core.errors import Fault, InvalidInputError, NotFoundError, TooLargeError
from handlers.core.validation import distinct
from handlers.projection import Projection

NOT_OF_THIS_LIST = "is not a page token of this list; start again without one"

# ASCII digits only (int() also accepts spaces, underscores and other scripts); 2^53 has 16.
_INTEGER = re.compile(r"-?[0-9]{1,16}")


@dataclass(slots=True)
class Request:
    """The valid values of a request, and the faults of the others.

    A handler adds the faults that it finds itself and calls `check` before it acts, so that a client gets all of them
    at once.

    Attributes
    ----------
    path, query, headers
        Valid values by name; missing ones have their schema's default, if any.
    body
        The JSON value without its invalid fields; ``{}`` if it is invalid as a whole.
    caller
        ARN of the IAM identity that signed the request, if API Gateway verified one.
    """

    path: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    request_id: str = ""
    caller: str | None = None
    faults: list[Fault] = field(default_factory=list)

    def fault(self, place: str, detail: str) -> None:
        """Record a fault at a place (``query:limit``, ``/streamId``); the detail is a sentence without its subject."""
        self.faults.append(Fault(place, detail))

    def page_token(
        self, kind: TokenKind, *types: type[str] | type[int], valid: Callable[..., bool]
    ) -> list[Any] | None:
        """Return the parts of ``nextToken``; None if it is missing or, with a fault, invalid.

        ``valid`` tells whether this list could have issued a token of these parts.
        """
        given = self.query.get("nextToken")
        if given is None:
            return None
        parts = read_page_token(given, kind, *types)
        if parts is None or not valid(*parts):
            self.fault("query:nextToken", NOT_OF_THIS_LIST)
            return None
        return parts

    def check(self) -> None:
        """Raise `InvalidInputError` if there are faults."""
        if self.faults:
            raise InvalidInputError(distinct(self.faults))


def read_request(route: Route, event: Mapping[str, Any]) -> Request:
    """Read a proxy event; missing and ``null`` members count as empty.

    Raises
    ------
    TooLargeError
        The body is over the route's limit.
    InvalidInputError
        The body is not JSON.
    """
    faults: list[Fault] = []
    given: dict[str, Any] = {
        "path": dict(_path_values(event.get("pathParameters") or {}, faults)),
        "query": dict(_query_values(route, event, faults)),
        "header": dict(_headers(route, event)),
    }
    if route.body is not None:
        given["body"] = _body(route.body, event)
    faults += [_extract(given, fault) for fault in route.validate(given)]
    defaults = {name: schema["default"] for name, schema in route.query.items() if "default" in schema}
    context = event.get("requestContext") or {}
    return Request(
        path=given["path"],
        query={**defaults, **given["query"]},
        headers=given["header"],
        body=given.get("body"),
        request_id=request_id(event),
        caller=(context.get("identity") or {}).get("userArn") or None,
        faults=faults,
    )


def named_projection(request: Request, projections: Mapping[str, Projection]) -> Projection:
    """Return the projection that the path names, after checking the request.

    Raises
    ------
    NotFoundError
        No projection has that name.
    InvalidInputError
        The request has faults.
    """
    name = request.path.get("name")
    if name is not None and name not in projections:
        raise NotFoundError(f"there is no projection {name[:64]!r}; projections: {', '.join(projections)}")
    request.check()
    return projections[request.path["name"]]


def request_id(event: Mapping[str, Any]) -> str:
    """Return the id that API Gateway gave a request."""
    return str((event.get("requestContext") or {}).get("requestId") or "")


def _path_values(parameters: Mapping[str, str], faults: list[Fault]) -> Iterator[tuple[str, str]]:
    for name, segment in parameters.items():
        try:
            yield name, path_value(segment)
        except ValueError:
            faults.append(Fault(f"path:{name}", "must be percent-encoded UTF-8 text"))


def _query_values(route: Route, event: Mapping[str, Any], faults: list[Fault]) -> Iterator[tuple[str, Any]]:
    given = {name: (value,) for name, value in (event.get("queryStringParameters") or {}).items()}
    given |= {name: tuple(all_) for name, all_ in (event.get("multiValueQueryStringParameters") or {}).items() if all_}
    for name, values in given.items():
        if len(values) > 1:
            faults.append(Fault(f"query:{name}", f"must be given once, not {len(values)} times"))
        elif not is_unicode(values[0]):
            faults.append(Fault(f"query:{name}", "must be UTF-8 text"))
        else:
            is_integer = route.query.get(name, {}).get("type") == "integer" and _INTEGER.fullmatch(values[0])
            yield name, int(values[0]) if is_integer else values[0]


def _headers(route: Route, event: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the declared headers that are present; of several values, the last one counts."""
    values = {name: all_[-1] for name, all_ in (event.get("multiValueHeaders") or {}).items() if all_}
    values |= event.get("headers") or {}
    lowered = {name.lower(): str(value) for name, value in values.items()}
    for name in route.headers:
        if name.lower() in lowered:
            yield name, lowered[name.lower()]


def _body(body: Body, event: Mapping[str, Any]) -> Any:
    text = _text(str(event.get("body") or ""), bool(event.get("isBase64Encoded")), body.max_bytes)
    if not text.strip():
        return {} if body.optional else None
    try:
        return lossless_json.loads(text)
    except lossless_json.NotJsonError as error:
        raise InvalidInputError([Fault("", f"is not valid JSON: {error}")]) from error


def _text(body: str, is_base64: bool, max_bytes: int) -> str:
    try:
        raw = base64.b64decode(body) if is_base64 else body.encode(errors="surrogatepass")
        if len(raw) > max_bytes:
            raise TooLargeError("the request body", len(raw), max_bytes)
        return raw.decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise InvalidInputError([Fault("", "is not UTF-8 text")]) from error


def _extract(given: dict[str, Any], fault: Fault) -> Fault:
    """Remove the field, or else the part, that has the fault; returns the fault with its place as clients know it.

    ``/query/limit`` and ``/body/streamId`` become ``query:limit`` and ``/streamId``.
    """
    _, part, *rest = fault.pointer.split("/", 2)
    if not rest:
        given[part] = {}
    elif isinstance(given[part], dict):
        given[part].pop(_unescaped(rest[0].partition("/")[0]), None)
    if part == "body":
        return Fault(fault.pointer.removeprefix("/body"), fault.detail)
    return Fault(f"{part}:{_unescaped('/'.join(rest))}", fault.detail)


def _unescaped(name: str) -> str:
    return name.replace("~1", "/").replace("~0", "~")
