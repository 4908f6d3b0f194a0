"""The settings of a deployment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast, get_args

Auth = Literal["key", "iam"]

DEFAULT_STACK_NAME = "esctl"

_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


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


def settings_from(values: Mapping[str, str]) -> StackSettings:
    """Parse ``STACK_NAME``, ``TRACING``, ``STRICT`` and ``AUTH``; a blank value is unset.

    Raises
    ------
    ValueError
        A value is not allowed; the message names the variable.
    """
    return StackSettings(
        stack_name=values.get("STACK_NAME", "").strip() or DEFAULT_STACK_NAME,
        tracing=_boolean("TRACING", values),
        strict=_boolean("STRICT", values),
        auth=cast(Auth, choice("AUTH", values, get_args(Auth)) or "key"),
    )


def choice(name: str, values: Mapping[str, str], allowed: tuple[str, ...]) -> str | None:
    """Return the value of a variable in lower case; None if it is unset.

    Raises
    ------
    ValueError
        It is not among the allowed ones.
    """
    text = values.get(name, "").strip()
    if text and text.lower() not in allowed:
        raise ValueError(f"{name} must be {', '.join(allowed[:-1])} or {allowed[-1]}, not {text!r}")
    return text.lower() or None


def _boolean(name: str, values: Mapping[str, str]) -> bool:
    return _BOOLEANS[choice(name, values, tuple(_BOOLEANS)) or "false"]
