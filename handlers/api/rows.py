"""``GET /projections/{name}/rows`` and ``GET /list<Name>``: the rows of read models (G9, L1)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from handlers.api import http
from handlers.api.request import NOT_OF_THIS_LIST, Request, named_projection
from handlers.api.response import Response, TokenKind, fitting, page_response, page_token
from handlers.api.routes import DESCENDING, MAX_INDEX_PAGE, READ_ROWS, list_rows
from handlers.api.schemas import stream_id_faults
from handlers.core import lossless_json
from handlers.core.errors import Fault, InvalidInputError, NotFoundError
from handlers.core.events import StreamId
from handlers.projection.definition import Projection
from handlers.projection.keys import (
    MAX_INDEX_VALUE_BYTES,
    MAX_KEY_BYTES,
    UnstorableError,
    encode_key,
    leading_parts,
    sort_bound,
    sort_value,
    upper_bound,
)
from handlers.projection.port import ReadModel, RowQuery
from handlers.projection.reading import ListPage, QueryOf, RowReader, polling
from handlers.projection.rows import check_number
from handlers.store.limits import MAX_SAFE_INTEGER

if TYPE_CHECKING:
    from handlers.projection.engine import Code

# Parameters that choose rows, each with those that it excludes.
_EXCLUDED = {
    "key": ("prefix", "from", "to", "index", "value", "nextToken"),
    "prefix": ("from", "to", "index", "value"),
}


@dataclass(frozen=True, slots=True)
class RowRoutes:
    """Read the rows of projections.

    ``code`` gives a projection's code by fingerprint: rows are read with the code that their generation was built with
    (G10). ``polls`` yields the attempts at waiting for an event of the reader's own.
    """

    projections: Callable[[], Mapping[str, Projection]]
    code: Callable[[str], Code]
    read_model: Callable[[str], ReadModel]
    polls: Callable[[], Iterable[object]] = polling
    _readers: dict[str, RowReader] = field(default_factory=dict)

    def routes(self) -> http.Routes:
        lists = {list_rows(each): self._list(each) for each in self.projections().values()}
        return {READ_ROWS: self.read_rows, **lists}

    def read_rows(self, request: Request) -> Response:
        """Return one row, or a page of rows: in key order, or of an index."""
        _find_contradictions(request)
        token, own = _Token.of(request), _own_event(request)
        projection = named_projection(request, self.projections())
        given, code, reader = request.query, self.code(projection.name), self._reader(projection.name)

        def query_of(fingerprint: str | None) -> RowQuery:
            query = _query(code.of(fingerprint), given)
            return token.continued(projection.name, query) if token else query

        def key_of(fingerprint: str | None) -> str:
            return _whole_key(code.of(fingerprint), given["key"])

        if own is not None:
            if not projection.follows(own[0]):
                detail = f"must name an event of a stream that the projection follows; it does not follow {own[0]!r}"
                raise InvalidInputError([Fault("query:after", detail)])
            if token is None:  # a bad query is refused without waiting
                check = key_of if "key" in given else query_of
                reader.unchanged(lambda control: check(control.fingerprint))
            reader.wait_for(*own, self.polls())
        if "key" in given:
            page = reader.row(key_of)
            if not page.rows:
                raise NotFoundError(f"the projection {projection.name} has no row {given['key'][:256]!r}")
            return page_response("rows", _texts(code, page), {"nextToken": None})
        generation = token.generation if token else None
        page, texts = _fitting(code, query_of, lambda query_of: reader.rows(query_of, generation))
        return page_response("rows", texts, {"nextToken": _next_token(projection, page, query_of)})

    def _list(self, projection: Projection) -> http.Answer:
        """Return the callable that lists all rows of a projection."""

        def list_all(request: Request) -> Response:
            token = _Token.of(request)
            request.check()
            only = projection.only_stream
            requested = request.query.get("streamId", only)
            if requested != only:
                raise NotFoundError(f"the projection {projection.name} does not follow stream {requested!r}")

            def query_of(_: str | None) -> RowQuery:
                query = RowQuery(request.query["limit"])
                return token.continued(projection.name, query) if token else query

            code, reader = self.code(projection.name), self._reader(projection.name)
            generation = token.generation if token else None

            def read(query_of: QueryOf) -> ListPage:
                if only is None:
                    return reader.rows(query_of, generation)
                return reader.stream_rows(only, query_of, generation)

            page, texts = _fitting(code, query_of, read)
            rest: dict[str, Any] = {"nextToken": _next_token(projection, page, query_of)}
            if only is not None:
                rest = {"checkpoint": page.checkpoint, **rest}
            return page_response("items", texts, rest if page.settled else {**rest, "settled": False})

        return list_all

    def _reader(self, name: str) -> RowReader:
        return self._readers.setdefault(name, RowReader(self.read_model(name)))


# -- answers -------------------------------------------------------------------------------------------------------------


def _texts(code: Code, page: ListPage) -> list[str]:
    """Return the rows, with their keys, as JSON texts that fit one response."""
    projection = code.of(page.fingerprint)
    return fitting(lossless_json.dumps(projection.whole_row(key, row)) for key, row in page.rows)


def _fitting(code: Code, query_of: QueryOf, read: Callable[[QueryOf], ListPage]) -> tuple[ListPage, list[str]]:
    """Read a page whose rows fit one response; returns them as JSON texts, too."""
    page = read(query_of)
    texts = _texts(code, page)
    while len(texts) < len(page.rows):
        if query_of(page.fingerprint).slot is None:
            return replace(page, position=page.rows[len(texts) - 1][0]), texts
        # Positions in an index are opaque: read fewer rows for the position of the last one.
        page = read(_limited(query_of, len(texts)))
        texts = _texts(code, page)
    return page, texts


def _limited(query_of: QueryOf, limit: int) -> QueryOf:
    return lambda fingerprint: replace(query_of(fingerprint), limit=limit)


@dataclass(frozen=True, slots=True)
class _Token:
    """The position of a page: valid for one query, in one generation.

    Attributes
    ----------
    checksum
        Of everything that the page depends on, so that the token need not repeat the query.
    """

    checksum: str
    generation: int
    position: str

    @classmethod
    def of(cls, request: Request) -> _Token | None:
        """Parse the request's token; None if there is none, or, with a fault, if it is invalid."""

        def is_possible(_checksum: str, generation: int, _position: str) -> bool:
            return 0 <= generation <= MAX_SAFE_INTEGER

        parts = request.page_token(TokenKind.ROWS, str, int, str, valid=is_possible)
        return None if parts is None else cls(*parts)

    def continued(self, name: str, query: RowQuery) -> RowQuery:
        """Return the query of the page after this position.

        Raises
        ------
        InvalidInputError
            The token was issued for another query.
        """
        if self.checksum != _checksum(name, query, self.generation, self.position):
            raise InvalidInputError([Fault("query:nextToken", NOT_OF_THIS_LIST)])
        return replace(query, after=self.position)


