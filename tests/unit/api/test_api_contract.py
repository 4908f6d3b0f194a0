"""The OpenAPI document: valid, and of the same mind as the code."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from openapi_spec_validator import validate

from handlers.api import appending, contract
from handlers.api.page_tokens import MAX_TOKEN_CHARACTERS
from handlers.projection import Projection
from handlers.store import limits

DOCUMENT: dict[str, Any] = contract.document()

# The API of the README and docs/architecture.md.
ROUTES = {
    "POST /addEvent",
    "POST /addEvents",
    "GET /listTestItems",
    "POST /triggerReplay",
    "GET /replays",
    "GET /replays/{replayId}",
    "GET /streams",
    "GET /streams/{streamId}/events",
    "GET /projections",
    "POST /projections/{name}/resume",
    "POST /projections/{name}/skip",
    "POST /projections/{name}/rollback",
    "GET /openapi.json",
}


def operations() -> dict[str, dict[str, Any]]:
    return {
        f"{method.upper()} {path}": operation
        for path, methods in DOCUMENT["paths"].items()
        for method, operation in methods.items()
    }


def test_the_document_is_valid_openapi() -> None:
    validate(DOCUMENT)


def test_it_names_every_route() -> None:
    assert set(operations()) == ROUTES


@pytest.mark.parametrize("route", sorted(ROUTES))
def test_every_route_names_what_the_gateway_itself_may_answer(route: str) -> None:
    assert {"400", "403", "429", "500", "502", "503", "504"} <= set(operations()[route]["responses"])


def test_every_error_is_a_problem_document() -> None:
    for response in DOCUMENT["components"]["responses"].values():
        assert list(response["content"]) == ["application/problem+json"]


def test_its_limits_are_those_of_the_code() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    assert schemas["StreamId"]["maxLength"] == limits.MAX_STREAM_ID_CHARACTERS
    assert schemas["EventType"]["maxLength"] == limits.MAX_TYPE_CHARACTERS
    assert schemas["NewEvent"]["properties"]["expectedVersion"]["maximum"] == limits.MAX_SAFE_INTEGER
    bulk = operations()["POST /addEvents"]["requestBody"]["content"]["application/json"]["schema"]
    assert bulk["properties"]["events"]["maxItems"] == appending.MAX_EVENTS
    key = operations()["POST /addEvent"]["parameters"][0]["schema"]
    assert key["maxLength"] == limits.MAX_IDEMPOTENCY_KEY_CHARACTERS
    assert schemas["NextToken"]["maxLength"] == MAX_TOKEN_CHARACTERS
    taken = {
        f"{route} {each['name']}": each["schema"]["maxLength"]
        for route, operation in operations().items()
        for each in operation.get("parameters", ())
        if each.get("name") == "nextToken"
    }
    assert set(taken.values()) == {MAX_TOKEN_CHARACTERS}
    lengths = {name: each["maxLength"] for name, each in schemas["Metadata"]["properties"].items()}
    assert (lengths["actor"], lengths["originalActor"]) == (limits.MAX_ACTOR_CHARACTERS,) * 2
    assert lengths["correlationId"] == limits.MAX_METADATA_ID_CHARACTERS


def test_every_reference_leads_somewhere() -> None:
    for name in re.findall(r'"#/components/(\w+/\w+)"', json.dumps(DOCUMENT)):
        kind, _, key = name.partition("/")
        assert key in DOCUMENT["components"][kind]


def test_the_list_of_a_new_projection_is_in_the_served_contract_with_no_edit() -> None:
    seats = Projection("free-seats", key="seatId")
    served = contract.with_lists(DOCUMENT, [seats])
    validate(served)
    page = served["paths"]["/listFreeSeats"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert page["properties"]["items"]["items"]["required"] == ["seatId"]
    assert "/listFreeSeats" not in DOCUMENT["paths"]
