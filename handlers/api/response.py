"""Answers: JSON documents and problem documents (RFC 9457)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from handlers.core import lossless_json
from handlers.core.errors import EsError, Fault, InvalidInputError

JSON = "application/json"
PROBLEM = "application/problem+json"
PROBLEM_TYPES = "urn:esctl:problem:"

# What a synchronous invocation may answer: the JSON text of the whole proxy response, in which the body is one string
# ("Response payload size exceeded maximum allowed payload size (6291556 bytes)").
MAX_LAMBDA_RESPONSE_BYTES = 6_291_556
# For status and headers, and for the fields of a page beside its list: the page token is the largest, under 3 KB.
RESERVED_BYTES = 16 * 1024

# A body of a megabyte can hold as many faults; the first hundred are enough to fix it.
MAX_FAULTS = 100
# A key of the client's own making may be as long as the body; a pointer need not repeat all of it a hundred times.
MAX_POINTER_CHARACTERS = 512


@dataclass(frozen=True, slots=True)
class Response:
    """An answer: status, text of the body, headers."""

    status: int
    body: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def to_gateway(self) -> dict[str, Any]:
        """Return it in the form that API Gateway's proxy integration expects."""
        return {
            "statusCode": self.status,
            "headers": {"Content-Type": JSON, **self.headers},
            "body": self.body,
            "isBase64Encoded": False,
        }


def json_response(status: int, value: object, headers: Mapping[str, str] | None = None) -> Response:
    """Answer with a JSON value; numbers keep every digit."""
    return Response(status, lossless_json.dumps(value), headers or {})


def page_response(name: str, texts: Sequence[str], rest: Mapping[str, Any]) -> Response:
    """Answer with a page: a list of values that are JSON text already, and the fields beside it."""
    return Response(200, f'{{"{name}":[{",".join(texts)}],{lossless_json.dumps(rest)[1:]}')


def fitting(texts: Iterable[str]) -> list[str]:
    """Return the JSON texts that one page holds: the first, and more while they fit a response of Lambda.

    One event or row always fits: it has 400 KB at most, and a control character, the worst case, grows sevenfold
    (to ``\\\\u0001``).
    """
    held: list[str] = []
    left = MAX_LAMBDA_RESPONSE_BYTES - RESERVED_BYTES
    for text in texts:
        # The runtime escapes quotes and backslashes, and in some versions all that is not ASCII. The quotes that
        # `dumps` adds make up for the comma.
        left -= len(json.dumps(text))
        if held and left < 0:
            break
        held.append(text)
    return held


def problem(error: EsError, request_id: str) -> Response:
    """Answer with the problem document of an error: every fault, each with its place."""
    document: dict[str, object] = {
        "type": PROBLEM_TYPES + error.type,
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "instance": request_id,
    }
    if isinstance(error, InvalidInputError):
        document["detail"] = _summary(error.faults)
        document["errors"] = [_fault(each) for each in error.faults[:MAX_FAULTS]]
        if len(error.faults) > MAX_FAULTS:
            document["errorsOmitted"] = len(error.faults) - MAX_FAULTS
    for name, value in error.extra.items():
        document.setdefault(name, value)
    headers = {"Content-Type": PROBLEM}
    if error.status == 503:
        headers["Retry-After"] = "1"
    return json_response(error.status, document, headers)


def _summary(faults: tuple[Fault, ...]) -> str:
    shown = "; ".join(f"{_shortened(each.pointer) or 'the body'} {each.detail}" for each in faults[:3])
    return shown if len(faults) <= 3 else f"{shown}; and {len(faults) - 3} more"


def _fault(fault: Fault) -> dict[str, str]:
    place, separator, name = fault.pointer.partition(":")
    if separator and place in {"query", "header", "path"}:
        return {"in": place, "name": _shortened(name), "detail": fault.detail}
    return {"pointer": _shortened(fault.pointer), "detail": fault.detail}


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_POINTER_CHARACTERS else text[: MAX_POINTER_CHARACTERS - 1] + "…"
