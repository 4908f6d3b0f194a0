"""What is installed is locked: every package with its hashes, the build backend included, and for `make demo` no more."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LOCKS = {path.stem: path for path in (ROOT / "requirements").glob("*.txt")}

DIRECT = {
    "product": [*PYPROJECT["project"]["dependencies"], *PYPROJECT["build-system"]["requires"], "editables"],
    "dev": PYPROJECT["project"]["optional-dependencies"]["dev"],
}
DIRECT["dev"] += DIRECT["product"]


def entries(lock: str) -> list[str]:
    """The logical lines of a lock file."""
    return LOCKS[lock].read_text(encoding="utf-8").replace("\\\n", " ").split("\n")


def locked(lock: str) -> dict[str, Requirement]:
    """The requirements of a lock file that apply to this Python and system, by name."""
    requirements = [Requirement(line.partition("--hash")[0]) for line in entries(lock) if line and line[0] != "-"]
    here = [each for each in requirements if each.marker is None or each.marker.evaluate()]
    return {canonicalize_name(each.name): each for each in here}


def test_there_is_one_lock_for_the_product_and_one_for_development() -> None:
    assert set(LOCKS) == {"product", "dev"}


@pytest.mark.parametrize("lock", DIRECT)
def test_every_line_pins_one_version_by_its_hashes_and_allows_wheels_only(lock: str) -> None:
    options, *requirements = [line for line in entries(lock) if line]

    assert options == "--only-binary :all:"
    pinned = re.compile(r"[a-z0-9-]+==[^ ]+( ; [^-]+)?( +--hash=sha256:[0-9a-f]{64})+ *")
    assert [line for line in requirements if not pinned.fullmatch(line)] == []


@pytest.mark.parametrize("lock", DIRECT)
def test_the_lock_is_whole(lock: str) -> None:
    """Walk from what pyproject.toml asks for through what the installed packages need."""
    pins = locked(lock)
    wanted = [Requirement(each) for each in DIRECT[lock]]
    seen: set[str] = set()
    while wanted:
        requirement = wanted.pop()
        name = canonicalize_name(requirement.name)
        (version,) = (specifier.version for specifier in pins[name].specifier)
        assert requirement.specifier.contains(version), requirement
        for extra in {"", *requirement.extras}:
            if (step := f"{name}[{extra}]") not in seen:
                seen.add(step)
                needs = map(Requirement, metadata.requires(name) or [])
                wanted += [each for each in needs if each.marker is None or each.marker.evaluate({"extra": extra})]

    assert {step.partition("[")[0] for step in seen} == set(pins), "a package is locked that nothing needs"


def test_development_has_the_versions_of_the_product() -> None:
    product, dev = locked("product"), locked("dev")

    assert {name: str(dev[name]) for name in product} == {name: str(each) for name, each in product.items()}
    assert not {"pytest", "mypy", "moto", "ruff"} & set(product)


@pytest.mark.skipif(shutil.which("make") is None, reason="no make")
@pytest.mark.parametrize(
    ("target", "lock"), [("demo", "product"), ("check", "dev"), ("pytest", "dev"), ("bench", "dev")]
)
def test_make_installs_one_lock_and_fetches_nothing_else(tmp_path: Path, target: str, lock: str) -> None:
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")

    said = subprocess.run(["make", "-n", target], cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    packages, project = [line for line in said.splitlines() if "pip install" in line]
    assert "--require-hashes" in packages
    assert packages.endswith(f"--requirement requirements/{lock}.txt")
    assert {"--no-index", "--no-deps", "--no-build-isolation"} <= set(project.split())
