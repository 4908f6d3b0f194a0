"""What may differ between two deployments of the same code."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast, get_args

Auth = Literal["key", "iam"]

TRUE = frozenset({"true", "1"})
FALSE = frozenset({"false", "0", ""})


@dataclass(frozen=True, slots=True)
class StackSettings:
    """The choices that the template depends on; everything else is the same for AWS and the local target.

    Parameters
    ----------
    stack_name
        CloudFormation's name of the stack.
    tracing
        X-Ray active tracing on the API and on every function.
    strict
        Event types that the catalogue doesn't know are refused.
    auth
        ``key``: the API key alone; ``iam``: the methods want a SigV4 signature besides.
    """

    stack_name: str
    tracing: bool = False
    strict: bool = False
    auth: Auth = "key"


def settings_from(environment: Mapping[str, str] | None = None) -> StackSettings:
    """Read the settings where the CDK CLI runs the app: ``STACK_NAME``, ``TRACING``, ``STRICT`` and ``AUTH``.

    Raises
    ------
    ValueError
        A value is none of those allowed; the message names the variable.
    """
    values = os.environ if environment is None else environment
    auth = values.get("AUTH", "") or "key"
    if auth not in get_args(Auth):
        raise ValueError(f"AUTH must be 'key' or 'iam', not {auth!r}")
    return StackSettings(
        stack_name=values.get("STACK_NAME", "") or "esctl",
        tracing=_boolean("TRACING", values),
        strict=_boolean("STRICT", values),
        auth=cast(Auth, auth),
    )


def _boolean(name: str, values: Mapping[str, str]) -> bool:
    text = values.get(name, "").strip().lower()
    if text in TRUE:
        return True
    if text in FALSE:
        return False
    raise ValueError(f"{name} must be true, 1, false or 0, not {values[name]!r}")
