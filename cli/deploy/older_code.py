"""The domain code of earlier deployments that generations of read models still need (rule G10 of docs/rules.md).

It is taken from the deployed asset, so nothing has to be recorded about earlier deployments, and any machine can deploy.
"""

from __future__ import annotations

import hashlib
import io
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cli.client.aws import Clients
from cli.config.state import State
from cli.deploy.plan import Stack
from handlers import older_code
from handlers.projection.definition import Projection
from handlers.projection.port import read_control
from handlers.projection.state import Control
from stack.asset import OLDER

DOMAIN = "handlers/domain"
_FOLDER = "older-code"


class Deployed(Protocol):
    """What is read of the deployed stack."""

    def controls(self, names: list[str]) -> Mapping[str, Control]:
        """Return the control items of projections that have one, by name."""
        ...

    def code(self) -> bytes | None:
        """Return the asset's zip; None if it is not in the bucket any more."""
        ...


@dataclass(frozen=True, slots=True)
class OlderCode:
    """The result of a search.

    Attributes
    ----------
    folder
        Holds the copies that are needed; None: no copy is.
    kept
        Projections of which rows are still folded by older code.
    missing
        Projections of which older code is needed, and not in the deployed asset: the new code will fold their rows.
    """

    folder: Path | None = None
    kept: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


def find(deployed: Deployed, projections: Mapping[str, Projection], state: State) -> OlderCode:
    """Return the code that generations need, and that the projections as they are now do not have."""
    needed = set(_needed(deployed.controls(list(projections)), projections))
    if not needed:
        return OlderCode()
    asset = deployed.code()
    found: set[tuple[str, str]] = set()
    copies: list[Path] = []
    with tempfile.TemporaryDirectory() as folder:
        for copy in _copies(asset, Path(folder)):
            with suppress(Exception):  # code that does not load any more cannot fold anything either
                provided = needed & older_code.load(copy).keys()
                if provided - found:
                    found |= provided
                    copies.append(copy)
        kept = _store(copies, state)
    return OlderCode(
        kept, tuple(sorted({name for name, _ in found})), tuple(sorted({name for name, _ in needed - found}))
    )


def _needed(controls: Mapping[str, Control], projections: Mapping[str, Projection]) -> Iterator[tuple[str, str]]:
    """Yield the name and fingerprint of each generation's code that is not the one to be deployed."""
    for name, control in controls.items():
        generations = [control.active, *(each.generation for each in (control.building, control.previous) if each)]
        for fingerprint in map(control.fingerprint_of, generations):
            if fingerprint is not None and fingerprint != projections[name].fingerprint():
                yield name, fingerprint


def _copies(asset: bytes | None, folder: Path) -> Iterator[Path]:
    """Extract the domain of an asset, and the older ones in it; yield the folder of each."""
    if asset is None:
        return
    with zipfile.ZipFile(io.BytesIO(asset)) as archive:
        names = [name for name in archive.namelist() if name.startswith((f"{DOMAIN}/", f"{OLDER}/"))]
        archive.extractall(folder, names)
    yield folder / DOMAIN
    yield from sorted(path for path in (folder / OLDER).glob("*") if path.is_dir())


def _store(copies: list[Path], state: State) -> Path | None:
    """Keep the copies under names that follow from their content, in a folder that does too."""
    if not copies:
        return None
    named = {_digest(copy): copy for copy in copies}
    parent = state.directory(_FOLDER)
    folder = parent / hashlib.sha256("".join(sorted(named)).encode()).hexdigest()[:16]
    if not folder.exists():
        partial = Path(tempfile.mkdtemp(dir=parent, prefix="."))
        for name, copy in named.items():
            shutil.copytree(copy, partial / name)
        for other in parent.iterdir():
            if other != partial:
                shutil.rmtree(other, ignore_errors=True)
        partial.rename(folder)
    return folder


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


class DeployedStack:
    """The deployed stack, read with boto3.

    Parameters
    ----------
    bucket
        The bucket of its assets.
    """

    def __init__(self, clients: Clients, stack: Stack, bucket: str) -> None:
        self._clients = clients
        self._stack = stack
        self._bucket = bucket

    def controls(self, names: list[str]) -> Mapping[str, Control]:
        table = self._stack.outputs.get("StatesTable")
        if table is None:  # deployed by an earlier version
            return {}
        from handlers.projection.dynamodb import DynamoDbReadModel

        found = {}
        for name in names:
            model = DynamoDbReadModel(
                self._clients.client("dynamodb"), name=name, states_table=table, rows_table="", jobs_table=""
            )
            control = read_control(model)
            if control.exists:
                found[name] = control
        return found

    def code(self) -> bytes | None:
        template = self._clients.client("cloudformation").get_template(StackName=self._stack.id)["TemplateBody"]
        keys = [
            resource["Properties"]["Code"]["S3Key"]
            for resource in template["Resources"].values()
            if resource["Type"] == "AWS::Lambda::Function" and "S3Key" in resource["Properties"].get("Code", {})
        ]
        if not keys:
            return None
        s3 = self._clients.client("s3")
        try:
            content: bytes = s3.get_object(Bucket=self._bucket, Key=keys[0])["Body"].read()
        except s3.exceptions.NoSuchKey:
            return None
        return content
