"""The README is run: every ``$ esctl …`` line, in order, and what it shows is what is printed.

After a change of the output: ``UPDATE_README=1 pytest tests/e2e/test_readme.py`` writes the real output into the README.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.e2e.support import Machine

README = Path(__file__).parents[2] / "README.md"
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)

# What differs from run to run: times, durations, rates, ids, ports, addresses, sizes, made-up names.
VOLATILE = [
    (re.compile(r"\d{4}-\d\d-\d\d[T ][\d:.]+Z?"), "TIME"),
    (re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-(?!4c68-9d7a)[0-9a-f-]{22,}"), "ID"),
    (re.compile(r"127\.0\.0\.1:\d+"), "ADDRESS"),
    (re.compile(r"/restapis/[0-9a-z]+/"), "/restapis/API/"),
    (re.compile(r"\b[0-9]+(\.[0-9]+)? ?(ms|s|MB|kB)\b"), "AMOUNT"),
    (re.compile(r"\besctl-[A-Za-z]+-[0-9A-F]{8,}|\b[A-Za-z]+Queue-[0-9a-f]{12}"), "NAME"),
    (re.compile(r"(?m)^(ApiId|ApiKeyId|pid|log|data)( +).*$"), r"\1 VALUE"),
    (re.compile(r"\d+ events? per second"), "RATE"),
    (
        re.compile(r"(?m)^(AddEvent|Browse|List\w+|Projector\w+|Publisher|Reconciler|ReplayWorker|TriggerReplay) .*$"),
        r"\1",
    ),
    (re.compile(r"(?m)^.* \d+ of \d+ \.\.\.\n"), ""),  # how far it is: shown or not, by how quick it is
    (re.compile(r"(?m)^\d+ functions? had no invocations$"), "IDLE"),
    (re.compile(r"(?m)^(TIME +test-items +replay +done +\d+) .*$"), r"\1"),
]


def normalised(text: str) -> list[str]:
    """The lines of an output, without what differs from run to run and without the width of columns."""
    for pattern, replacement in VOLATILE:
        text = pattern.sub(replacement, text)
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def commands(block: str) -> Iterator[tuple[str, str]]:
    """The commands of a block, each with the output shown below it."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


def printed_by(machine: Machine, arguments: list[str]) -> str:
    """What a command shows, data and messages in the order they come, as at a terminal."""
    with machine.popen(*arguments, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        printed = process.stdout.read()
    assert process.returncode == 0, f"esctl {' '.join(arguments)}: {printed}"
    printed = printed.replace(str(machine.folder / "state"), "~/.local/state")
    return "\n".join(line.rstrip() for line in printed.splitlines())


def test_the_readme_shows_what_the_commands_print(machine: Machine) -> None:
    machine.warm = False
    machine.variables |= {"COLUMNS": "110", "PYTHONUNBUFFERED": "1"}
    text = README.read_text(encoding="utf-8")
    differing: list[str] = []

    def run(block: re.Match[str]) -> str:
        written = ""
        for command, shown in commands(block.group(1)):
            arguments = shlex.split(command)
            assert arguments[0] == "esctl", command
            printed = printed_by(machine, arguments[1:])
            if normalised(printed) != normalised(shown):
                differing.append(f"$ {command}\n--- shown\n{shown}\n--- printed\n{printed}")
            written += f"$ {command}\n{printed}\n"
        return f"```console\n{written}```"

    updated = BLOCK.sub(run, text)

    if os.environ.get("UPDATE_README"):
        README.write_text(updated, encoding="utf-8")
    else:
        assert not differing, "\n\n".join(differing)
