"""The OpenAPI document is valid, and the API keeps what it says; the other tests hold every answer against it."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from openapi_spec_validator import validate

from handlers.api import openapi
from handlers.api.route import Route
from handlers.api.routes import LIST_EVENTS, all_routes
from handlers.core.events import NewEvent, StreamId
from handlers.domain import registry
from handlers.domain.items import items
from handlers.projection import Projection
from tests.unit.api.driver import ROUTES, Answer, Api

DOCUMENT: dict[str, Any] = json.loads(json.dumps(openapi.document(ROUTES.values())))

PATH = {"name": items.name, "streamId": "a", "replayId": "r"}


def operations() -> dict[str, dict[str, Any]]:
    return {
        f"{method.upper()} {path}": operation
        for path, methods in DOCUMENT["paths"].items()
        for method, operation in methods.items()
    }


def call(api: Api, route: Route, body: object = None, **query: str) -> Answer:
    path = {name: PATH[name] for name in route.path_parameters}
    return api.call(route.key, body, path=path, query=query or None)


# -- the document --------------------------------------------------------------------------------------------------------


def test_the_document_is_valid_openapi() -> None:
    validate(DOCUMENT)


def test_every_operation_has_a_path_and_an_id_of_its_own() -> None:
    assert list(operations()) == [route.key for route in all_routes(registry().values())]
    assert set(Counter(operation["operationId"] for operation in operations().values()).values()) == {1}


@pytest.mark.parametrize("operation", operations().values(), ids=operations())
def test_every_route_names_what_the_gateway_itself_may_answer(operation: dict[str, Any]) -> None:
    assert {"400", "403", "429", "500", "502", "503", "504"} <= set(operation["responses"])


def test_every_error_is_a_problem_document() -> None:
    for response in DOCUMENT["components"]["responses"].values():
        assert list(response["content"]) == ["application/problem+json"]


def test_every_reference_leads_somewhere_and_every_component_is_referred_to() -> None:
    referred = set(re.findall(r'"#/components/(\w+/\w+)"', json.dumps(DOCUMENT)))
    components = DOCUMENT["components"]
    assert referred == {f"{kind}/{name}" for kind in ("schemas", "responses") for name in components[kind]}


def test_the_list_of_a_new_projection_is_in_the_document_with_no_edit() -> None:
    seats = Projection("free-seats", key="seatId")
    document = openapi.document(all_routes([*registry().values(), seats]))
    validate(document)
    page = document["paths"]["/listFreeSeats"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert page["properties"]["items"]["items"]["required"] == ["seatId"]
    assert "/listFreeSeats" not in DOCUMENT["paths"]


def test_the_document_is_served(api: Api) -> None:
    assert api.call("GET /openapi.json").json == DOCUMENT


# -- the API keeps it ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("route", ROUTES.values(), ids=ROUTES)
def test_every_route_refuses_unknown_query_parameters(api: Api, route: Route) -> None:
    answer = call(api, route, colour="red")
    assert answer.status == 400
    assert "query:colour" in answer.places


@pytest.mark.parametrize("route", [each for each in ROUTES.values() if each.body], ids=lambda route: route.key)
def test_every_route_refuses_unknown_fields_of_a_body(api: Api, route: Route) -> None:
    answer = call(api, route, {"colour": "red"})
    assert answer.status == 400
    assert "/colour" in answer.places


def bounds() -> Iterator[Any]:
    """Every documented bound of a number in a query: the route, the name, the last valid and the first invalid value."""
    for key, operation in operations().items():
        for each in operation.get("parameters", ()):
            for bound, step in (("minimum", -1), ("maximum", 1)):
                if each["in"] == "query" and bound in each["schema"]:
                    value = each["schema"][bound]
                    yield pytest.param(
                        ROUTES[key], each["name"], value, value + step, id=f"{key} {each['name']} {bound}"
                    )


@pytest.mark.parametrize(("route", "name", "valid", "invalid"), list(bounds()))
def test_numbers_of_a_query_are_valid_up_to_the_documented_bounds(
    api: Api, route: Route, name: str, valid: int, invalid: int
) -> None:
    api.store.append([NewEvent(StreamId(PATH["streamId"]), "x", "{}")])
    assert call(api, route, **{name: str(valid)}).status == 200
    assert call(api, route, **{name: str(invalid)}).places == {f"query:{name}"}


def test_a_path_is_filled_in_so_that_it_is_read_back() -> None:
    assert LIST_EVENTS.url_path(streamId="a/b") == "/streams/~YS9i/events"
    assert LIST_EVENTS.url_path(streamId="~YQ") == "/streams/~fllR/events"
    assert LIST_EVENTS.url_path(streamId="plain") == "/streams/plain/events"
