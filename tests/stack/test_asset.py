"""The code asset: the same bytes from the same sources, and complete."""

from __future__ import annotations

import hashlib
import os
import pkgutil
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

import handlers.functions
from stack.asset import build_asset, source_fingerprint, vendored

BY_THE_RUNTIME = ("boto3", "botocore", "s3transfer", "urllib3", "dateutil", "six.py")


@pytest.fixture(scope="module")
def extracted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the unpacked asset."""
    folder = tmp_path_factory.mktemp("code")
    with zipfile.ZipFile(build_asset(folder / "zip").path) as archive:
        archive.extractall(folder / "code")
    return folder / "code"


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with only the packages of the Lambda runtime (jmespath is in the asset)."""
    folder = tmp_path_factory.mktemp("runtime")
    for name in BY_THE_RUNTIME:
        distribution = metadata.distribution("python-dateutil" if name == "dateutil" else name.removesuffix(".py"))
        (folder / name).symlink_to(Path(str(distribution.locate_file(name))))
    return folder


def test_same_sources_give_the_same_bytes(tmp_path: Path) -> None:
    umask = os.umask(0o077)
    try:
        first = build_asset(tmp_path / "one")
    finally:
        os.umask(umask)
    second = build_asset(tmp_path / "with a space" / "two")
    assert first.path.read_bytes() == second.path.read_bytes()
    assert first.sha256 == second.sha256 == hashlib.sha256(first.path.read_bytes()).hexdigest()
    assert first.size_bytes == first.path.stat().st_size


def test_members_carry_no_trace_of_where_and_when(tmp_path: Path) -> None:
    with zipfile.ZipFile(build_asset(tmp_path).path) as archive:
        members = archive.infolist()
    assert [each.filename for each in members] == sorted({each.filename for each in members})
    assert {each.date_time for each in members} == {(1980, 1, 1, 0, 0, 0)}
    assert {each.external_attr >> 16 for each in members} == {0o100644}
    # Deflated bytes differ from one version of zlib to the next.
    assert {each.compress_type for each in members} == {zipfile.ZIP_STORED}


def test_unchanged_sources_are_not_packed_again(tmp_path: Path) -> None:
    first = build_asset(tmp_path)
    written = first.path.stat().st_mtime_ns
    assert build_asset(tmp_path) == first
    assert first.path.stat().st_mtime_ns == written


@pytest.mark.parametrize("damage", [lambda packed: packed[:1000], lambda packed: packed[:500] + b"\xff" + packed[501:]])
def test_a_damaged_asset_is_packed_again(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    first = build_asset(tmp_path)
    packed = first.path.read_bytes()
    first.path.write_bytes(damage(packed))

    assert build_asset(tmp_path) == first
    assert first.path.read_bytes() == packed


def test_asset_is_pure_python_and_small(extracted: Path) -> None:
    files = [path for path in extracted.rglob("*") if path.is_file()]
    assert not [path for path in files if path.suffix in {".so", ".pyd", ".pyc", ".c"}]
    assert not [path for path in extracted.iterdir() if path.name.split(".")[0] in {"boto3", "botocore", "aws_cdk"}]
    assert sum(path.stat().st_size for path in files) < 3_000_000


def test_asset_holds_what_the_handlers_need_and_no_more() -> None:
    assert set(vendored()) == {
        "aws-lambda-powertools",
        "aws-xray-sdk",
        "fastjsonschema",
        "jmespath",
        "simplejson",
        "typing-extensions",
        "wrapt",
    }


def test_catalogue_is_in_the_asset(extracted: Path) -> None:
    assert (extracted / "handlers" / "domain" / "events" / "ITEM_CREATED.json").is_file()


@pytest.mark.parametrize("name", sorted(each.name for each in pkgutil.iter_modules(handlers.functions.__path__)))
def test_function_starts_from_the_asset_and_boto3_alone(extracted: Path, runtime: Path, name: str) -> None:
    # `-I -S`: neither the working directory nor this environment's packages, as in Lambda.
    code = (
        f"import sys; sys.path[:0] = [{str(extracted)!r}, {str(runtime)!r}]\n"
        f"from handlers.functions.{name} import handler\n"
        "assert callable(handler)\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", code],
        env={
            "AWS_DEFAULT_REGION": "eu-central-1",
            "TRACING": "true",
            "POWERTOOLS_SERVICE_NAME": name,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_tracer_is_in_the_asset(extracted: Path, runtime: Path) -> None:
    code = (
        f"import sys; sys.path[:0] = [{str(extracted)!r}, {str(runtime)!r}]\n"
        "from aws_lambda_powertools import Logger, Metrics, Tracer\n"
        "Tracer(service='x', disabled=True).capture_lambda_handler(lambda event, context: None)\n"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-B", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_fingerprint_follows_the_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = source_fingerprint()
    assert source_fingerprint() == before
    shutil.copytree(Path(handlers.__file__).parent, tmp_path / "handlers")
    monkeypatch.setattr(handlers, "__file__", str(tmp_path / "handlers" / "__init__.py"))
    assert source_fingerprint() == before
    (tmp_path / "handlers" / "clock.py").write_text("# another clock\n")
    assert source_fingerprint() != before


def test_fingerprint_never_loads_the_cdk() -> None:
    code = (
        "import sys; from stack.asset import source_fingerprint; source_fingerprint(); print('aws_cdk' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
