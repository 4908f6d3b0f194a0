"""The API key of a deployment: the operator's own, or for the local target one that is made up and kept."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

from cli.deployment.model import Parameter, Stack
from cli.deployment.records import Deployed
from cli.settings import Settings
from cli.state import State
from cli.targets import Target

PARAMETER = "ApiKey"
_FOLDER = "keys"


@dataclass(frozen=True, slots=True)
class KeyChoice:
    """The key to deploy with; `value` None: nobody here knows it, the stack keeps its own."""

    value: str | None = field(repr=False)
    changed: bool = True

    @property
    def parameter(self) -> Parameter:
        """The stack parameter: no value where the stack has this key already."""
        return Parameter(PARAMETER, self.value if self.changed else None)


class KeptKeys:
    """Keys kept on this machine, in files that only their owner may read."""

    def __init__(self, state: State) -> None:
        self._state = state

    def of(self, target: Target) -> str | None:
        """The key kept for the target."""
        return (self._state.read_text(_FOLDER, target.record) or "").strip() or None

    def keep(self, target: Target, key: str) -> None:
        """Keep the key for the target."""
        if self.of(target) != key:
            self._state.write_text(key + "\n", _FOLDER, target.record)


def choose_key(settings: Settings, target: Target, stack: Stack | None, last: Deployed, kept: KeptKeys) -> KeyChoice:
    """Decide with which key to deploy.

    Parameters
    ----------
    stack
        The stack to be updated; None where one has to be created.

    Raises
    ------
    SettingError
        `API_KEY` can't be used, or is missing for a new stack on AWS.
    """
    key = settings.checked_api_key()
    updating = stack is not None and PARAMETER in stack.parameters
    if key is None and target.is_local:
        key = kept.of(target) or secrets.token_urlsafe(24)
    if key is None:
        return KeyChoice(None, changed=False) if updating else KeyChoice(settings.required_api_key())
    same = updating and stack is not None and last.stack_id == stack.id and last.has_key(key)
    return KeyChoice(key, changed=not same)
