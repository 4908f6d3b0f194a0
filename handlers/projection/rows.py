"""The limits of a row: checked when a handler returns it, so that the error names the event.

A new event is also checked before it is stored, against the projections that will handle it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any

from handlers.core.dynamodb import (
    ITEM_BYTES,
    LARGEST_EXPONENT,
    NESTING_LEVELS,
    NUMBER_DIGITS,
    SMALLEST_EXPONENT,
    SORT_KEY_BYTES,
)
from handlers.core.errors import Fault, pointer
from handlers.projection.definition import Projection

# A row's key is its table's sort key.
MAX_KEY_BYTES = SORT_KEY_BYTES
# An item without the partition key (a stream id of up to 1,024 bytes and a generation), the sort key and their names.
MAX_ROW_BYTES = ITEM_BYTES - 4_096


class UnstorableError(ValueError):
    """DynamoDB cannot store this value; the message says why."""


def check_key(key: object) -> str:
    """Return a row's key.

    Raises
    ------
    UnstorableError
        It is not a string of 1 to 1,024 bytes.
    """
    if not isinstance(key, str):
        raise UnstorableError(f"the key is {_kind(key)}, not a string")
    if not 1 <= len(key.encode(errors="surrogatepass")) <= MAX_KEY_BYTES:
        raise UnstorableError(
            f"the key has {len(key.encode(errors='surrogatepass')):,} bytes, not 1 to {MAX_KEY_BYTES:,}"
        )
    return key


def check_row(row: object, reserved: tuple[str, ...] = ()) -> int:
    """Return the approximate size of a row in bytes.

    Raises
    ------
    UnstorableError
        A value without a DynamoDB type, a number out of range, a reserved name, or a row that is too large.
    """
    if not isinstance(row, Mapping):
        raise UnstorableError(f"the handler returned {_kind(row)}, not a row or None")
    for name in reserved:
        if name in row:
            raise UnstorableError(f"the row has an attribute {name!r}, which is reserved for the table's key")
    size = _size(row, NESTING_LEVELS)
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
    if isinstance(number, int) and -(10**NUMBER_DIGITS) < number < 10**NUMBER_DIGITS:
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


def row_faults(
    projections: Iterable[Projection], stream_id: str, event_type: str, data: dict[str, Any], place: str
) -> list[Fault]:
    """Check an event for the projections that handle it: the key of its row, and numbers that may become attributes.

    The data of an unhandled event is only text, so any numbers are allowed.
    """
    handling = [each for each in projections if each.follows(stream_id) and each.handles(event_type)]
    if not handling:
        return []
    faults: list[Fault] = []
    for key in dict.fromkeys(each.key for each in handling):
        faults += _row_key_faults(data, key, place)
    faults += (Fault(place + where, why) for where, why in _unfit_numbers(data))
    return faults


def _row_key_faults(data: dict[str, Any], key: str, place: str) -> list[Fault]:
    place += pointer(key)
    if key not in data:
        return [Fault(place, "is required")]
    try:
        check_key(data[key])
    except UnstorableError as error:
        return [Fault(place, f"cannot be the key of a row: {error}")]
    return []


def _unfit_numbers(value: Any) -> Iterator[tuple[str, str]]:
    for where, each in _walk(value):
        if isinstance(each, int | Decimal) and not isinstance(each, bool):
            try:
                check_number(each)
            except UnstorableError as error:
                yield where, f"cannot be stored in a read model: {error}"


def _walk(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield a JSON value and every value in it, each with its pointer; not recursive."""
    pending: list[tuple[str, Any]] = [("", value)]
    while pending:
        place, each = pending.pop()
        yield place, each
        if isinstance(each, dict):
            pending.extend((place + pointer(key), inner) for key, inner in reversed(each.items()))
        elif isinstance(each, list):
            pending.extend((f"{place}/{index}", each[index]) for index in reversed(range(len(each))))


def _size(value: Any, depth: int) -> int:
    if depth == 0:
        raise UnstorableError(f"nested more than {NESTING_LEVELS} levels deep")
    if isinstance(value, str):
        return len(value) if value.isascii() else _utf8_bytes(value)
    if value is None or isinstance(value, bool):
        return 1
    if isinstance(value, int | Decimal):
        check_number(value)
        return 21  # at most: 38 digits, two per byte, and the exponent
    if isinstance(value, Mapping):
        return 3 + sum(1 + _name_size(name) + _size(each, depth - 1) for name, each in value.items())
    if isinstance(value, list | tuple):
        return 3 + sum(1 + _size(each, depth - 1) for each in value)
    raise UnstorableError(f"DynamoDB cannot store {_kind(value)} (use Decimal instead of float)")


def _name_size(name: object) -> int:
    if not isinstance(name, str) or not name:
        raise UnstorableError(f"{name!r} is not a valid attribute name")
    return _utf8_bytes(name)


def _utf8_bytes(text: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError as error:
        raise UnstorableError("a string contains an unpaired surrogate") from error


def _kind(value: object) -> str:
    return "null" if value is None else f"a {type(value).__name__}"
