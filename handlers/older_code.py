"""Code of earlier deployments that generations still need (G10): copies of the domain, in ``handlers/older/<name>/``.

A deployment puts them into the asset. They are loaded under the name of the domain's package, beside the deployed domain,
so that their imports of each other work as they did.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import MappingProxyType

import handlers
from handlers import catalogue
from handlers.projection.definition import Projection

PACKAGE = "handlers.domain"
FOLDER = Path(__file__).with_name("older")

Provided = Mapping[tuple[str, str], Projection]
"""Projections by name and fingerprint."""


@cache
def provided() -> Provided:
    """Return the projections of all copies in the asset."""
    found: dict[tuple[str, str], Projection] = {}
    for folder in sorted(FOLDER.glob("*/__init__.py")):
        found |= load(folder.parent)
    return MappingProxyType(found)


def older(name: str) -> Mapping[str, Projection]:
    """Return the earlier versions of a projection by their fingerprints."""
    return {fingerprint: each for (each_name, fingerprint), each in provided().items() if each_name == name}


def load(folder: Path) -> Provided:
    """Load a copy of the domain from its folder.

    Raises
    ------
    Exception
        Anything that importing its modules raises.
    """
    with catalogue.other_upcasters() as upcasters, _beside_the_deployed():
        spec = importlib.util.spec_from_file_location(
            PACKAGE, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        if spec is None or spec.loader is None:
            raise ImportError(f"{folder} is no package")
        module = importlib.util.module_from_spec(spec)
        sys.modules[PACKAGE] = module
        spec.loader.exec_module(module)
        projections = dict(module.registry())
        importlib.import_module(f"{PACKAGE}.upcasters")
        found = {(name, each.fingerprint()): each for name, each in projections.items()}
        for each in projections.values():
            each.upcasters = MappingProxyType(dict(upcasters))
        return found


@contextmanager
def _beside_the_deployed() -> Iterator[None]:
    """Let the domain be imported once more, and restore the deployed one."""
    importlib.import_module(PACKAGE)
    names = [name for name in sys.modules if name == PACKAGE or name.startswith(f"{PACKAGE}.")]
    deployed = {name: sys.modules.pop(name) for name in names}
    try:
        yield
    finally:
        for name in [name for name in sys.modules if name == PACKAGE or name.startswith(f"{PACKAGE}.")]:
            del sys.modules[name]
        sys.modules.update(deployed)
        handlers.domain = deployed[PACKAGE]  # type: ignore[attr-defined]
