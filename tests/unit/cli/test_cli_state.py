"""The state directory."""

from __future__ import annotations

import re
import stat
import threading
from pathlib import Path

import pytest

from cli.config.state import State
from cli.errors import CliError
from tests.support.damage import DAMAGES
from tests.unit.cli.cli_driver import Esctl


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_only_the_owner_may_read_the_files(tmp_path: Path) -> None:
    state = State(tmp_path / "esctl")

    path = state.write_text("secret", "folder", "file")

    assert mode(path) == 0o600
    assert mode(path.parent) == 0o700
    assert mode(state.root) == 0o700


def test_writing_is_atomic(tmp_path: Path) -> None:
    state = State(tmp_path)
    state.write_text("old", "file")

    with pytest.raises(UnicodeEncodeError):
        state.write_text("new \ud800", "file")

    assert state.read_text("file") == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_written_text_is_read_back(tmp_path: Path) -> None:
    state = State(tmp_path)
    state.write_json({"port": 1}, "file.json")

    assert state.read_json("file.json") == {"port": 1}
    assert state.read_json("missing.json") is None
    assert state.read_text("missing", "file") is None


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_file_is_missing_or_an_error_that_names_it(tmp_path: Path, name: str) -> None:
    state = State(tmp_path)
    path = state.write_json({"port": 1}, "file.json")
    DAMAGES[name](path)

    def read() -> object:
        return state.read_json("file.json", valid=lambda document: isinstance(document.get("port"), int))

    if name in ("a folder", "unreadable"):
        with pytest.raises(CliError, match=re.escape(str(path))) as caught:
            read()
        assert caught.value.hint
    else:
        assert read() is None


def test_a_lock_is_exclusive(tmp_path: Path) -> None:
    state, order = State(tmp_path), []

    def second() -> None:
        with State(tmp_path).lock("file.lock"):
            order.append("second")

    with state.lock("file.lock"):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.2)
        order.append("first")
    thread.join()

    assert order == ["first", "second"]


def test_unusable_lock_file_is_named_in_the_error(tmp_path: Path) -> None:
    (tmp_path / "file.lock").mkdir()

    with pytest.raises(CliError, match=r"file\.lock"), State(tmp_path).lock("file.lock"):
        pass


def test_absolute_xdg_state_home_moves_the_directory(esctl: Esctl) -> None:
    esctl.variables["XDG_STATE_HOME"] = "/some/where"
    assert State.of(esctl.environment()).root == Path("/some/where/esctl")

    esctl.variables["XDG_STATE_HOME"] = "relative"
    assert State.of(esctl.environment()).root.is_absolute()


def test_unusable_directory_is_an_error_with_a_hint(tmp_path: Path) -> None:
    (tmp_path / "esctl").write_text("a file where the folder has to be")

    with pytest.raises(CliError, match="state directory") as caught:
        State(tmp_path / "esctl").write_text("x", "file")

    assert "XDG_STATE_HOME" in caught.value.hint