def _next_token(projection: Projection, page: ListPage, query_of: QueryOf) -> str | None:
    if page.position is None:
        return None
    checksum = _checksum(projection.name, query_of(page.fingerprint), page.generation, page.position)
    return page_token(TokenKind.ROWS, checksum, page.generation, page.position)


def _checksum(name: str, query: RowQuery, generation: int, position: str) -> str:
    # A page may have another limit than the one before.
    place = [query.slot, query.value, query.prefix, query.low, query.high, query.descending]
    return hashlib.sha256(json.dumps([name, generation, position, *place]).encode()).hexdigest()[:16]


# -- queries -------------------------------------------------------------------------------------------------------------


def _find_contradictions(request: Request) -> None:
    given = request.query
    for name, others in _EXCLUDED.items():
        for other in others:
            if name in given and other in given:
                request.fault(f"query:{other}", f"must not be given together with {name}")
    if "index" in given and "value" not in given:
        request.fault("query:value", "is required with index")
    if "value" in given and "index" not in given:
        request.fault("query:index", "is required with value")
    if "index" in given and given["limit"] > MAX_INDEX_PAGE:
        request.fault("query:limit", f"must be at most {MAX_INDEX_PAGE} with index")


def _own_event(request: Request) -> tuple[StreamId, int] | None:
    """Parse ``after``; the stream's id may contain colons."""
    if "after" not in request.query:
        return None
    stream_id, _, event_id = request.query["after"].rpartition(":")
    is_number = event_id.isascii() and event_id.isdigit() and len(event_id) <= len(str(MAX_SAFE_INTEGER))
    if not is_number or stream_id_faults(stream_id):
        request.fault("query:after", "must be <streamId>:<eventId>, for example order-7:0")
        return None
    return StreamId(stream_id), int(event_id)


