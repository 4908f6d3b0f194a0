"""Text from elsewhere: nothing is invisible, nothing steers the terminal, and no two values look the same."""

from __future__ import annotations

import shutil
import subprocess
import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.terminal.text import one_line, shell_word, visible, visible_lines
from handlers.core.lossless_json import dumps, loads
from tests.support.characters import DANGEROUS, EVERY

# Such text as an attacker would choose: invisible characters, and what looks like another character or like an escape.
CHARACTERS = [
    *"ab 02\\u\n\t\x00\x1b\x7f\x85\x9b\xa0\xad\u061c\u200b\u200d\u200e\u2028\u202e\u2060\u2066\ufeff\ufe0f\u115f\u3164",
    *"eé\u0301\u030aÅ\u212b가\u1100\u1161\u11a8\u0915\u093c\u0958\U000e0041\U000e0100\U0001f600",
]
TEXTS = st.text(st.sampled_from(CHARACTERS), max_size=12) | st.text(max_size=12)
OTHERWISE_WRITTEN: list[Callable[[str], str]] = [
    str.strip,
    str.lower,
    lambda text: unicodedata.normalize("NFC", text),
    lambda text: unicodedata.normalize("NFD", text),
    lambda text: "".join(character for character in text if character not in DANGEROUS),
    lambda text: text.encode("ascii", "backslashreplace").decode(),
    one_line,
    visible,
    lambda text: f"{text}\u200b",
    lambda text: f"\u0301{text}",
]


@pytest.mark.parametrize("show", [visible, one_line])
def test_no_dangerous_character_passes(show: Callable[[str], str]) -> None:
    shown = show("a".join(DANGEROUS))

    assert not set(DANGEROUS) & set(shown)


def test_text_of_several_lines_keeps_their_ends_and_tabs() -> None:
    shown = visible_lines("a".join(DANGEROUS))

    assert set(DANGEROUS) & set(shown) == {"\n", "\t"}


def test_visible_characters_stay_as_they_are() -> None:
    harmless = "".join(sorted(set(EVERY) - set(DANGEROUS)))

    assert one_line(harmless) == harmless
    assert visible("日本 ÄÖÜ é हिन्दी שָׁלוֹם ✓ → € 👍") == "日本 ÄÖÜ é हिन्दी שָׁלוֹם ✓ → € 👍"


def test_a_json_document_stays_the_same_document() -> None:
    text = "".join(character for character in EVERY if not "\ud800" <= character <= "\udfff")
    document = {"text": text, text[:200]: list(text[:200])}

    assert loads(visible_lines(dumps(document))) == document


@given(TEXTS)
def test_what_is_safe_is_left_alone(text: str) -> None:
    assert visible_lines(visible(text)) == visible(text)
    assert visible_lines(visible_lines(text)) == visible_lines(text)


@given(TEXTS, TEXTS, st.sampled_from(OTHERWISE_WRITTEN))
def test_two_values_never_look_the_same(one: str, other: str, rewrite: Callable[[str], str]) -> None:
    looks = {unicodedata.normalize("NFC", visible(each)) for each in (one, other, rewrite(one))}

    assert len(looks) == len({one, other, rewrite(one)})


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("a\u200bb", "a\\u200bb"),
        ("a\\u200bb", "a\\u005cu200bb"),
        ("C:\\new", "C:\\new"),
        (" a ", "\\u0020a\\u0020"),
        ("a\xa0b", "a\\u00a0b"),
        ("e\u0301", "e\\u0301"),
        ("\u0301", "\\u0301"),
        ("\U000e0041", "\\udb40\\udc41"),
        ("\udce9", "\\udce9"),
        (None, ""),
        (7, "7"),
    ],
)
def test_how_a_value_is_shown(value: object, shown: str) -> None:
    assert visible(value) == shown


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_a_command_that_is_shown_means_what_it_says_in_a_shell() -> None:
    words = [*map("a{}b".format, CHARACTERS[1:]), "'", "a b", "\\'\u202e", "\u200b\\", "$x\u200b", '"\u200b`']
    words = [word for word in words if "\x00" not in word]  # no argument can hold it
    quoted = [shell_word(word) for word in words]

    printed = subprocess.run(
        ["bash", "-c", f"printf '%s\\0' {' '.join(quoted)}"], env={"LC_ALL": "C.UTF-8"}, capture_output=True, check=True
    )

    assert printed.stdout.decode().split("\0")[:-1] == words
    assert not set(DANGEROUS) & set("".join(quoted))


@given(TEXTS)
def test_a_command_that_is_shown_is_on_one_line(text: str) -> None:
    assert one_line(shell_word(text)) == shell_word(text)
