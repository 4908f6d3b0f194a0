"""Reading JSON bodies: with every fault and its place, also where the text is not quite JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from handlers import exactjson
from handlers.api.request import Request
from handlers.errors import Fault, pointer

# A stream id, a name and a number: 64 KB is far more than any of these bodies needs.
MAX_SMALL_BODY_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class _Unfit:
    """Stands for a number that is none, until its place is known."""

    why: str


class _Doubled(dict[str, Any]):
    """An object in which keys stand twice."""

    keys_twice: tuple[str, ...] = ()


def parse(text: str) -> tuple[Any, list[Fault]]:
    """Parse a JSON body.

    Returns
    -------
    The value, and what is wrong with it as JSON: NaN and Infinity, doubled keys, unpaired surrogates, numbers out of
    range. Where there are such faults the value holds stand-ins in their places, so that the rest can still be looked
    into; it must not be stored. Text with broken syntax is one fault, and its value is None.
    """
    if not text.strip():
        return None, [Fault("", "is empty; a JSON object is expected")]
    try:
        return exactjson.loads(text), []
    except exactjson.NotJson as error:
        return _parse_leniently(text, str(error))
    except RecursionError:
        return None, [Fault("", "is nested too deeply")]


def _parse_leniently(text: str, why: str) -> tuple[Any, list[Fault]]:
    decoder = json.JSONDecoder(
        parse_float=_number, parse_int=_number, parse_constant=_constant, object_pairs_hook=_pairs
    )
    try:
        value = decoder.decode(text)
    except (ValueError, RecursionError):
        return None, [Fault("", f"is not JSON: {why}")]
    value, faults = _located(value)
    return value, faults or [Fault("", f"is not JSON: {why}")]


def _constant(name: str) -> _Unfit:
    return _Unfit(f"is {name}, which is not JSON")


def _number(text: str) -> int | Decimal | _Unfit:
    try:
        number: int | Decimal = exactjson.loads(text)
    except exactjson.NotJson as error:
        return _Unfit(f"is out of range: {error}")
    return number


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) == len(pairs):
        return dict(pairs)
    result = _Doubled(pairs)
    seen: set[str] = set()
    result.keys_twice = tuple(dict.fromkeys(key for key, _ in pairs if key in seen or seen.add(key)))  # type: ignore[func-returns-value]
    return result


def _located(root: Any) -> tuple[Any, list[Fault]]:
    """Replace what is unfit by stand-ins and say where it was. Works on the value itself, without recursion."""
    faults: list[Fault] = []
    holder = [root]
    waiting: list[tuple[str, Any, Any]] = [("", holder, 0)]
    while waiting:
        place, container, key = waiting.pop()
        value = container[key]
        if isinstance(value, _Unfit):
            faults.append(Fault(place, value.why))
            container[key] = 0
        elif isinstance(value, str):
            container[key] = _whole(value, place, faults)
        elif isinstance(value, dict):
            if isinstance(value, _Doubled):
                faults += (Fault(place + pointer(twice), "stands twice in its object") for twice in value.keys_twice)
            whole = {_whole(name, place + pointer("�"), faults): inner for name, inner in value.items()}
            container[key] = whole
            waiting += _reversed((place + pointer(name), whole, name) for name in whole)
        elif isinstance(value, list):
            waiting += _reversed((f"{place}/{index}", value, index) for index in range(len(value)))
    return holder[0], [Fault(_printable(each.pointer), each.detail) for each in faults]


def _reversed(steps: Iterable[tuple[str, Any, Any]]) -> list[tuple[str, Any, Any]]:
    return list(steps)[::-1]


def _whole(text: str, place: str, faults: list[Fault]) -> str:
    whole = _printable(text)
    if whole != text:
        faults.append(Fault(place, "holds an unpaired surrogate, which is not Unicode text"))
    return whole


def _printable(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def read_object(request: Request, known: Iterable[str]) -> tuple[dict[str, Any], list[Fault]]:
    """Read a small body whose fields are all optional to begin with; an empty body is an empty object.

    Returns
    -------
    The object (empty when it is none) and what is wrong with it: no JSON, no object, fields that are not known.

    Raises
    ------
    TooLarge
        It is over 64 KB.
    """
    text = request.text(MAX_SMALL_BODY_BYTES)
    value, faults = parse(text) if text.strip() else ({}, [])
    if not isinstance(value, dict):
        return {}, faults or [Fault("", "is not a JSON object")]
    known = tuple(known)
    unknown = [
        Fault(pointer(name), f"is not known here (known: {', '.join(known)})") for name in value if name not in known
    ]
    return value, faults + unknown
