"""The documents name what there is."""

from __future__ import annotations

from pathlib import Path

from cli.shell.registry import COMMANDS

ROOT = Path(__file__).parents[2]
MAP = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
CHANGES = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
# Their tables are elsewhere: of functions in the same document, of commands in `esctl --help`.
ELSEWHERE = {"handlers/functions", "handlers/projections", "cli/commands"}


def test_the_map_names_every_module() -> None:
    paths = [path.relative_to(ROOT) for part in ("cli", "stack", "handlers") for path in (ROOT / part).rglob("*.py")]
    wanted = [path for path in paths if not path.name.startswith("__") and path.parent.as_posix() not in ELSEWHERE]

    assert [str(path) for path in wanted if f"`{path.name}`" not in MAP] == []


def test_the_changelog_names_every_command() -> None:
    names = [entry.name for entry in COMMANDS if not entry.hidden]

    assert [name for name in names if f"`{name}`" not in CHANGES] == []
