"""Templates, each synthesized once per test run (a synthesis takes one to three seconds)."""

from __future__ import annotations

import pytest

from handlers.domain import registry
from handlers.projection.definition import Projection
from stack.settings import StackSettings
from tests.stack.synthesized import Synthesized, synthesized, with_long_names


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Synthesized:
    """Return the stack with default settings."""
    return synthesized(tmp_path_factory.mktemp("assembly"), StackSettings("esctl"))


@pytest.fixture(scope="session")
def chosen(tmp_path_factory: pytest.TempPathFactory) -> Synthesized:
    """Return the stack with every setting changed."""
    settings = StackSettings("esctl", tracing=True, strict=True, auth="iam")
    return synthesized(tmp_path_factory.mktemp("assembly"), settings)


@pytest.fixture(scope="session")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Synthesized:
    """Return the stack with another projection, which follows every stream."""
    projections = {**registry(), "seat-map": Projection("seat-map", key="seatId")}
    return synthesized(tmp_path_factory.mktemp("assembly"), StackSettings("esctl"), projections=projections)


@pytest.fixture(scope="session")
def thirty(tmp_path_factory: pytest.TempPathFactory) -> Synthesized:
    """Return a stack with thirty projections, whose names are as long as names may be."""
    projections = {each.name: each for each in with_long_names(30)}
    return synthesized(tmp_path_factory.mktemp("assembly"), StackSettings("esctl"), projections=projections)
