from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.cli.cli_driver import Esctl
from tests.unit.cli.fake_api import FakeApi, deployed_at, serving


@pytest.fixture
def esctl(tmp_path: Path) -> Esctl:
    return Esctl(tmp_path)


@pytest.fixture
def api(esctl: Esctl) -> Iterator[FakeApi]:
    """A deployed local stack, its API answered by a fake."""
    with serving(FakeApi()) as fake:
        deployed_at(esctl, fake)
        yield fake
