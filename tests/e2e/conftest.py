"""The one deployed stack of all end-to-end tests; it is deployed when the first test asks for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.support import Machine, Stack


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack on a local target of its own, on a free port. Shared: see `Stack` about names of a test's own."""
    stack = Stack(tmp_path_factory.mktemp("stack"))
    try:
        stack.deploy()
        yield stack
    finally:
        stack.stop()


@pytest.fixture
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine on which nothing is deployed; a local target that a test starts on it is stopped at the end."""
    machine = Machine(tmp_path_factory.mktemp("machine"))
    try:
        yield machine
    finally:
        machine.esctl("local", "stop")
