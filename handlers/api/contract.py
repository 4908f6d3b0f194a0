"""``GET /openapi.json``: the contract itself."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from handlers.api import http
from handlers.api.query import Query
from handlers.api.request import Request
from handlers.api.response import Response
from handlers.projection import Projection

CONTRACT = Path(__file__).parent.parent / "openapi.json"

# The path that the document describes in full; the lists of other projections follow its pattern.
_LIST_PATH, _LIST_NAME = "/listTestItems", "test-items"


def routes() -> http.Routes:
    """Return the one route."""
    return {"GET /openapi.json": get_contract}


def get_contract(request: Request) -> Response:
    """Answer with the document of the repository, and the list paths of the projections that it doesn't know."""
    Query(request, ()).check()
    return Response(200, _served())


@cache
def _served() -> str:
    from handlers.projections import registry

    others = [each for each in registry().values() if each.name != _LIST_NAME]
    return json.dumps(with_lists(document(), others)) if others else CONTRACT.read_text(encoding="utf-8")


def document() -> dict[str, Any]:
    """Return the OpenAPI document of the repository."""
    contract: dict[str, Any] = json.loads(CONTRACT.read_text(encoding="utf-8"))
    return contract


def with_lists(contract: dict[str, Any], projections: Iterable[Projection]) -> dict[str, Any]:
    """Return the contract with the list paths of further projections, whose rows have their key and anything besides."""
    paths = dict(contract["paths"])
    for each in projections:
        operation = copy.deepcopy(paths[_LIST_PATH]["get"])
        operation["operationId"] = f"list{each.pascal_name}"
        operation["summary"] = f"List the rows of the projection {each.name}"
        page = operation["responses"]["200"]["content"]["application/json"]["schema"]
        row = {"type": "object", "required": [each.key], "properties": {each.key: {"type": "string"}}}
        page["properties"]["items"]["items"] = row
        paths[f"/list{each.pascal_name}"] = {"get": operation}
    return {**contract, "paths": paths}
