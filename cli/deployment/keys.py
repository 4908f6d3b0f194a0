"""Which API key a deployment gives to the stack, and when none has to be given."""

from __future__ import annotations

from dataclasses import dataclass, field

from cli.deployment.model import Parameter, Stack
from cli.deployment.records import Deployed
from cli.keys import key_for_deployment
from cli.settings import Settings
from cli.state import State
from cli.targets import Target

PARAMETER = "ApiKey"


@dataclass(frozen=True, slots=True)
class KeyChoice:
    """The key to deploy with; `value` None: nobody here knows it, the stack keeps its own."""

    value: str | None = field(repr=False)
    changed: bool = True

    @property
    def parameter(self) -> Parameter:
        """The stack parameter: no value where the stack has this key already."""
        return Parameter(PARAMETER, self.value if self.changed else None)


def choose_key(settings: Settings, target: Target, stack: Stack | None, last: Deployed, state: State) -> KeyChoice:
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
    if key is None and updating and not target.is_local:
        return KeyChoice(None, changed=False)
    if key is None or not updating:
        key = key_for_deployment(target, settings, state)
    same = updating and stack is not None and last.stack_id == stack.id and last.has_key(key)
    return KeyChoice(key, changed=not same)


def keep_key(settings: Settings, target: Target, state: State) -> None:
    """Keep the key that the local stack has now; only after a deployment that succeeded, so that it is the right one."""
    if target.is_local:
        key_for_deployment(target, settings, state)
