"""The ways in which a file can be damaged."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


def _one_byte(path: Path) -> None:
    content = bytearray(path.read_bytes() or b"x")
    content[len(content) // 2] = 0xFF
    path.write_bytes(content)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _unreadable(path: Path) -> None:
    """A link to itself, which nobody can read, root included."""
    path.unlink()
    path.symlink_to(path)


def _wrong_values(path: Path) -> None:
    """The same names, with values of other types."""
    try:
        document = json.loads(path.read_bytes())
    except ValueError:
        document = None
    if isinstance(document, dict):
        path.write_text(json.dumps({name: _other(value) for name, value in document.items()}))
    else:
        path.write_text("7")


def _other(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _other(each) for name, each in value.items()} or "text"
    return 7 if isinstance(value, str | list | None) else "text"


def _content(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        path.write_bytes(change(path.read_bytes()))

    return damage


DAMAGES: dict[str, Callable[[Path], None]] = {
    "one byte 0xff": _one_byte,
    "cut": _content(lambda content: content[: len(content) // 2]),
    "empty": _content(lambda _: b""),
    "a list": _content(lambda _: b"[]"),
    "a string": _content(lambda _: b'"text"'),
    "null": _content(lambda _: b"null"),
    "a number": _content(lambda _: b"7"),
    "wrong values": _wrong_values,
    "a folder": _folder,
    "unreadable": _unreadable,
}
"""By name: each leaves a file damaged that was whole."""
