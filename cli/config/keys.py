"""The API key and the local target's access key: made once, found again for calls, never shown unless asked for."""

from __future__ import annotations

import re
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from cli.config.settings import Settings, is_api_key
from cli.config.state import State
from cli.config.targets import Target
from cli.errors import AccessError

if TYPE_CHECKING:
    from cli.client.aws import Clients

_FOLDER = "keys"
_RANDOM_BYTES = 20  # 40 hexadecimal characters; API Gateway wants 20 to 128
_ACCESS_KEY = "local-access-key"
# AWS allows 16 to 128 word characters in an access key id; a number of 12 digits would choose an account in the emulator.
_ACCESS_KEY_FORM = re.compile(r"ESCTL[0-9A-F]{40}", re.ASCII)


def choose_key(target: Target, settings: Settings, state: State, *, has_key: bool) -> str | None:
    """Choose the key to deploy with: ``API_KEY``; on the local target else the one kept, else a new one.

    Parameters
    ----------
    has_key
        The stack exists, with a key.

    Returns
    -------
    The key; None on AWS where a stack is to keep the one it has.

    Raises
    ------
    SettingError
        ``API_KEY`` can't be used, or is missing for a new stack on AWS.
    """
    if target.is_local:
        return settings.checked_api_key() or kept_key(target, state) or secrets.token_hex(_RANDOM_BYTES)
    return settings.checked_api_key() if has_key else settings.required_api_key()


def keep_key(target: Target, state: State, key: str) -> None:
    """Keep the key of a local stack in the state directory."""
    if key != kept_key(target, state):
        state.write_text(key + "\n", _FOLDER, target.record)


def key_for_calls(target: Target, settings: Settings, state: State, clients: Clients) -> str:
    """The key that the deployed API wants: the one set or kept here, else the deployed one.

    Raises
    ------
    AccessError
        It can't be found out.
    SettingError
        ``API_KEY`` can't be one.
    """
    # Checked first: what does not fit into a header would be named, whole, in the HTTP library's complaint.
    if target.is_local:
        key = kept_key(target, state) or _restored(target, state, clients)
    else:
        key = settings.checked_api_key() or _asked_for(target, clients)
    if key is None:
        again = f"esctl deploy {target.flags}" if target.is_local else "set API_KEY to the key it was deployed with"
        raise AccessError(f"the API key of {target.label} is not known here", f"Make it known:  {again}")
    return key


def kept_key(target: Target, state: State) -> str | None:
    """The key kept for a local stack; None if there is none, or what is kept can't be a key."""
    text = state.read_text(_FOLDER, target.record) or ""
    key = text.strip()
    # Without its line end the file was cut off, however long the rest is.
    return key if text.endswith("\n") and is_api_key(key) else None


def _restored(target: Target, state: State, clients: Clients) -> str | None:
    """Ask the local stack for its key, and keep it again."""
    key = _asked_for(target, clients)
    if key is not None:
        state.write_text(key + "\n", _FOLDER, target.record)
    return key


def _asked_for(target: Target, clients: Clients) -> str | None:
    identifier = target.outputs.get("ApiKeyId")
    if identifier is None:
        return None
    from cli.client.aws import errors

    with errors():
        return clients.client("apigateway").get_api_key(apiKey=identifier, includeValue=True).get("value")


def local_access_key_path(state: State) -> Path:
    """Return the file that holds the local target's access key id."""
    return state.path(_FOLDER, _ACCESS_KEY)


def local_access_key(state: State) -> str | None:
    """The access key id that the local target asks for; None before its first start."""
    kept = (state.read_text(_FOLDER, _ACCESS_KEY) or "").strip()
    return kept if _ACCESS_KEY_FORM.fullmatch(kept) else None


def made_local_access_key(state: State) -> str:
    """The access key id that the local target asks for, made where there is none yet; call it with the start lock held."""
    key = local_access_key(state)
    if key is None:
        key = f"ESCTL{secrets.token_hex(_RANDOM_BYTES).upper()}"
        state.write_text(key + "\n", _FOLDER, _ACCESS_KEY)
    return key
