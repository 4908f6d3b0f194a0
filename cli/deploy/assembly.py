"""The synthesized assembly, cached by its inputs, and the upload of its files."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cli.config.state import State
from stack.settings import StackSettings

KEPT = 4  # two versions of two stacks; an assembly is about 2 MB
_FOLDER = "assemblies"
_CHECKSUM = "esctl.sha256"

Template = Mapping[str, Any]
"""A CloudFormation template as JSON: `Resources`, `Parameters`, `Outputs`."""

Synthesize = Callable[[StackSettings, Path, bool, Path | None], object]
"""(settings, output folder, validate, older code): write a cloud assembly into the folder."""


@dataclass(frozen=True, slots=True)
class Asset:
    """A file to upload and its key in the bucket."""

    path: Path
    key: str


@dataclass(frozen=True, slots=True)
class Assembly:
    """A synthesized stack: the template, parsed and as a file, and the code of its functions."""

    template: Template = field(repr=False)
    template_file: Asset
    code: tuple[Asset, ...]


class Assemblies:
    """A cache of assemblies in the state directory, keyed by the settings and by the fingerprint that `sources` returns.

    Both take the folder of older code (`cli.deploy.older_code`), or None.
    """

    def __init__(self, state: State, synthesize: Synthesize, sources: Callable[[Path | None], str]) -> None:
        self._state = state
        self._synthesize = synthesize
        self._sources = sources

    def get(
        self,
        settings: StackSettings,
        *,
        validate: bool,
        working: Callable[[str], AbstractContextManager[object]],
        older: Path | None = None,
    ) -> Assembly:
        """Return the assembly; synthesize it, displayed by `working`, if it is missing or its files are damaged."""
        key = hashlib.sha256(f"{self._sources(older)}\0{settings!r}\0{validate}".encode()).hexdigest()
        folder = self._state.path(_FOLDER, key)
        if _is_intact(folder):
            os.utime(folder)  # the least recently used are pruned
        else:
            with working("synthesizing the stack"):
                self._make(folder, settings, validate, older)
            _prune(keep=folder)
        return _read(folder)

    def _make(self, folder: Path, settings: StackSettings, validate: bool, older: Path | None) -> None:
        """Synthesize into a temporary folder and rename it, so that an interruption leaves no partial assembly."""
        partial = Path(tempfile.mkdtemp(dir=self._state.directory(_FOLDER), prefix="."))
        try:
            self._synthesize(settings, partial, validate, older)
            (partial / _CHECKSUM).write_text(_checksum(partial), encoding="utf-8")
            for path in [partial, *partial.rglob("*")]:  # private to its owner, including what Node.js wrote
                path.chmod(0o700 if path.is_dir() else 0o600)
            if not _is_intact(folder):
                shutil.rmtree(folder, ignore_errors=True)
            with suppress(OSError):  # another process was faster; its assembly is identical
                partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _prune(keep: Path) -> None:
    others = [path for path in keep.parent.glob("[!.]*") if path != keep]
    for path in sorted(others, key=lambda path: path.stat().st_mtime, reverse=True)[KEPT - 1 :]:
        shutil.rmtree(path, ignore_errors=True)


def _is_intact(folder: Path) -> bool:
    try:
        return (folder / _CHECKSUM).read_bytes() == _checksum(folder).encode()
    except OSError:
        return False


def _checksum(folder: Path) -> str:
    """Return a checksum of all files in the folder (4 ms for 2 MB)."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != _CHECKSUM:
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            digest.update(f"{path.relative_to(folder).as_posix()}\0{content}\0".encode())
    return digest.hexdigest()


def _read(folder: Path) -> Assembly:
    """Read a cloud assembly of one stack (format: `aws-cdk-lib/cloud-assembly-schema`)."""
    (manifest,), (template,) = folder.glob("*.assets.json"), folder.glob("*.template.json")
    files = json.loads(manifest.read_text(encoding="utf-8"))["files"].values()
    assets = [
        Asset(folder / file["source"]["path"], next(iter(file["destinations"].values()))["objectKey"]) for file in files
    ]
    (template_file,) = (asset for asset in assets if asset.path == template)
    return Assembly(
        json.loads(template.read_text(encoding="utf-8")),
        template_file,
        tuple(asset for asset in assets if asset != template_file),
    )
