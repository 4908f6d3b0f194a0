"""Templates, each synthesized once per test run (a synthesis takes one to three seconds)."""

from __future__ import annotations

import pytest

from handlers.domain import registry
from handlers.projection.definition import Projection
from stack.settings import StackSettings
from tests.stack.synthesized import Synthesized, synthesized


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Synthesized:
    """The stack as it is without any choice."""
    return synthesized(tmp_path_factory.mktemp("assembly"), StackSettings("esctl"))


@pytest.fixture(scope="session")
def chosen(tmp_path_factory: pytest.TempPathFactory) -> Synthesized:
    """The stack with every choice made the other way."""
    settings = StackSettings("esctl", tracing=True, strict=True, auth="iam")
    return synthesized(tmp_path_factory.mktemp("assembly"), settings)


@pytest.fixture(scope="session")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Synthesized:
    """The stack with one projection more, which follows every stream."""
    projections = {**registry(), "seat-map": Projection("seat-map", key="seatId")}
    return synthesized(tmp_path_factory.mktemp("assembly"), StackSettings("esctl"), projections=projections)
