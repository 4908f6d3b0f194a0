"""A copy of this checkout with more projections in its domain, as somebody has who added them."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOMAIN = Path(__file__).with_name("domain")

# What a checkout needs to run, besides what is installed.
_COPIED = ("cli", "handlers", "stack", "requirements", "pyproject.toml")


def checkout_with(folder: Path, modules: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Copy the checkout into a folder, with modules of `tests/support/domain` in its domain.

    Returns
    -------
    tuple
        The command that runs its ``esctl``, and the variables that the command needs.
    """
    for name in _COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    for module in modules:
        shutil.copy(DOMAIN / f"{module}.py", folder / "handlers" / "domain" / f"{module}.py")
    return [sys.executable, "-m", "cli.shell.main"], {"PYTHONPATH": str(folder), "PYTHONSAFEPATH": "1"}
