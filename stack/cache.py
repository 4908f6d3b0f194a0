"""Where things are kept that can be made again at any time."""

from __future__ import annotations

from pathlib import Path

from platformdirs import user_cache_path


def cache_folder(name: str) -> Path:
    """Name a folder in the user's cache (``XDG_CACHE_HOME`` and its like); it need not exist yet."""
    return user_cache_path("esctl", appauthor=False) / name
