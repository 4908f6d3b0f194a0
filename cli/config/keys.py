"""The API key and the local target's access key: generated once, kept in the state directory."""

from __future__ import annotations

import re
import secrets
from pathlib import Path

from cli.config.settings import Settings, is_api_key
from cli.config.state import State
from cli.config.targets import Target

_FOLDER = "keys"
_RANDOM_BYTES = 20  # 40 hexadecimal characters; API Gateway requires 20 to 128
_ACCESS_KEY = "local-access-key"
# AWS allows 16 to 128 word characters in an access key id; the emulator takes 12 digits for an account.
_ACCESS_KEY_FORM = re.compile(r"ESCTL[0-9A-F]{40}", re.ASCII)


def choose_key(target: Target, settings: Settings, state: State, *, has_key: bool) -> str | None:
    """Choose the key to deploy with: ``API_KEY``; otherwise, on the local target, the kept or a new one.

    A stack on AWS that exists and ``has_key`` keeps it: None. For a new one, a missing ``API_KEY`` is a `SettingError`.
    """
    if target.keeps_key:
        return settings.checked_api_key() or kept_key(target, state) or secrets.token_hex(_RANDOM_BYTES)
    return settings.checked_api_key() if has_key else settings.required_api_key()


def keep_key(target: Target, state: State, key: str) -> None:
    """Store the key of a local stack in the state directory."""
    if key != kept_key(target, state):
        state.write_text(key + "\n", _FOLDER, target.record)


def kept_key(target: Target, state: State) -> str | None:
    """Return the key kept for a local stack; None if it is missing or invalid."""
    text = state.read_text(_FOLDER, target.record) or ""
    key = text.strip()
    # A file without a final newline was truncated, however long the rest is.
    return key if text.endswith("\n") and is_api_key(key) else None


def local_access_key_path(state: State) -> Path:
    """Return the file that holds the local target's access key id."""
    return state.path(_FOLDER, _ACCESS_KEY)


def local_access_key(state: State) -> str | None:
    """Return the access key id that the local target requires; None before its first start."""
    kept = (state.read_text(_FOLDER, _ACCESS_KEY) or "").strip()
    return kept if _ACCESS_KEY_FORM.fullmatch(kept) else None


def ensure_local_access_key(state: State) -> str:
    """Return the access key id that the local target requires, created if missing. The caller holds the start lock."""
    key = local_access_key(state)
    if key is None:
        key = f"ESCTL{secrets.token_hex(_RANDOM_BYTES).upper()}"
        state.write_text(key + "\n", _FOLDER, _ACCESS_KEY)
    return key
