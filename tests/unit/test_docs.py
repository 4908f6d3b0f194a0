"""The documents name what there is."""

from __future__ import annotations

import re
from pathlib import Path

from cli.shell.app import COMMANDS

ROOT = Path(__file__).parents[2]
MAP = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
CHANGES = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
PARTS = ("cli", "stack", "handlers")


def test_the_map_names_every_folder() -> None:
    folders = {path.parent.name for part in PARTS for path in (ROOT / part).rglob("*.py")}

    assert sorted(name for name in folders if f"`{name}/`" not in MAP and f"## {name}/" not in MAP) == []


def test_every_module_that_the_map_names_exists() -> None:
    existing = {path.name for part in PARTS for path in (ROOT / part).rglob("*.py")}

    assert sorted(set(re.findall(r"`(?:[\w/]+/)?(\w+\.py)`", MAP)) - existing) == []


def test_the_changelog_names_every_command() -> None:
    names = [entry.name for entry in COMMANDS if not entry.hidden]

    assert [name for name in names if f"`{name}`" not in CHANGES] == []