def _query(projection: Projection, given: Mapping[str, Any]) -> RowQuery:
    """Return the query of a page.

    Raises
    ------
    InvalidInputError
        There is no such index, or a bound is not valid.
    """
    query = RowQuery(given["limit"], descending=given["order"] == DESCENDING)
    sort: str | None = None
    if "index" in given:
        name = given["index"]
        if name not in projection.indexes:
            exist = ", ".join(projection.indexes)
            detail = f"must be one of {exist}" if exist else f"the projection {projection.name} has no indexes"
            raise InvalidInputError([Fault("query:index", detail)])
        sort = projection.indexes[name]
        query = replace(query, slot=list(projection.indexes).index(name) + 1, value=given["value"])
    faults, bounds = [], {}
    for name in ("prefix", "from", "to"):
        try:
            if name in given:
                bounds[name] = _bound(projection, sort, given[name], is_upper=name == "to")
        except UnstorableError as error:
            faults.append(Fault(f"query:{name}", str(error)))
    if len(query.value.encode()) > MAX_INDEX_VALUE_BYTES:
        faults.append(Fault("query:value", f"must have at most {MAX_INDEX_VALUE_BYTES:,} bytes"))
    query = replace(query, prefix=bounds.get("prefix"), low=bounds.get("from"), high=bounds.get("to"))
    if query.low is not None and query.high is not None and query.low.encode() > query.high.encode():
        faults.append(Fault("query:to", "must not be less than from"))
    if faults:
        raise InvalidInputError(faults)
    return query


def _bound(projection: Projection, sort: str | None, text: str, *, is_upper: bool) -> str:
    """Return the encoded bound of a key, or of an index's sort attribute.

    Raises
    ------
    UnstorableError
        The text is not a possible value; the message is a fault's detail.
    """
    parts = len(projection.key_attributes)
    if sort is not None:
        bound = _sort_bound(text)
    elif is_upper:
        bound = upper_bound(_key_parts(projection, text), parts)
    else:
        bound = leading_parts(_key_parts(projection, text), parts)
    if len(bound.encode()) > MAX_KEY_BYTES:
        raise UnstorableError(f"must have at most {MAX_KEY_BYTES:,} bytes")
    return bound


def _sort_bound(text: str) -> str:
    """Return the encoded value of a sort attribute, given as JSON (a number, or a quoted string) or as plain text.

    Raises
    ------
    UnstorableError
        No row can have this number.
    """
    value = sort_bound(text)
    if not isinstance(value, str):
        try:
            check_number(value)
        except UnstorableError as error:
            raise UnstorableError(f"is not a possible value: {error}") from error
    return sort_value(value) or ""


def _key_parts(projection: Projection, text: str) -> Sequence[str]:
    """Return the leading parts of a key, given as a JSON array, or as plain text: the first part.

    Raises
    ------
    UnstorableError
        It is not such an array.
    """
    attributes = projection.key_attributes
    if len(attributes) == 1 or not text.startswith("["):
        return [text]
    try:
        parts = lossless_json.loads(text)
    except lossless_json.NotJsonError:
        parts = []
    if not 1 <= len(parts) <= len(attributes) or not all(isinstance(part, str) for part in parts):
        raise UnstorableError(
            f"must be a JSON array of 1 to {len(attributes)} strings ({', '.join(attributes)}), or a text: the first one"
        )
    return [str(part) for part in parts]


def _whole_key(projection: Projection, text: str) -> str:
    """Return the encoded key of a row.

    Raises
    ------
    InvalidInputError
        It is not a possible key.
    """
    attributes = projection.key_attributes
    try:
        parts = _key_parts(projection, text)
        if len(parts) < len(attributes):
            raise UnstorableError(f"must be a JSON array of {len(attributes)} strings: {', '.join(attributes)}")
        return encode_key(parts)
    except UnstorableError as error:
        detail = str(error) if str(error).startswith("must") else f"is not a possible key: {error}"
        raise InvalidInputError([Fault("query:key", detail)]) from error
