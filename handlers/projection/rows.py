"""The limits of a row: checked when a handler returns it, so that the error names the event."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any

from handlers.core.dynamodb import (
    ITEM_BYTES,
    LARGEST_EXPONENT,
    NESTING_LEVELS,
    NUMBER_DIGITS,
    SMALLEST_EXPONENT,
)
from handlers.projection.definition import Projection
from handlers.projection.keys import UnstorableError, kind_of, utf8_size

# An item without its keys (a sort key of up to 1,024 bytes), its version, and the keys of five indexes (2,524 bytes each).
MAX_ROW_BYTES = ITEM_BYTES - 16_384
# Longer names are refused by DynamoDB.
MAX_NAME_BYTES = 65_535
# Far quicker for a dict than Mapping alone.
_MAPPINGS = (dict, Mapping)
_PLAIN_INTEGERS = 10**NUMBER_DIGITS
_ADVICE = {"float": " (use Decimal instead of float)", "set": " (use a list)"}


def check_row(row: object, projection: Projection | None = None) -> int:
    """Return the approximate size of a row in bytes.

    Raises
    ------
    UnstorableError
        A value without a DynamoDB type, a number out of range, an attribute named like one of the key's, or a row that
        is too large.
    """
    if not isinstance(row, _MAPPINGS):
        raise UnstorableError(f"the handler returned {kind_of(row)}, not a row or None")
    for name in projection.key_attributes if projection is not None else ():
        if name in row:
            raise UnstorableError(f"the row has an attribute {name!r}, which is reserved for the key")
    size = _size(row, NESTING_LEVELS)  # the row is itself an attribute of its item
    if size > MAX_ROW_BYTES:
        raise UnstorableError(f"the row has {size:,} bytes; the limit is {MAX_ROW_BYTES:,}")
    return size


def check_number(number: int | Decimal) -> None:
    """Check that DynamoDB can store a number.

    Raises
    ------
    UnstorableError
        More than 38 significant digits, beyond 9.99e125, or closer to zero than 1e-130.
    """
    if isinstance(number, int) and -_PLAIN_INTEGERS < number < _PLAIN_INTEGERS:
        return
    exact = Decimal(number)
    if not exact.is_finite():
        raise UnstorableError(f"{exact} is not a number")
    if not exact:
        return
    digits = "".join(map(str, exact.as_tuple().digits)).strip("0")
    if len(digits) > NUMBER_DIGITS:
        raise UnstorableError(f"a number has {len(digits)} significant digits; the limit is {NUMBER_DIGITS}")
    if not SMALLEST_EXPONENT <= exact.adjusted() <= LARGEST_EXPONENT:
        raise UnstorableError(f"a number of magnitude 1e{exact.adjusted()} is out of range (1e-130 to 9.99e125)")


def _size(value: Any, depth: int) -> int:
    if depth == 0:
        raise UnstorableError(f"nested more than {NESTING_LEVELS} levels deep")
    if isinstance(value, str):
        return len(value) if value.isascii() else utf8_size(value)
    if value is None or isinstance(value, bool):
        return 1
    if isinstance(value, (int, Decimal)):
        check_number(value)
        return 21  # at most: 38 digits, two per byte, and the exponent
    if isinstance(value, _MAPPINGS):
        size = 3
        for name, each in value.items():
            size += 1 + _name_size(name) + _size(each, depth - 1)
        return size
    if isinstance(value, (list, tuple)):
        return 3 + sum(1 + _size(each, depth - 1) for each in value)
    raise UnstorableError(f"DynamoDB cannot store {kind_of(value)}{_ADVICE.get(type(value).__name__, '')}")


@lru_cache(maxsize=256)  # the same few names in every row
def _name_size(name: object) -> int:
    if not isinstance(name, str) or not name:
        raise UnstorableError(f"{name!r} is not a valid attribute name")
    size = utf8_size(name)
    if size > MAX_NAME_BYTES:
        raise UnstorableError(f"an attribute name has {size:,} bytes; the limit is {MAX_NAME_BYTES:,}")
    return size
