r"""Make text from events, logs and errors safe to show: every character is visible, none controls the terminal.

Characters without a shape of their own are written as JSON escapes, ``\u202e``, so JSON text stays the same document:
controls, bidirectional and zero-width marks, tags, variation selectors, spaces other than U+0020, and unassigned and
private-use characters.
"""

from __future__ import annotations

import codecs
import re
import shlex
import unicodedata

# Default-ignorable characters in Unicode's categories of letters and marks, and the braille pattern without dots.
# https://www.unicode.org/Public/UCD/latest/ucd/DerivedCoreProperties.txt
_SHAPELESS = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0000-\U000e0fff]"
)
_LIKE_AN_ESCAPE = re.compile(r"\\(?=u[0-9A-Fa-f]{4})")
_AT_THE_ENDS = re.compile(r"\A | \Z")
# Korean vowels and finals combine with the letter before them, as combining marks do.
_JOINING = re.compile("[\u1160-\u11ff]")

UNENCODABLE = "esctl.escape"
"""The error handler that writes ``\\u20ac`` where a stream's encoding has no €."""


def escape(text: str) -> str:
    r"""Write every character as JSON does, in units of UTF-16: ``\ud83d\ude00`` for an emoji."""
    units = text.encode("utf-16-be", "surrogatepass").hex(" ", 2)
    return "".join(f"\\u{unit}" for unit in units.split())


def _unencodable(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return escape(error.object[error.start : error.end]), error.end


codecs.register_error(UNENCODABLE, _unencodable)


class _Shown(dict[int, str]):
    """How each character is shown, for `str.translate`; filled as characters are met."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        self[code] = character if _is_visible(character) else escape(character)
        return self[code]


def _is_visible(text: str) -> bool:
    # Not printable: categories C (control, format, surrogate, private use, unassigned) and Z (separators), but U+0020.
    return text.isprintable() and _SHAPELESS.search(text) is None


_ON_LINES = _Shown({ord("\n"): "\n", ord("\t"): "\t"})
_ON_ONE_LINE = _Shown()


def visible_lines(text: str) -> str:
    r"""Make text, or a JSON document, safe to show; newlines and tabs stay.

    Examples
    --------
    >>> visible_lines("a\n\x1bb")
    'a\n\\u001bb'
    """
    # Most text needs no change, and checking is six times as fast as translating: 50 ms for 3 MB, not 290.
    return text if _is_visible(text.replace("\n", "").replace("\t", "")) else text.translate(_ON_LINES)


def one_line(text: str) -> str:
    r"""Make text safe to show as one line.

    Examples
    --------
    >>> one_line("a\nb")
    'a\\u000ab'
    """
    return text if _is_visible(text) else text.translate(_ON_ONE_LINE)


def visible(value: object) -> str:
    r"""Show a value (an id, a name) on one line so that different values never look the same.

    This also escapes leading and trailing spaces, combining marks without a base, decomposed characters (not in NFC),
    and a backslash that would read as an escape. Letters of different scripts that look alike stay as they are.

    Examples
    --------
    >>> visible("stream\u200b1"), visible("stream\\u200b1"), visible("1 "), visible(None)
    ('stream\\u200b1', 'stream\\u005cu200b1', '1\\u0020', '')
    """
    text = "" if value is None else str(value)
    text = _LIKE_AN_ESCAPE.sub(_escaped, text)
    return _AT_THE_ENDS.sub(_escaped, one_line(text if text.isascii() else _with_marks_shown(text)))


def _escaped(found: re.Match[str]) -> str:
    return escape(found[0])


def _with_marks_shown(text: str) -> str:
    composed = unicodedata.is_normalized("NFC", text)
    shown: list[str] = []
    has_base = False
    for character in text:
        joining = unicodedata.category(character)[0] == "M" or _JOINING.match(character) is not None
        if joining:
            hidden = not (has_base and composed)
        else:
            hidden = not composed and not unicodedata.is_normalized("NFC", character)
            has_base = character != " " and _is_visible(character) and not hidden
        shown.append(escape(character) if hidden else character)
    return "".join(shown)


def is_unicode(text: str) -> bool:
    """Tell whether text is valid Unicode: Python turns bytes that it cannot decode into unpaired surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def shell_word(text: str) -> str:
    r"""Quote an argument of a command that the user may copy into bash or zsh.

    Examples
    --------
    >>> print(shell_word("it"), shell_word("two words"), shell_word("\u202eab'c"))
    it 'two words' $'\U0000202eab\'c'
    """
    shown = one_line(text)
    if shown == text:
        return shlex.quote(text)
    quoted = re.sub(r"[\\']", r"\\\g<0>", text)
    return f"$'{''.join(_in_dollar_quotes(character) for character in quoted)}'"


def _in_dollar_quotes(character: str) -> str:
    # The shells take code points of eight digits, not surrogate pairs.
    return character if one_line(character) == character else f"\\U{ord(character):08x}"


def text_width(text: str) -> int:
    """Return the columns that a text takes on a terminal: wide characters take two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )


def plural(count: int, noun: str) -> str:
    """Return a count with its noun: ``1 event``, ``1,200 events``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def duration(seconds: float) -> str:
    """Return a duration in the units that suit it.

    Examples
    --------
    >>> duration(0.42), duration(95), duration(7325), duration(90000)
    ('0.4 s', '1 min 35 s', '2 h 2 min', '1 d 1 h')
    """
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"
