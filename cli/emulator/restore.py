"""Restore saved data (see `saving`) at a start, unless it is damaged."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cli.emulator.process import remove
from cli.errors import EmulatorError

_CODE = "lambda-blobs"
_CODE_NAME = re.compile(r'"code_blob_ref": "([0-9a-f]{64})"')
_SEAL = re.compile(rb', "port": (\d{1,5}), "sha256": "([0-9a-f]{64})"\}\Z')
_SEAL_SUM_BYTES = len(', "sha256": ""}') + 64
_DEPLOYMENTS = "esctl-assets-"  # buckets whose missing objects every deployment uploads
_DESCRIPTION = ".meta.json"  # suffix of the file that describes an object
# Tables, logs and objects hold the user's own data: an address in it is just text.
_USER_DATA = frozenset({"dynamodb", "logs", "cloudwatch_logs", "s3"})
_RESET = "Restore the files, or start empty, without any event:  esctl local reset"

_logger = logging.getLogger("esctl.restore")


@dataclass(frozen=True, slots=True)
class SavedService:
    """The saved state of one service."""

    path: Path
    text: str
    port: int | None  # the emulator's in its addresses; None if saved by the emulator itself

    def at_port(self, port: int) -> str:
        """Return the text with the port in the emulator's own addresses replaced."""
        if self.path.stem in _USER_DATA or port == self.port:
            return self.text
        last = r"\d+" if self.port is None else rf"{self.port}\b"
        return re.sub(rf"http://(?:127\.0\.0\.1|localhost):{last}", f"http://127.0.0.1:{port}", self.text)


def read_saved(services: Path, objects: Path, *, copies: Iterable[Path] = ()) -> dict[str, SavedService]:
    """Read and verify the saved state in the folders of the services and of the objects in buckets.

    Damaged function code is restored from the deployment's objects or from ``copies``. Damaged objects of deployments are
    removed, so that the next deployment uploads them. Any other damage is an `EmulatorError` that names every file: the
    emulator would start without it, and then overwrite it.
    """
    for rest in (*services.glob("*.tmp"), *services.glob(f"{_CODE}/*.tmp")):  # left by a killed save
        rest.unlink()
    saved, faults = {}, []
    for path in sorted(services.glob("*.json")):
        try:
            saved[path.stem] = _read(path)
        except (OSError, ValueError) as error:
            faults.append(f"{path}: {_reason(error)}")
    code = _CODE_NAME.findall(saved["lambda"].text) if "lambda" in saved else ()
    faults += _restore_code(services / _CODE, set(code), [*objects.rglob("*.zip"), *copies])
    _remove_damaged_objects(objects)
    if faults:
        raise EmulatorError("the saved data of the local target is damaged", _RESET, faults=faults)
    return saved


def _reason(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _read(path: Path) -> SavedService:
    """Read one service's file; raise `OSError` or `ValueError`."""
    content = path.read_bytes()
    seal = _SEAL.search(content[-128:])
    if seal is not None:
        if hashlib.sha256(content[:-_SEAL_SUM_BYTES]).hexdigest().encode() != seal[2]:
            raise ValueError("its checksum does not match")
        return SavedService(path, content.decode(), int(seal[1]))
    try:
        document = json.loads(content)
    except ValueError:
        raise ValueError("it is truncated or not JSON") from None
    # The emulator's own format, before the first save by esctl.
    if not isinstance(document, dict) or set(document) != {"__ministack_format__", "payload"}:
        raise ValueError("it is not the state of a service")
    return SavedService(path, content.decode(), None)


def _restore_code(folder: Path, wanted: set[str], copies: Iterable[Path]) -> list[str]:
    """Restore damaged function code from copies; return what can't be restored as faults."""
    damaged = {name for name in wanted if _sum_of(folder / f"{name}.zip") != name}
    if not damaged:
        return []
    for copy in copies:
        name = _sum_of(copy)
        if name in damaged:
            _logger.warning("restored damaged code %s from %s", name, copy)
            folder.mkdir(exist_ok=True)
            remove(folder / f"{name}.zip")
            shutil.copyfile(copy, folder / f"{name}.zip")
            damaged.remove(name)
    return [f"{folder / name}.zip: this function code is missing or damaged" for name in sorted(damaged)]


def _remove_damaged_objects(objects: Path) -> None:
    """Remove damaged objects of deployments: the emulator would trust the size and hash in their description."""
    for described in objects.glob(f"*/{_DEPLOYMENTS}*/**/*{_DESCRIPTION}"):
        path = described.with_name(described.name.removesuffix(_DESCRIPTION))
        try:
            content, description = path.read_bytes(), json.loads(described.read_bytes())
            etag = f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'
            whole = description["size"] == len(content) and description["etag"] in (etag, None)
        except (OSError, ValueError, TypeError, KeyError):
            whole = False
        if not whole:
            _logger.warning("removed damaged object %s", path)
            remove(path)
            remove(described)


def _sum_of(path: Path) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None


def restore_services(saved: dict[str, SavedService], port: int) -> None:
    """Load the saved state into the emulator of this process, emptying the dictionary."""
    from ministack import app
    from ministack.core.persistence import _json_object_hook, _state_format_version

    for name, module in app._state_map.items():
        service = saved.pop(name, None)
        if service is None:
            continue
        try:
            document = json.loads(service.at_port(port), object_hook=_json_object_hook)
            if document["__ministack_format__"] > _state_format_version(name):
                raise ValueError("a newer version of the emulator saved it")
            payload = document["payload"]
            if name == "lambda":
                # Stream records are not saved, so streams start empty: with the old positions, as many new records would
                # be skipped.
                payload.pop("dynamodb_stream_positions", None)
            if payload:
                app._get_module(module).load_persisted_state(payload)
        except Exception as error:
            what = f"{service.path}: {type(error).__name__}: {error}"
            raise EmulatorError(
                "the saved data of the local target can't be restored", _RESET, faults=[what]
            ) from error
