"""The options of all commands."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from cli.shell.app import COMMANDS, _load


def options_of(command: Any) -> Iterator[list[str]]:
    """Yield the names of each option of a command and its subcommands."""
    for parameter in command.params:
        if parameter.param_type_name == "option":
            yield parameter.opts
    for subcommand in getattr(command, "commands", {}).values():
        yield from options_of(subcommand)


def test_each_letter_means_the_same_option_in_every_command() -> None:
    meanings: dict[str, set[str]] = defaultdict(set)
    for entry in COMMANDS:
        for names in options_of(_load(entry)):
            long = ", ".join(name for name in names if name.startswith("--"))
            for letter in set(names) - set(long.split(", ")):
                meanings[letter].add(long)

    assert dict(meanings) == {
        "-d": {"--data"},
        "-f": {"--follow"},
        "-n": {"--limit"},
        "-o": {"--output"},
        "-p": {"--projection"},
        "-r": {"--reverse"},
        "-s": {"--stream-id"},
        "-t": {"--type"},
        "-w": {"--watch"},
        "-y": {"--yes"},
    }


def test_an_option_with_a_letter_has_it_in_every_command() -> None:
    letters: dict[str, set[str]] = defaultdict(set)
    for entry in COMMANDS:
        for names in options_of(_load(entry)):
            long = next(name for name in names if name.startswith("--"))
            letters[long].add(", ".join(name for name in names if not name.startswith("--")))

    assert {long: found for long, found in letters.items() if len(found) > 1} == {}
