"""JSON that preserves every digit.

``12345678901234567890``, ``0.1`` and ``1e300`` round-trip unchanged: integers become ``int``, all other numbers
``Decimal``. NaN and Infinity (not in RFC 8259) and duplicate keys (parsers disagree about them) are rejected.
"""

from __future__ import annotations

import json
from decimal import Decimal, InvalidOperation
from typing import Any, NoReturn

import simplejson

# Python refuses to convert longer integers (CVE-2020-10735). DynamoDB stores 38 digits, so this loses nothing.
MAX_INTEGER_DIGITS = 4300


class NotJsonError(ValueError):
    """The text is not valid JSON; the message says why and where."""


def _reject_constant(name: str) -> NoReturn:
    raise NotJsonError(f"{name} is not JSON")


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        duplicate = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise NotJsonError(f"an object has the key {duplicate!r} twice")
    return result


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation as error:  # the exponent exceeds decimal's range
        raise NotJsonError(f"the number {text[:40]} is out of range") from error


def _integer(text: str) -> int:
    if len(text) > MAX_INTEGER_DIGITS:
        raise NotJsonError(f"a number of {len(text):,} digits is out of range")
    return int(text)


_decoder = json.JSONDecoder(
    parse_float=_decimal, parse_int=_integer, parse_constant=_reject_constant, object_pairs_hook=_pairs
)
# For stored text, which `loads` has accepted: the same result without checking for duplicate keys again.
_trusting_decoder = json.JSONDecoder(parse_float=Decimal)


def loads(text: str) -> Any:
    """Parse untrusted JSON text to dict, list, str, int, Decimal, bool or None.

    Raises
    ------
    NotJsonError
        Invalid syntax, NaN or Infinity, a duplicate key, a number out of range, nesting that is too deep, or invalid
        Unicode (an unpaired surrogate cannot be stored).
    """
    try:
        value = _decoder.decode(text)
    except json.JSONDecodeError as error:
        raise NotJsonError(f"{error.msg} at line {error.lineno}, column {error.colno}") from error
    except RecursionError as error:
        raise NotJsonError("nested too deeply") from error
    if "\\u" in text or not text.isascii():
        _reject_unpaired_surrogates(text, value)
    return value


def _reject_unpaired_surrogates(text: str, value: Any) -> None:
    try:
        text.encode()
        json.dumps(value, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError as error:
        raise NotJsonError("a string contains an unpaired surrogate, which is not valid Unicode") from error


def loads_stored(text: str) -> Any:
    """Parse text that was validated by `loads` before it was stored."""
    return _trusting_decoder.decode(text)


def dumps(value: Any, *, indent: int | None = None, ascii_only: bool = False) -> str:
    """Serialize to JSON; ``Decimal`` keeps its digits, NaN and Infinity raise ``ValueError``."""
    text: str = simplejson.dumps(
        value,
        use_decimal=True,
        allow_nan=False,
        ensure_ascii=ascii_only,
        indent=indent,
        separators=None if indent else (",", ":"),
    )
    return text
