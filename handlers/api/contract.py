"""``GET /openapi.json``: the contract itself."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from handlers.api import http
from handlers.api.query import Query
from handlers.api.request import Request
from handlers.api.response import Response

CONTRACT = Path(__file__).parent.parent / "openapi.json"


def routes() -> http.Routes:
    """Return the one route."""
    return {"GET /openapi.json": get_contract}


def get_contract(request: Request) -> Response:
    """Answer with the document as it stands in the repository."""
    Query(request, ()).check()
    return Response(200, text())


@cache
def text() -> str:
    """Return the OpenAPI document as text."""
    return CONTRACT.read_text(encoding="utf-8")
