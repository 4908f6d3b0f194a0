"""The synthesized assembly: made once per fingerprint, kept in the state directory, read from its manifests."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.deployment.model import Template
from cli.errors import DeploymentError
from cli.state import State
from cli.targets import Target
from stack.settings import StackSettings

KEPT = 4  # two stacks with two versions each; an assembly with its asset is some 10 MB
_FOLDER = "assemblies"
_CHECKSUM = "esctl.sha256"

Synthesize = Callable[[StackSettings, Path, bool], object]
"""(settings, output folder, validate): writes a cloud assembly into the folder."""


@dataclass(frozen=True, slots=True)
class Asset:
    """A file that has to be in a bucket before the stack is deployed."""

    path: Path
    bucket: str
    key: str
    is_template: bool = False


@dataclass(frozen=True, slots=True)
class Assembly:
    """One stack of an assembly, with its asset destinations resolved for a target."""

    template: Template
    template_text: str
    """The template as small as it gets: beyond 51,200 bytes it has to be uploaded."""
    assets: tuple[Asset, ...]
    tags: Mapping[str, str]

    @property
    def code(self) -> tuple[Asset, ...]:
        """The assets that functions are made of."""
        return tuple(each for each in self.assets if not each.is_template)

    @property
    def template_asset(self) -> Asset:
        """Where the template itself goes when it is too large to be sent along.

        Raises
        ------
        DeploymentError
            The assembly names no place for it.
        """
        found = next((each for each in self.assets if each.is_template), None)
        if found is None:
            raise DeploymentError("the template is too large to send, and the assembly names no bucket for it")
        return found


def fingerprint(sources: str, settings: StackSettings, *, validate: bool) -> str:
    """What an assembly depends on, in one hash: sources (see `stack.asset.source_fingerprint`) and settings."""
    return hashlib.sha256(f"{sources}\0{settings!r}\0{validate}".encode()).hexdigest()


class Assemblies:
    """The assemblies of this machine, each made once."""

    def __init__(self, state: State, synthesize: Synthesize) -> None:
        self._state = state
        self._synthesize = synthesize

    def path(self, mark: str) -> Path | None:
        """The assembly of this fingerprint, None if it has to be made or is damaged."""
        path = self._state.path(_FOLDER, mark)
        return path if _is_intact(path) else None

    def make(self, mark: str, settings: StackSettings, *, validate: bool) -> Path:
        """Synthesize; the assembly appears in one step, so an interrupted synthesis leaves none behind."""
        folder = self._state.directory(_FOLDER)
        partial = Path(tempfile.mkdtemp(dir=folder, prefix="."))
        try:
            self._synthesize(settings, partial, validate)
            (partial / _CHECKSUM).write_text(_checksum(partial), encoding="utf-8")
            _close(partial)
            _close(folder / "assets")  # the packed code, which the synthesis keeps beside the assemblies
            if not _is_intact(folder / mark):
                shutil.rmtree(folder / mark, ignore_errors=True)
            with suppress(OSError):  # somebody else was quicker: theirs is the same
                partial.rename(folder / mark)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        self._prune(folder, keep=mark)
        return folder / mark

    def _prune(self, folder: Path, keep: str) -> None:
        def newest_first(paths: Iterable[Path]) -> list[Path]:
            return sorted(paths, key=lambda path: path.stat().st_mtime, reverse=True)

        made = newest_first(path.parent for path in folder.glob("[!.]*/manifest.json") if path.parent.name != keep)
        for path in made[KEPT - 1 :]:
            shutil.rmtree(path, ignore_errors=True)
        # The packed code, which the synthesis keeps beside the assemblies.
        for path in newest_first((folder / "assets").glob("*.zip"))[KEPT:]:
            path.unlink(missing_ok=True)


def _is_intact(folder: Path) -> bool:
    try:
        return (folder / _CHECKSUM).read_bytes() == _checksum(folder).encode()
    except OSError:
        return False


def _checksum(folder: Path) -> str:
    """A checksum of all files in the folder; of 2 MB in 4 ms."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if not path.is_dir() and path.name != _CHECKSUM:
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            digest.update(f"{path.relative_to(folder).as_posix()}\0{content}\0".encode())
    return digest.hexdigest()


def _close(folder: Path) -> None:
    """Keep everything in the state directory to its owner, also what Node.js has written."""
    for path in [folder, *folder.rglob("*")]:
        if path.exists():
            path.chmod(0o700 if path.is_dir() else 0o600)


def load(directory: Path, target: Target) -> Assembly:
    """Read the target's stack from a cloud assembly (format: `aws-cdk-lib/cloud-assembly-schema`).

    Raises
    ------
    DeploymentError
        The assembly doesn't hold the stack.
    """
    artifacts = _json(directory / "manifest.json").get("artifacts", {})
    for name, artifact in artifacts.items():
        properties = artifact.get("properties", {})
        if (
            artifact.get("type") == "aws:cloudformation:stack"
            and properties.get("stackName", name) == target.stack_name
        ):
            break
    else:
        raise DeploymentError(f"the synthesized assembly holds no stack {target.stack_name} ({directory})")
    file = directory / properties["templateFile"]
    template = _json(file)
    manifests = [
        directory / each["properties"]["file"]
        for each in artifacts.values()
        if each.get("type") == "cdk:asset-manifest"
    ]
    return Assembly(
        template=template,
        template_text=json.dumps(template, separators=(",", ":")),
        assets=tuple(asset for manifest in manifests for asset in _assets(manifest, file, target)),
        tags=dict(properties.get("tags", {})),
    )


def _assets(manifest: Path, template_file: Path, target: Target) -> Iterator[Asset]:
    for asset in _json(manifest).get("files", {}).values():
        source = asset["source"]
        path = manifest.parent / source["path"]
        if source.get("packaging") != "file":
            raise DeploymentError(f"can't publish asset {path.name}: it is packaged as {source.get('packaging')}")
        for destination in asset["destinations"].values():
            yield Asset(
                path=path,
                bucket=resolved(destination["bucketName"], target),
                key=resolved(destination["objectKey"], target),
                is_template=path.resolve() == template_file.resolve(),
            )


def resolved(text: str, target: Target) -> str:
    """Fill in the placeholders of the CDK's asset manifests."""
    values = {"AccountId": target.account or "", "Region": target.region, "Partition": partition_of(target.region)}
    for name, value in values.items():
        text = text.replace(f"${{AWS::{name}}}", value)
    return text


def partition_of(region: str) -> str:
    """The partition of a region, as it stands in ARNs."""
    prefixes = {"cn-": "aws-cn", "us-gov-": "aws-us-gov"}
    return next((name for prefix, name in prefixes.items() if region.startswith(prefix)), "aws")


def _json(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document
