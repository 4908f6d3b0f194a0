"""Settings from the environment and from ``.env``; the environment takes precedence."""

from __future__ import annotations

import io
import re
import stat
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast

from cli.config.state import Surroundings
from cli.errors import SettingError
from stack.settings import Auth, choice, settings_from

# Required by API Gateway: https://docs.aws.amazon.com/apigateway/latest/api/API_ApiKey.html
API_KEY_LENGTH_MIN, API_KEY_LENGTH_MAX = 20, 128
_STACK_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,127}")  # CloudFormation's own rule
_API_KEY = re.compile(r"[\x21-\x7e]+")  # it travels in an HTTP header

_TARGETS = ("local", "aws")
_VARIABLES = ("API_KEY", "TRACING", "STACK_NAME", "AUTH", "STRICT", "ESCTL_TARGET")


@dataclass(frozen=True, slots=True)
class Settings:
    """The operator's settings."""

    api_key: str | None = field(default=None, repr=False)  # unchecked, see `checked_api_key`; never shown
    tracing: bool = False  # with X-Ray
    stack_name: str | None = None
    auth: Auth = "key"  # or iam: SigV4 in addition to the key
    strict: bool = False  # unknown event types are rejected
    target: Literal["local", "aws"] | None = None

    def checked_api_key(self) -> str | None:
        """Return the key to deploy with; None if unset. Raise `SettingError` if API Gateway would refuse it."""
        key = self.api_key
        if key is not None and not is_api_key(key):
            raise SettingError(
                f"API_KEY can't be used: it has {len(key)} characters; API Gateway requires "
                f"{API_KEY_LENGTH_MIN} to {API_KEY_LENGTH_MAX} ASCII letters, digits or punctuation marks",
                _MAKE_A_KEY,
            )
        return key

    def required_api_key(self) -> str:
        """Return the key to deploy to AWS with; raise `SettingError` if it is missing or invalid."""
        key = self.checked_api_key()
        if key is None:
            raise SettingError(
                f"API_KEY is missing: a stack on AWS needs one of at least {API_KEY_LENGTH_MIN} characters", _MAKE_A_KEY
            )
        return key


def is_api_key(text: str) -> bool:
    """Tell whether API Gateway accepts this text as a key."""
    return API_KEY_LENGTH_MIN <= len(text) <= API_KEY_LENGTH_MAX and _API_KEY.fullmatch(text) is not None


_MAKE_A_KEY = 'Make one and put it into .env:  (umask 077; echo "API_KEY=$(openssl rand -hex 20)" >> .env)'


def load(environment: Surroundings) -> Settings:
    """Read the settings; raise `SettingError` if a value is not allowed."""
    values = {**_dotenv(environment), **{k: v for k, v in environment.variables.items() if v.strip()}}
    for name in _VARIABLES:
        try:
            values.get(name, "").encode()
        except UnicodeEncodeError as error:
            encoding = sys.getfilesystemencoding().upper()
            raise SettingError(f"{name} can't be used: it is not {encoding} text") from error
    try:
        stack = settings_from(values)
        target = choice("ESCTL_TARGET", values, _TARGETS)
    except ValueError as error:
        raise SettingError(str(error)) from error
    name = values.get("STACK_NAME", "").strip()
    return Settings(
        api_key=values.get("API_KEY", "").strip() or None,
        tracing=stack.tracing,
        stack_name=checked_stack_name(name, "STACK_NAME") if name else None,
        auth=stack.auth,
        strict=stack.strict,
        target=cast(Literal["local", "aws"] | None, target),
    )


def checked_stack_name(name: str, source: str = "--stack-name") -> str:
    """Return the name; raise `SettingError` if CloudFormation would refuse it."""
    if not _STACK_NAME.fullmatch(name):
        raise SettingError(
            f"{source} can't be used: {name!r} is not a stack name",
            "A stack name is letters, digits and hyphens, starts with a letter, and has at most 128 characters.",
        )
    return name


def shared_key_file(environment: Surroundings) -> Path | None:
    """Return the path of the ``.env`` that exposes the API key to other users of this machine; None if none does."""
    path = environment.directory / ".env"
    if "API_KEY" not in _dotenv(environment):
        return None
    return path if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO) else None


def _dotenv(environment: Surroundings) -> dict[str, str]:
    path = environment.directory / ".env"
    try:
        if not path.is_file():
            return {}
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise SettingError(f"can't read .env: {reason} ({path})", "Correct the file, or remove it.") from error
    from dotenv import dotenv_values

    # No interpolation: a key may hold "$".
    return {k: v for k, v in dotenv_values(stream=io.StringIO(text), interpolate=False).items() if v is not None}
