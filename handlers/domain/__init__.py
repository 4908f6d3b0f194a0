"""The sample domain: one small file per projection. A new file here is a new projection; nothing else needs editing."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

from handlers.projection.definition import Projection


@cache
def registry() -> Mapping[str, Projection]:
    """Return every projection by name, in the order of the names.

    Raises
    ------
    ValueError
        When two files define projections of the same name.
    """
    found: dict[str, Projection] = {}
    for info in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{info.name}")
        for value in vars(module).values():
            defined_here = isinstance(value, Projection) and value.module == module.__name__
            if defined_here and found.setdefault(value.name, value) is not value:
                raise ValueError(f"two projections are named {value.name!r}")
    return MappingProxyType(dict(sorted(found.items())))
