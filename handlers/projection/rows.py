"""What a row may hold, and how large it is: checked where a handler returns it, so that the fault names its event.

An event is checked before it is stored, too, against what would become of it in the rows of the projections that handle it.
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

# A row's key is the sort key of its table.
MAX_KEY_BYTES = SORT_KEY_BYTES
# An item less the partition key (a stream id of up to 1,024 bytes and a generation), the sort key and their names.
MAX_ROW_BYTES = ITEM_BYTES - 4_096


class UnstorableError(ValueError):
    """DynamoDB cannot hold this; the message says what and why."""


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
    """Return about how many bytes a row takes as an item.

    Raises
    ------
    UnstorableError
        A value that DynamoDB has no type for, a number out of its range, a name that is reserved, too large a row.
    """
    if not isinstance(row, Mapping):
        raise UnstorableError(f"the handler returned {_kind(row)}, not a row or None")
    for name in reserved:
        if name in row:
            raise UnstorableError(f"the row has an attribute {name!r}, a name that belongs to the table's key")
    size = _size(row, NESTING_LEVELS)
    if size > MAX_ROW_BYTES:
        raise UnstorableError(f"the row has {size:,} bytes; the limit is {MAX_ROW_BYTES:,}")
    return size


def check_number(number: int | Decimal) -> None:
    """Check that a number fits DynamoDB's.

    Raises
    ------
    UnstorableError
        More than 38 significant digits, beyond 9.99e125, or closer to zero than 1e-130.
    """
    if isinstance(number, int) and -(10**NUMBER_DIGITS) < number < 10**NUMBER_DIGITS:
        return
    exact = Decimal(number)
    if not exact.is_finite():
        raise UnstorableError(f"{exact} is no number")
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
    """Check what projections would make of an event: the key of its row, and numbers that become attributes.

    An event that no projection handles is stored as text and may hold any numbers.
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
                yield where, f"does not fit the read model: {error}"


def _walk(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield every value inside a JSON value, itself included, with its pointer; without recursion."""
    waiting: list[tuple[str, Any]] = [("", value)]
    while waiting:
        place, each = waiting.pop()
        yield place, each
        if isinstance(each, dict):
            waiting.extend((place + pointer(key), inner) for key, inner in reversed(each.items()))
        elif isinstance(each, list):
            waiting.extend((f"{place}/{index}", each[index]) for index in reversed(range(len(each))))


def _size(value: Any, depth: int) -> int:
    if depth == 0:
        raise UnstorableError(f"nested more than {NESTING_LEVELS} deep")
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
    raise UnstorableError(f"{_kind(value)} is nothing that DynamoDB stores (a float? use Decimal)")


def _name_size(name: object) -> int:
    if not isinstance(name, str) or not name:
        raise UnstorableError(f"{name!r} cannot be an attribute's name")
    return _utf8_bytes(name)


def _utf8_bytes(text: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError as error:
        raise UnstorableError("a string holds an unpaired surrogate") from error


def _kind(value: object) -> str:
    return "null" if value is None else f"a {type(value).__name__}"
