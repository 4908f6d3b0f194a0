"""Restoring what was saved (see `saving`) at a start, and nothing that is damaged."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cli.emulator.paths import remove
from cli.errors import EmulatorError

_CODE = "lambda-blobs"
_CODE_NAME = re.compile(r'"code_blob_ref": "([0-9a-f]{64})"')
_SEAL = re.compile(rb', "port": (\d{1,5}), "sha256": "([0-9a-f]{64})"\}\Z')
_SEAL_SUM_BYTES = len(', "sha256": ""}') + 64
_DEPLOYMENTS = "esctl-assets-"  # buckets whose objects every deployment uploads where they are missing
_DESCRIPTION = ".meta.json"  # of an object, beside it
# Tables, logs and objects hold the user's own data, where an address is just text.
_USER_DATA = frozenset({"dynamodb", "logs", "cloudwatch_logs", "s3"})
_RESET = "Put the files back, or start empty, without any event:  esctl local reset"

_logger = logging.getLogger("esctl.restore")


@dataclass(frozen=True, slots=True)
class SavedService:
    """The saved state of one service.

    Attributes
    ----------
    port
        The emulator's port in the addresses in it; None where a version before seals has written it.
    """

    path: Path
    text: str
    port: int | None

    def at_port(self, port: int) -> str:
        """Return the text with the emulator's own addresses as they are now."""
        if self.path.stem in _USER_DATA or port == self.port:
            return self.text
        last = r"\d+" if self.port is None else rf"{self.port}\b"
        return re.sub(rf"http://(?:127\.0\.0\.1|localhost):{last}", f"http://127.0.0.1:{port}", self.text)


def read_saved(services: Path, objects: Path, *, copies: Iterable[Path] = ()) -> dict[str, SavedService]:
    """Read what is saved, by service, and check that it is whole.

    Code of functions that is damaged is written again, from the deployment's objects or from other copies; objects of
    deployments are removed where they are damaged, so that the next deployment uploads them.

    Parameters
    ----------
    services, objects
        The folders of the services' state and of the objects in buckets.
    copies
        Files that may have the same content as a function's code.

    Raises
    ------
    EmulatorError
        Names every file that is damaged. The emulator would start without it, and then save over it.
    """
    for rest in (*services.glob("*.tmp"), *services.glob(f"{_CODE}/*.tmp")):  # of a save that was killed
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
        raise EmulatorError("what the local target has saved is damaged", _RESET, faults=faults)
    return saved


def _reason(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _read(path: Path) -> SavedService:
    """Read one service's file.

    Raises
    ------
    OSError, ValueError
    """
    content = path.read_bytes()
    seal = _SEAL.search(content[-128:])
    if seal is not None:
        if hashlib.sha256(content[:-_SEAL_SUM_BYTES]).hexdigest().encode() != seal[2]:
            raise ValueError("its content is not what was saved")
        return SavedService(path, content.decode(), int(seal[1]))
    try:
        document = json.loads(content)
    except ValueError:
        raise ValueError("it was cut off, or is not JSON") from None
    # The emulator's own form, which it has before it is first saved by us.
    if not isinstance(document, dict) or set(document) != {"__ministack_format__", "payload"}:
        raise ValueError("it is not the state of a service")
    return SavedService(path, content.decode(), None)


def _restore_code(folder: Path, wanted: set[str], copies: Iterable[Path]) -> list[str]:
    """Write the code of functions again where it is damaged; what can't be, as faults."""
    damaged = {name for name in wanted if _sum_of(folder / f"{name}.zip") != name}
    if not damaged:
        return []
    for copy in copies:
        name = _sum_of(copy)
        if name in damaged:
            _logger.warning("the code %s was damaged; it is restored from %s", name, copy)
            folder.mkdir(exist_ok=True)
            remove(folder / f"{name}.zip")
            shutil.copyfile(copy, folder / f"{name}.zip")
            damaged.remove(name)
    return [f"{folder / name}.zip: the code of a function is missing or not what was saved" for name in sorted(damaged)]


def _remove_damaged_objects(objects: Path) -> None:
    """Remove objects of deployments that are damaged: the emulator would believe the size and hash beside them."""
    for described in objects.glob(f"*/{_DEPLOYMENTS}*/**/*{_DESCRIPTION}"):
        path = described.with_name(described.name.removesuffix(_DESCRIPTION))
        try:
            content, description = path.read_bytes(), json.loads(described.read_bytes())
            etag = f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'
            whole = description["size"] == len(content) and description["etag"] in (etag, None)
        except (OSError, ValueError, TypeError, KeyError):
            whole = False
        if not whole:
            _logger.warning("the object %s was damaged; it is removed", path)
            remove(path)
            remove(described)


def _sum_of(path: Path) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None


def restore_services(saved: dict[str, SavedService], port: int) -> None:
    """Give the emulator of this process what was saved; the dictionary is empty after that.

    Raises
    ------
    EmulatorError
        A service does not understand its state.
    """
    from ministack import app
    from ministack.core.persistence import _json_object_hook, _state_format_version

    for name, module in app._state_map.items():
        service = saved.pop(name, None)
        if service is None:
            continue
        try:
            document = json.loads(service.at_port(port), object_hook=_json_object_hook)
            if document["__ministack_format__"] > _state_format_version(name):
                raise ValueError("a newer version of the emulator has saved it")
            payload = document["payload"]
            if name == "lambda":
                # The records of the tables' streams are not saved, so streams begin again: with the old positions, as
                # many new records as there were old ones would never be delivered.
                payload.pop("dynamodb_stream_positions", None)
            if payload:
                app._get_module(module).load_persisted_state(payload)
        except Exception as error:
            what = f"{service.path}: {type(error).__name__}: {error}"
            raise EmulatorError("what the local target has saved can't be restored", _RESET, faults=[what]) from error
