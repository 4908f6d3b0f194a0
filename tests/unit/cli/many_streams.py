"""Projections over many streams: orders, and revenue per customer, installed for a test as modules of the domain are."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from handlers import domain
from tests.support.checkout import DOMAIN


@contextmanager
def installed() -> Iterator[None]:
    """Add the modules of `tests/support/domain` to the domain of this process."""
    path = list(domain.__path__)
    domain.__path__.append(str(DOMAIN))
    domain.registry.cache_clear()
    try:
        yield
    finally:
        domain.__path__[:] = path
        for module in DOMAIN.glob("*.py"):
            sys.modules.pop(f"{domain.__name__}.{module.stem}", None)
        domain.registry.cache_clear()
