"""Fixtures of the API's tests."""

from __future__ import annotations

import pytest

from tests.unit.api.driver import Api


@pytest.fixture
def api() -> Api:
    """An API over empty models in memory."""
    return Api()
