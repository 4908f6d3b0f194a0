"""The sample domain: projections, event schemas (``events/<TYPE>.json``) and upcasters.

Every module that defines a `Projection` is found here; nothing else needs editing.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

from handlers.projection.definition import Projection


@cache
def registry() -> Mapping[str, Projection]:
    """Return all projections, sorted by name.

    Raises
    ------
    ValueError
        Two projections have the same name.
    """
    found: dict[str, Projection] = {}
    for info in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{info.name}")
        for value in vars(module).values():
            defined_here = isinstance(value, Projection) and value.module == module.__name__
            if defined_here and found.setdefault(value.name, value) is not value:
                raise ValueError(f"two projections are named {value.name!r}")
    return MappingProxyType(dict(sorted(found.items())))
