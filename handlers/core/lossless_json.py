"""JSON in and out without losing a digit.

``12345678901234567890``, ``0.1`` and ``1e300`` come back as they were sent: integers stay ``int`` and every other
number becomes a ``Decimal``. What RFC 8259 does not know (NaN, Infinity) and what readers disagree about (the same
key twice) is refused.
"""

from __future__ import annotations

import json
from decimal import Decimal, InvalidOperation
from typing import Any, NoReturn

import simplejson

# Python refuses to convert integers of more digits (CVE-2020-10735); DynamoDB holds 38, so nothing is lost by it.
MAX_INTEGER_DIGITS = 4300


class NotJsonError(ValueError):
    """The text is not JSON; the message says why and where."""


def _refuse_constant(name: str) -> NoReturn:
    raise NotJsonError(f"{name} is not JSON")


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise NotJsonError(f"the key {twice!r} stands twice in one object")
    return result


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation as error:  # an exponent beyond what decimal can hold
        raise NotJsonError(f"the number {text[:40]} is out of range") from error


def _integer(text: str) -> int:
    if len(text) > MAX_INTEGER_DIGITS:
        raise NotJsonError(f"a number of {len(text):,} digits is out of range")
    return int(text)


_decoder = json.JSONDecoder(
    parse_float=_decimal, parse_int=_integer, parse_constant=_refuse_constant, object_pairs_hook=_pairs
)
# For text that `loads` has accepted before it was stored: the same result without looking for doubled keys again.
_trusting_decoder = json.JSONDecoder(parse_float=Decimal)


def loads(text: str) -> Any:
    """Parse JSON text from outside.

    Returns
    -------
    dict, list, str, int, Decimal, bool or None.

    Raises
    ------
    NotJsonError
        With the reason and the place: syntax, NaN or Infinity, a key that stands twice, a number out of range,
        nesting too deep, text that is not valid Unicode (an unpaired surrogate cannot be stored).
    """
    try:
        value = _decoder.decode(text)
    except json.JSONDecodeError as error:
        raise NotJsonError(f"{error.msg} at line {error.lineno}, column {error.colno}") from error
    except RecursionError as error:
        raise NotJsonError("nested too deeply") from error
    if "\\u" in text or not text.isascii():
        _refuse_unpaired_surrogates(text, value)
    return value


def _refuse_unpaired_surrogates(text: str, value: Any) -> None:
    try:
        text.encode()
        json.dumps(value, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError as error:
        raise NotJsonError("a string holds an unpaired surrogate, which is not Unicode text") from error


def loads_stored(text: str) -> Any:
    """Parse text that was validated by `loads` before it was stored."""
    return _trusting_decoder.decode(text)


def dumps(value: Any, *, indent: int | None = None, ascii_only: bool = False) -> str:
    """Write JSON text; ``Decimal`` keeps its digits, NaN and Infinity raise ``ValueError``."""
    text: str = simplejson.dumps(
        value,
        use_decimal=True,
        allow_nan=False,
        ensure_ascii=ascii_only,
        indent=indent,
        separators=None if indent else (",", ":"),
    )
    return text
