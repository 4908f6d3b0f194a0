"""Settings, and the app as the CDK CLI runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stack.settings import StackSettings, settings_from
from tests.stack.synthesized import Synthesized


def test_settings_default_to_the_plainest_stack() -> None:
    assert settings_from({}) == StackSettings("esctl", tracing=False, strict=False, auth="key")


@pytest.mark.parametrize("text", ["true", "TRUE", "True", "1"])
def test_booleans_are_true_in_any_case(text: str) -> None:
    assert settings_from({"TRACING": text, "STRICT": text}) == StackSettings("esctl", tracing=True, strict=True)


@pytest.mark.parametrize("text", ["false", "False", "0", ""])
def test_booleans_are_false_in_any_case(text: str) -> None:
    assert settings_from({"TRACING": text}) == StackSettings("esctl")


@pytest.mark.parametrize(("name", "text"), [("TRACING", "yes"), ("STRICT", "2"), ("AUTH", "cognito")])
def test_anything_else_is_an_error_that_names_the_variable(name: str, text: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be .*{text}"):
        settings_from({name: text})


def test_app_of_the_cdk_cli_writes_the_same_assembly_and_no_warning(stack: Synthesized, tmp_path: Path) -> None:
    # Not to be confused with the operator's own Node.js: the one of the wheel is found without PATH.
    environment = {**os.environ, "CDK_OUTDIR": str(tmp_path / "cdk.out"), "PATH": "/nonexistent"}
    done = subprocess.run(
        [sys.executable, "-m", "stack"], env=environment, capture_output=True, text=True, check=False, cwd=_root()
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "cdk.out" / "esctl.template.json").read_text() == stack.text
    manifest = json.loads((tmp_path / "cdk.out" / "manifest.json").read_text())
    assert manifest["artifacts"]["esctl"]["properties"]["tags"] == {"application": "esctl"}


def test_app_refuses_a_wrong_setting_by_name(tmp_path: Path) -> None:
    environment = {**os.environ, "CDK_OUTDIR": str(tmp_path), "TRACING": "perhaps"}
    done = subprocess.run(
        [sys.executable, "-m", "stack"], env=environment, capture_output=True, text=True, check=False, cwd=_root()
    )
    assert done.returncode == 2
    assert done.stderr == "TRACING must be true, 1, false or 0, not 'perhaps'\n"


def _root() -> Path:
    return Path(__file__).parents[2]
