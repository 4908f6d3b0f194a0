"""A page fits a response of Lambda, however much its text grows when it is escaped, and always gets further."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from handlers import runtime
from handlers.api import http
from handlers.api.response import MAX_LAMBDA_RESPONSE_BYTES, RESERVED_BYTES, fitting
from handlers.api.routes import READ_ROWS
from handlers.core.events import NewEvent, StreamId
from handlers.projection import Projection
from handlers.projection.rows import MAX_ROW_BYTES, check_row
from tests.unit.api.driver import Api, stored_rows

BY_STATUS = {"index": "status", "value": "new"}


def listed(rows: Mapping[str, Any], **chosen: str) -> tuple[list[str], int]:
    """All keys of these rows, over as many pages as it takes, and how many pages those are."""
    projection = Projection("listed", key="key", indexes=["status"])
    handler = http.serve(READ_ROWS.function, stored_rows(projection, rows), telemetry=runtime)
    found: list[str] = []
    query, pages = {"limit": "1000", **chosen}, 0
    while True:
        event = {"httpMethod": "GET", "resource": READ_ROWS.path, "pathParameters": {"name": "listed"}}
        response = handler({**event, "queryStringParameters": query}, None)
        assert len(json.dumps(response)) <= MAX_LAMBDA_RESPONSE_BYTES
        page = json.loads(response["body"])
        assert page["rows"]
        found += [row["key"] for row in page["rows"]]
        pages += 1
        if page["nextToken"] is None:
            return found, pages
        query["nextToken"] = page["nextToken"]


@pytest.mark.parametrize("character", ["\x00", '"', "\\", "ä", "😀", "\x7f"])
def test_a_thousand_rows_with_keys_that_are_escaped_are_listed(character: str) -> None:
    filler = character * (1020 // len(character.encode()))
    keys = [f"{number:04}{filler}" for number in range(1000)]
    found, pages = listed({key: {"amount": 1} for key in keys})
    assert found == keys
    assert pages == (2 if character == "\x00" else 1)


@pytest.mark.parametrize("chosen", [{}, {**BY_STATUS, "limit": "100"}], ids=["by key", "in an index"])
@pytest.mark.parametrize(
    "value", ["\x00" * (MAX_ROW_BYTES - 100), "😀" * (MAX_ROW_BYTES // 4 - 100), [10**125] * 17_500]
)
def test_the_largest_rows_are_listed_a_few_a_page(value: Any, chosen: dict[str, str]) -> None:
    row, keys = {"value": value, "status": "new"}, [f"{number}" for number in range(7)]
    assert check_row(row) > MAX_ROW_BYTES * 0.95
    found, pages = listed(dict.fromkeys(keys, row), **chosen)
    assert found == keys
    assert 1 < pages < 7


def test_a_page_gets_further_even_with_a_text_that_is_too_large() -> None:
    huge = '"' * MAX_LAMBDA_RESPONSE_BYTES
    assert fitting([huge, "1", "2"]) == [huge]
    assert fitting(["1", huge, "2"]) == ["1"]
    assert fitting([]) == []


def test_pages_of_the_largest_events_fit(api: Api) -> None:
    data = json.dumps({"x": "ä" * 190_000}, ensure_ascii=False)
    api.store.append([NewEvent(StreamId("s"), "x", data)] * 10)
    path = {"streamId": "s"}
    first = api.call("GET /streams/{streamId}/events", path=path)
    second = api.call("GET /streams/{streamId}/events", path=path, query={"nextToken": first.json["nextToken"]})
    assert max(len(json.dumps(page.text)) for page in (first, second)) <= MAX_LAMBDA_RESPONSE_BYTES - RESERVED_BYTES
    ids = [[event["eventId"] for event in page.json["events"]] for page in (first, second)]
    assert ids == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
