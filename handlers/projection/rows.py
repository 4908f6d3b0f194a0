"""What a row may hold, and how large it is: checked where a handler returns it, so that the fault has its event's name.

Limits: an item is at most 400 KB, a sort key at most 1,024 bytes, a number at most 38 significant digits between 1e-130
and 9.99e125 ("Constraints in Amazon DynamoDB", Amazon DynamoDB Developer Guide).
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

MAX_KEY_BYTES = 1024
MAX_DIGITS = 38
MAX_EXPONENT = 125
MIN_EXPONENT = -130
# 400 KB less the partition key (a stream id of up to 1,024 bytes and a generation), the sort key and their names.
MAX_ROW_BYTES = 409_600 - 4_096
MAX_DEPTH = 32


class Unstorable(ValueError):
    """DynamoDB cannot hold this; the message says what and why."""


def check_key(key: object) -> str:
    """Return a row's key.

    Raises
    ------
    Unstorable
        It is not a string of 1 to 1,024 bytes.
    """
    if not isinstance(key, str):
        raise Unstorable(f"the key is {_kind(key)}, not a string")
    if not 1 <= len(key.encode(errors="surrogatepass")) <= MAX_KEY_BYTES:
        raise Unstorable(f"the key has {len(key.encode(errors='surrogatepass')):,} bytes, not 1 to {MAX_KEY_BYTES:,}")
    return key


def check_row(row: object, reserved: tuple[str, ...] = ()) -> int:
    """Return about how many bytes a row takes as an item.

    Raises
    ------
    Unstorable
        A value that DynamoDB has no type for, a number out of its range, a name that is reserved, too large a row.
    """
    if not isinstance(row, Mapping):
        raise Unstorable(f"the handler returned {_kind(row)}, not a row or None")
    for name in reserved:
        if name in row:
            raise Unstorable(f"the row has an attribute {name!r}, a name that belongs to the table's key")
    size = _size(row, MAX_DEPTH)
    if size > MAX_ROW_BYTES:
        raise Unstorable(f"the row has {size:,} bytes; the limit is {MAX_ROW_BYTES:,}")
    return size


def check_number(number: int | Decimal) -> None:
    """Check that a number fits DynamoDB's.

    Raises
    ------
    Unstorable
        More than 38 significant digits, beyond 9.99e125, or closer to zero than 1e-130.
    """
    if isinstance(number, int) and -(10**MAX_DIGITS) < number < 10**MAX_DIGITS:
        return
    exact = Decimal(number)
    if not exact.is_finite():
        raise Unstorable(f"{exact} is no number")
    if not exact:
        return
    digits = "".join(map(str, exact.as_tuple().digits)).strip("0")
    if len(digits) > MAX_DIGITS:
        raise Unstorable(f"a number has {len(digits)} significant digits; the limit is {MAX_DIGITS}")
    if not MIN_EXPONENT <= exact.adjusted() <= MAX_EXPONENT:
        raise Unstorable(f"a number of magnitude 1e{exact.adjusted()} is out of range (1e-130 to 9.99e125)")


def _size(value: Any, depth: int) -> int:
    if depth == 0:
        raise Unstorable(f"nested more than {MAX_DEPTH} deep")
    if isinstance(value, str):
        return len(value) if value.isascii() else _utf8_bytes(value)
    if value is None or isinstance(value, bool):
        return 1
    if isinstance(value, int | Decimal):
        check_number(value)
        return 21  # at most: 38 digits, two a byte, and the exponent
    if isinstance(value, Mapping):
        return 3 + sum(1 + _name_size(name) + _size(each, depth - 1) for name, each in value.items())
    if isinstance(value, list | tuple):
        return 3 + sum(1 + _size(each, depth - 1) for each in value)
    raise Unstorable(f"{_kind(value)} is nothing that DynamoDB stores (a float? use Decimal)")


def _name_size(name: object) -> int:
    if not isinstance(name, str) or not name:
        raise Unstorable(f"{name!r} cannot be an attribute's name")
    return _utf8_bytes(name)


def _utf8_bytes(text: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError as error:
        raise Unstorable("a string holds an unpaired surrogate") from error


def _kind(value: object) -> str:
    return "null" if value is None else f"a {type(value).__name__}"
