"""The state directory."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from cli.errors import CliError
from cli.state import State
from tests.unit.cli.cli_driver import Esctl


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    state = State(tmp_path / "esctl")

    path = state.write_text("secret", "folder", "file")

    assert mode(path) == 0o600
    assert mode(path.parent) == 0o700
    assert mode(state.root) == 0o700


def test_writing_is_all_or_nothing(tmp_path: Path) -> None:
    state = State(tmp_path)
    state.write_text("old", "file")

    with pytest.raises(UnicodeEncodeError):
        state.write_text("new \ud800", "file")

    assert state.read_text("file") == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_missing_or_damaged_json_is_none(tmp_path: Path) -> None:
    state = State(tmp_path)
    state.write_text("{", "damaged.json")
    state.write_text("[]", "list.json")

    assert [state.read_json(name) for name in ("missing.json", "damaged.json", "list.json")] == [None, None, None]


def test_xdg_state_home_moves_it_unless_it_is_relative(esctl: Esctl) -> None:
    esctl.variables["XDG_STATE_HOME"] = "/some/where"
    assert State.of(esctl.environment()).root == Path("/some/where/esctl")

    esctl.variables["XDG_STATE_HOME"] = "relative"
    assert State.of(esctl.environment()).root.is_absolute()


def test_unusable_directory_is_named_with_a_way_out(tmp_path: Path) -> None:
    (tmp_path / "esctl").write_text("a file where the folder has to be")

    with pytest.raises(CliError, match="state directory") as caught:
        State(tmp_path / "esctl").write_text("x", "file")

    assert "XDG_STATE_HOME" in caught.value.hint
