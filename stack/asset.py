"""The code asset: one zip with ``handlers/`` and what it imports, the same for every function.

The same sources give the same bytes, independent of checkout path, umask, clock and Python version. Its hash names it in the
bucket, so an unchanged deployment uploads nothing. It contains the installed (locked) distributions: no network, no
Docker, and nothing compiled, because the same zip runs on Graviton and on the operator's machine.
"""

from __future__ import annotations

import hashlib
import os
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

import handlers
import stack

REQUIRED = ("aws-lambda-powertools", "aws-xray-sdk", "fastjsonschema", "simplejson")
"""The distributions that ``handlers`` imports; their requirements are added."""

IN_RUNTIME = frozenset({"boto3", "botocore", "s3transfer", "urllib3", "python-dateutil", "six"})
"""Part of the Lambda runtime."""

LEFT_OUT = re.compile(
    r"""
    (^|/)(__pycache__|tests?)/            # caches and test suites
    | \.(pyc|so|pyd|dylib|c|h|pyi)$       # compiled, or unused at run time
    | (^|/)py\.typed$
    | (^|/)[^/]+\.(dist-info|data)/
    | (^|/)\. | ~$                        # .DS_Store, editors' files
    | ^aws_lambda_powertools/event_handler/       # 2.2 MB; our API layer is handlers/api
    | ^aws_lambda_powertools/utilities/(?!(__init__|serialization)\.py|batch/|data_classes/|jmespath_utils/|typing/)
    """,
    re.VERBOSE,
)
"""Paths that are not packed. A test imports every function from the remaining files."""

EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time in a zip
REGULAR_FILE = 0o100644 << 16  # readable by the function's user, whatever the umask
UNIX = 3
OLDER = "handlers/older"
"""Where the asset has copies of the domain of earlier deployments."""

KEPT = 8  # assets of 1.6 MB; more than are deployed concurrently


@dataclass(frozen=True, slots=True)
class CodeAsset:
    """A packed asset: the zip, the SHA-256 of its bytes (hex), and its size."""

    path: Path
    sha256: str
    size_bytes: int


def build_asset(outdir: Path, older: Path | None = None) -> CodeAsset:
    """Pack the code asset into ``outdir``, unless it is there and unchanged.

    Parameters
    ----------
    older
        A folder with copies of the domain that generations still need (`handlers.older_code`); None: there are none.

    Raises
    ------
    importlib.metadata.PackageNotFoundError
        A locked distribution is not installed.
    """
    name = f"code-{_contents_key(older)[:16]}"
    for path in outdir.glob(f"{name}-*.zip"):
        asset = _described(path)
        if path.stem == f"{name}-{asset.sha256}":
            return asset
        path.unlink(missing_ok=True)  # damaged: the content does not match the name
    outdir.mkdir(parents=True, exist_ok=True)
    partial = outdir / f"{name}.{os.getpid()}"
    _pack(partial, older)
    path = outdir / f"{name}-{_described(partial).sha256}.zip"
    partial.replace(path)  # atomic, because others may pack concurrently
    _prune(outdir)
    return _described(path)


def _described(path: Path) -> CodeAsset:
    packed = path.read_bytes()
    return CodeAsset(path=path, sha256=hashlib.sha256(packed).hexdigest(), size_bytes=len(packed))


def source_fingerprint(older: Path | None = None) -> str:
    """Return a hash of all inputs of the assembly except its settings: our sources and the installed versions.

    It takes a few milliseconds and does not import the CDK, so that an unchanged deployment can skip the synthesis.
    """
    digest = hashlib.sha256(_contents_key(older).encode())
    for name, content in _files_of(_package_root(stack), "stack"):
        _add(digest, name, content.read_bytes())
    for distribution in ("aws-cdk-lib", "constructs"):
        _add(digest, distribution, metadata.version(distribution).encode())
    return digest.hexdigest()


def _contents_key(older: Path | None) -> str:
    """Return a hash of the asset's inputs: our files by content, vendored ones by version."""
    digest = hashlib.sha256(LEFT_OUT.pattern.encode())
    for name, path in _our_files(older):
        _add(digest, name, path.read_bytes())
    for distribution in vendored():
        _add(digest, distribution, metadata.version(distribution).encode())
    return digest.hexdigest()


def _add(digest: hashlib._Hash, name: str, content: bytes) -> None:
    digest.update(f"{name}\0{len(content)}\0".encode())
    digest.update(content)


@cache
def vendored() -> tuple[str, ...]:
    """Return the distributions in the asset: `REQUIRED` and their requirements, except the runtime's own."""
    found: set[str] = set()
    waiting = list(REQUIRED)
    while waiting:
        name = waiting.pop()
        if name in found or name in IN_RUNTIME:
            continue
        found.add(name)
        waiting += [_name_of(line) for line in metadata.requires(name) or () if "extra ==" not in line]
    return tuple(sorted(found))


def _name_of(requirement: str) -> str:
    """``'typing-extensions<5,>=4.11'`` → ``'typing-extensions'``, normalized."""
    name = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert name is not None, requirement  # noqa: S101 - the metadata of an installed distribution is well-formed
    return re.sub(r"[-_.]+", "-", name.group()).lower()


def _package_root(package: object) -> Path:
    return Path(str(getattr(package, "__file__", ""))).resolve().parent


def _files_of(root: Path, prefix: str) -> list[tuple[str, Path]]:
    """List a package's files as (path in the zip, path here), sorted."""
    files = ((f"{prefix}/{path.relative_to(root).as_posix()}", path) for path in root.rglob("*") if path.is_file())
    return sorted((name, path) for name, path in files if not LEFT_OUT.search(name))


def _our_files(older: Path | None) -> list[tuple[str, Path]]:
    copies = [] if older is None else _files_of(older, OLDER)
    return [*_files_of(_package_root(handlers), "handlers"), *copies]


def _vendored_files() -> Iterator[tuple[str, Path]]:
    for distribution in vendored():
        for file in metadata.files(distribution) or ():
            name = file.as_posix()
            if not name.startswith("..") and not LEFT_OUT.search(name):
                yield name, Path(str(file.locate()))


def _prune(outdir: Path) -> None:
    """Delete old assets."""
    packed = sorted(outdir.glob("code-*.zip"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in packed[KEPT:]:
        path.unlink(missing_ok=True)


def _pack(path: Path, older: Path | None) -> None:
    """Write the zip uncompressed: the output of zlib, and so the hash, depends on its version."""
    members = dict([*_vendored_files(), *_our_files(older)])
    with zipfile.ZipFile(path, "w", compression=zipfile.ZIP_STORED) as archive:
        for name in sorted(members):
            entry = zipfile.ZipInfo(name, date_time=EPOCH)
            entry.create_system = UNIX
            entry.external_attr = REGULAR_FILE
            archive.writestr(entry, members[name].read_bytes())
