"""What the API says when it refuses: problem documents (RFC 9457) become errors that an operator understands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cli.aws import denial
from cli.errors import AccessError, CliError, ConflictError, NotFoundError
from handlers.exactjson import NotJson, loads

_SHOWN_MAX = 300


def error_of(status: int, text: str, path: str) -> CliError:
    """The error that an answer stands for.

    Parameters
    ----------
    status
        The HTTP status, 300 or more.
    text
        The answer's body: a problem document, or what API Gateway says itself (``{"message": …}``).
    """
    document = _document(text)
    error = _error(status, document, _reason(document, text), path)
    error.status, error.problem = status, document
    return error


def _error(status: int, document: Mapping[str, Any], reason: str, path: str) -> CliError:
    if status == 403:
        denied = denial(reason)
        if denied is not None:
            return denied
        return AccessError(
            f"the API refused the call: {reason or 'forbidden'}",
            "Is it the key that the stack was deployed with? esctl outputs --show-key shows the one in use.",
        )
    if status == 404:
        return NotFoundError(f"not found: {reason or path}", _see_what_there_is(path))
    if status == 409:
        return ConflictError(
            f"refused: {reason or 'the head is another one'}", "Look at what there is by now, and decide again."
        )
    if status in (401, 407):
        return AccessError(f"the API wants other credentials: {reason or status}")
    if status < 500:
        return CliError(f"the API refused it: {reason or status}", faults=_faults(document))
    identifier = document.get("instance")
    where = f" (request {identifier})" if identifier else ""
    return CliError(
        f"the API failed with {status}: {reason or 'no reason given'}{where}",
        "The functions' logs may say why:  esctl tail-logs --since 10m",
    )


def _see_what_there_is(path: str) -> str:
    resource = path.strip("/").partition("/")[0]
    lists = {"replays": "esctl replays", "streams": "esctl streams", "projections": "esctl projections"}
    if resource in lists:
        return f"See what there is:  {lists[resource]}"
    return "Is the stack still there, and this version's? See:  esctl status"


def _document(text: str) -> Mapping[str, Any]:
    try:
        document = loads(text)
    except NotJson:
        return {}
    return document if isinstance(document, dict) else {}


def _reason(document: Mapping[str, Any], text: str) -> str:
    faults = document.get("errors")
    if isinstance(faults, list) and faults:  # they are listed one by one, so the summary would only repeat them
        return str(document.get("title", "")).lower()
    for name in ("detail", "title", "message", "Message"):
        if document.get(name):
            return str(document[name])
    return "" if document else text.strip()[:_SHOWN_MAX]


def _faults(document: Mapping[str, Any]) -> list[str]:
    faults = document.get("errors")
    listed = [_fault(fault) for fault in faults if isinstance(fault, dict)] if isinstance(faults, list) else []
    omitted = document.get("errorsOmitted")
    return [*listed, f"and {omitted} more"] if omitted else listed


def _fault(fault: Mapping[str, Any]) -> str:
    elsewhere = f"{fault.get('in')} {fault['name']}" if fault.get("name") else "the body"
    where = str(fault.get("pointer") or elsewhere)
    return f"{where}: {fault.get('detail', 'is wrong')}"
