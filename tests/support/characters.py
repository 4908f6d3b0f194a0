"""Characters that no reader sees, judged by Unicode's own data and not by the code under test."""

from __future__ import annotations

import re
import sys
import unicodedata

# Default_Ignorable_Code_Point of Unicode's DerivedCoreProperties, without what has category C anyway; and a blank symbol.
IGNORABLE = {
    *"\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0\u2800",
    *map(chr, range(0x180B, 0x1810)),
    *map(chr, range(0xFE00, 0xFE10)),
    *map(chr, range(0xE0100, 0xE01F0)),
}
# Of the million that are private or not assigned, one in a hundred.
EVERY = [
    chr(code)
    for code in range(sys.maxunicode + 1)
    if code % 101 == 0 or unicodedata.category(chr(code)) not in ("Cn", "Co")
]
DANGEROUS = [
    character
    for character in EVERY
    if (unicodedata.category(character)[0] in "CZ" and character != " ") or character in IGNORABLE
]
_STYLING = re.compile("\x1b\\[[0-9;?]*[A-Za-z]")


def unsafe(output: str) -> set[str]:
    """Return what an output holds raw besides ends of lines, tabs, and rich's own colours and movements."""
    return (set(_STYLING.sub("", output)) & set(DANGEROUS)) - {"\n", "\t"}
