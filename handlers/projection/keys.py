"""Keys of rows and of index entries as DynamoDB's sort keys: strings whose order is the order of the values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from handlers.core import lossless_json
from handlers.core.dynamodb import SORT_KEY_BYTES
from handlers.projection.port import IndexEntry, Row

MAX_KEY_BYTES = SORT_KEY_BYTES
# An index's partition key also holds the projection and the generation: 2,048 bytes together.
MAX_INDEX_VALUE_BYTES = 1_500

_SEPARATOR = "\x00"
# In a compound key the separator sorts before every other character, so the parts compare one after the other.
_ESCAPES = {"\x00": "\x01\x01", "\x01": "\x01\x02"}


class UnstorableError(ValueError):
    """DynamoDB cannot store this value; the message says why."""


def kind_of(value: object) -> str:
    """Name a value's type for messages."""
    if value is None:
        return "null"
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


def utf8_size(text: str) -> int:
    """Return the size of a string in bytes.

    Raises
    ------
    UnstorableError
        It contains an unpaired surrogate, which has no UTF-8.
    """
    if text.isascii():
        return len(text)
    try:
        return len(text.encode())
    except UnicodeEncodeError as error:
        raise UnstorableError("a string contains an unpaired surrogate") from error


# -- keys of rows --------------------------------------------------------------------------------------------------------


def encode_key(parts: Sequence[object]) -> str:
    """Return the encoded key of a row: the only part unchanged, or several parts joined in their order.

    Raises
    ------
    UnstorableError
        A part is not a string, is empty, or contains an unpaired surrogate; the encoded key has more than 1,024 bytes.
    """
    key = _text(parts[0]) if len(parts) == 1 else _SEPARATOR.join([_escape(_text(part)) for part in parts])
    size = len(key) if key.isascii() else utf8_size(key)
    if size > MAX_KEY_BYTES:
        raise UnstorableError(f"the key has {size:,} bytes, not 1 to {MAX_KEY_BYTES:,}")
    return key


def decode_key(key: str, parts: int) -> tuple[str, ...]:
    """Return the parts of a key that `encode_key` returned."""
    return (key,) if parts == 1 else tuple(map(_unescape, key.split(_SEPARATOR)))


def choices(value: object) -> Sequence[str]:
    """Return the different values that a key function returned for one part of the key: None is none, a list several.

    Raises
    ------
    UnstorableError
        Something else. A tuple too: it would be ambiguous whether it means several keys or a compound one.
    """
    if value is None:
        return ()
    if isinstance(value, list):
        return list(dict.fromkeys(map(_text, value)))
    if isinstance(value, set | frozenset):
        return sorted(map(_text, value))  # a set's own order differs between processes
    return (_text(value),)


def leading_parts(texts: Sequence[str], parts: int) -> str:
    """Return the encoded beginning of the keys whose leading parts are given; the last one may be incomplete."""
    return texts[0] if parts == 1 else _SEPARATOR.join(map(_escape, texts))


def upper_bound(texts: Sequence[str], parts: int) -> str:
    """Return an inclusive upper bound of the keys up to, and including, those with the given leading parts."""
    bound = leading_parts(texts, parts)
    # All continuations begin with the separator, and an escape has a second character: no key equals this bound.
    return bound if len(texts) == parts else bound + "\x01"


def _text(part: object) -> str:
    if not isinstance(part, str):
        raise UnstorableError(f"the key is {kind_of(part)}, not a string")
    if not part:
        raise UnstorableError(f"the key has 0 bytes, not 1 to {MAX_KEY_BYTES:,}")
    return part


def _escape(text: str) -> str:
    return text if text.isprintable() else "".join(_ESCAPES.get(each, each) for each in text)


def _unescape(text: str) -> str:
    # In this order: what is left of the escapes afterwards begins with a character that is no part of another one.
    return text.replace("\x01\x01", "\x00").replace("\x01\x02", "\x01") if "\x01" in text else text


# -- indexes -------------------------------------------------------------------------------------------------------------


def index_entries(indexes: Mapping[str, str | None], key: str, row: Row) -> tuple[IndexEntry, ...]:
    """Return a row's places in the projection's indexes; a row without the attributes of one is not in it.

    Parameters
    ----------
    indexes
        Attribute to the attribute that sorts the rows with the same value; None: by key.
    row
        The row, with the key's attributes if an index names one: `Projection.index_entries` adds them.

    Raises
    ------
    UnstorableError
        A value is too long for an index.
    """
    found = []
    for slot, (name, sort) in enumerate(indexes.items(), start=1):
        value = index_value(row.get(name))
        position = key if sort is None else sort_value(row.get(sort))
        if value is None or position is None:
            continue
        for attribute, text, limit in ((name, value, MAX_INDEX_VALUE_BYTES), (sort, position, MAX_KEY_BYTES)):
            if utf8_size(text) > limit:
                raise UnstorableError(
                    f"the attribute {attribute!r} is longer than {limit:,} bytes, too long for an index"
                )
        found.append(IndexEntry(slot, value, position))
    return tuple(found)


def index_value(value: Any) -> str | None:
    """Return a value's text in an index, by which it is found; None if it cannot be in an index.

    Strings and numbers with the same digits have the same text: a query's value has no type.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, Decimal)):
        return _plain(Decimal(value))
    return value if isinstance(value, str) and value else None


def sort_value(value: Any) -> str | None:
    """Return a value's text for sorting: numbers in numeric order, then strings; None if it cannot be sorted."""
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, Decimal)):
        return "n" + _ordered(Decimal(value))
    return "s" + value if isinstance(value, str) else None


def sort_bound(text: str) -> int | Decimal | str:
    """Return the value that a bound of a sort attribute names: JSON if it is a number or a quoted string, otherwise text."""
    try:
        value = lossless_json.loads(text)
    except lossless_json.NotJsonError:
        return text
    return text if sort_value(value) is None else value


def _plain(number: Decimal) -> str:
    if not number:  # there is a negative zero
        return "0"
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _ordered(number: Decimal) -> str:
    """Return a text that sorts like the number: sign, exponent, digits; complemented if negative."""
    if not number:
        return "1"
    sign, digits, _ = number.as_tuple()
    significant = "".join(map(str, digits)).lstrip("0").rstrip("0")
    # DynamoDB's exponents are -130 to 125, so that this has three digits.
    text = f"{number.adjusted() + 500:03d}{significant}"
    if not sign:
        return "2" + text
    # After the digits a character greater than any of them: of -1.5 and -1, the longer one is the smaller one.
    return "0" + "".join(str(9 - int(each)) for each in text) + "~"
