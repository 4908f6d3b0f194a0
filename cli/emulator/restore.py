"""What has to be changed in the saved state before the emulator loads it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

# Addresses of the emulator itself: queue URLs, and the like, with the port of the time when they were made.
_ADDRESS = re.compile(r"http://(?:127\.0\.0\.1|localhost):\d+")
# Tables, logs and objects hold the user's own data, where an address is just text.
_USER_DATA = frozenset({"dynamodb", "logs", "cloudwatch_logs", "s3"})
_ADDRESS_FILE = "address"


_PARSED_BYTES_MAX = 8_000_000  # parsing more would be felt at every start; of larger files the end is looked at


def damaged(services: Path, *, parsed_bytes_max: int = _PARSED_BYTES_MAX) -> list[Path]:
    """Saved files that can't be read back. The emulator would begin without them, and then save over them."""
    return [path for path in sorted(services.glob("*.json")) if not _is_whole(path, parsed_bytes_max)]


def _is_whole(path: Path, parsed_bytes_max: int) -> bool:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0 if size <= parsed_bytes_max else size - 1)
        content = file.read()
    if size > parsed_bytes_max:
        return content == b"}"
    try:
        json.loads(content)
    except ValueError:
        return False
    return True


def adapt_saved_state(services: Path, endpoint_url: str) -> None:
    """Make the saved state fit this run.

    Parameters
    ----------
    services
        The folder with one JSON file per service.
    endpoint_url
        The emulator's address from now on.
    """
    for path in services.glob("*.tmp"):  # of a save that was killed
        path.unlink()
    last = services / _ADDRESS_FILE
    if last.exists() and last.read_text() != endpoint_url:
        for path in services.glob("*.json"):
            if path.stem not in _USER_DATA:
                _rewrite(path, lambda text: _ADDRESS.sub(endpoint_url, text))
    last.write_text(endpoint_url)
    _rewrite(services / "lambda.json", without_stream_positions)


def without_stream_positions(text: str) -> str:
    """Lambda's saved state without its places in the tables' streams.

    The streams' records are not saved, so the streams begin anew: with the old places, as many new records as there were
    old ones would never be delivered.
    """
    document = json.loads(text)
    positions = document.get("payload", {}).get("dynamodb_stream_positions")
    if isinstance(positions, dict) and isinstance(positions.get("data"), dict):
        positions["data"] = {}
    return json.dumps(document)


def _rewrite(path: Path, change: Callable[[str], str]) -> None:
    try:
        text = path.read_text(encoding="utf-8")
        changed = change(text)
    except (FileNotFoundError, ValueError):  # missing, or damaged: the emulator begins without it and says so
        return
    if changed != text:
        temporary = path.with_suffix(".tmp")
        temporary.write_text(changed, encoding="utf-8")
        os.replace(temporary, path)
