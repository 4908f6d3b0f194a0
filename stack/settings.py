"""The settings of a deployment."""

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
    """The choices that the template depends on.

    Parameters
    ----------
    stack_name
        CloudFormation's name of the stack.
    tracing
        X-Ray active tracing on the API and on every function.
    strict
        Reject event types that are not in the catalogue.
    auth
        ``key``: the API key; ``iam``: a SigV4 signature too.
    """

    stack_name: str
    tracing: bool = False
    strict: bool = False
    auth: Auth = "key"


def settings_from(environment: Mapping[str, str] | None = None) -> StackSettings:
    """Read ``STACK_NAME``, ``TRACING``, ``STRICT`` and ``AUTH`` from the environment, for the CDK CLI.

    Raises
    ------
    ValueError
        A value is not allowed; the message names the variable.
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
