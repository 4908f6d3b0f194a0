"""Changes to the emulator of this process: each replaces or wraps one function, whose source is checked first.

If the source differs, the start fails, or, for the functions in `_FASTER`, the patch is skipped with a warning.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import importlib
import inspect
import itertools
import linecache
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from cli.errors import EmulatorError

Function = Callable[..., Any]

_logger = logging.getLogger("esctl.patches")

# `source_hash` of each function in ministack 1.5.33; a release that leaves a function unchanged needs no new one.
SOURCES = {
    "ministack.app._load_persisted_state": "319c13dca650ea8b6b56517bd1872aa8",
    "ministack.core.iam_actions.extract_iam_action": "1c5bf4bb749764064e33011846d9b586",
    "ministack.core.iam_evaluator.is_root_access_key": "8dc2e90bdacc5d077e8a023632f1e26b",
    "ministack.core.lambda_runtime.execution_credentials": "958ceba5b7f8e5be432ff323bcf324be",
    "ministack.services.dynamodb._condition_syntax_error": "6fa7389adedbd94ccab111169e82eebb",
    "ministack.services.lambda_svc._poll_dynamodb_streams": "facfafc276563a67d17b107aeb73ebed",
}

# AWS has no action of the batch's name that a policy could allow ("Actions, resources, and condition keys for Amazon
# SQS" and "… for Amazon SNS", Service Authorization Reference); the emulator asks for one.
_SINGLE_ACTIONS = {
    "sns:PublishBatch": "sns:Publish",
    "sqs:ChangeMessageVisibilityBatch": "sqs:ChangeMessageVisibility",
    "sqs:DeleteMessageBatch": "sqs:DeleteMessage",
    "sqs:SendMessageBatch": "sqs:SendMessage",
}

# A query checks the syntax of its key condition once per item of the partition. Remembering the results takes it from 25 to
# 10 ms per 1,000 items.
_EXPRESSIONS_MAX = 1_000

# AWS polls a stream four times per second ("Using AWS Lambda with Amazon DynamoDB", polling). The emulator polls again
# as soon as the function has ended: one or two records per batch, each with an invocation of publisher and projectors.
_POLL_INTERVAL_S = 0.04


class UnexpectedSourceError(Exception):
    """A function of the emulator is missing or differs from the one that a patch was written for."""


def patch_emulator(*, access_key: str, restore: Callable[[], None], sources: Mapping[str, str] = SOURCES) -> None:
    """Apply all patches; raise `EmulatorError` if one for safety or correctness does not fit the emulator's release.

    The access key id becomes the administrator's. ``restore`` replaces the emulator's own function, which ignores saved
    state that it does not understand, and then overwrites it.
    """
    from ministack import app

    try:
        patch_credentials(access_key, sources)  # first: other modules import these functions by name
        replace_function("ministack.app._load_persisted_state", lambda _: restore, sources)
        if app.AUTH:
            replace_function("ministack.core.iam_actions.extract_iam_action", with_single_actions, sources)
    except UnexpectedSourceError as error:
        raise EmulatorError(
            f"this release of the emulator can't be run safely: {error}",
            "Install the versions that esctl is locked to:  make demo",
        ) from error
    for path, wrap in _FASTER.items():
        try:
            replace_function(path, wrap, sources)
        except UnexpectedSourceError as error:
            _logger.warning("the local target is slower than usual: %s", error)


def patch_credentials(access_key: str, sources: Mapping[str, str] = SOURCES) -> None:
    """Make one access key id, and no well-known one, the administrator's and that of the functions."""

    def is_administrator(access_key_id: str) -> bool:
        # No key at all: an anonymous call, or one of the emulator's own.
        return not access_key_id or hmac.compare_digest(access_key_id.encode(), access_key.encode())

    replace_function("ministack.core.iam_evaluator.is_root_access_key", lambda _: is_administrator, sources)
    replace_function(
        "ministack.core.lambda_runtime.execution_credentials", lambda own: salted_credentials(own, access_key), sources
    )


def salted_credentials(own: Function, access_key: str) -> Function:
    """Return credentials of functions that cannot be computed without the access key.

    The emulator derives a session's key, secret and token from the names of function and role.
    """
    from ministack import app

    def execution_credentials(config: dict[str, Any]) -> dict[str, str]:
        if not app.AUTH:
            return {"AWS_ACCESS_KEY_ID": access_key, "AWS_SECRET_ACCESS_KEY": access_key, "AWS_SESSION_TOKEN": ""}
        # It uses what follows the last slash as the role's name, and hashes the whole.
        salted: dict[str, str] = own({**config, "Role": f"{access_key}/{config.get('Role', '')}"})
        return salted

    return execution_credentials


def with_single_actions(extract: Function) -> Function:
    """Return the extraction of a request's IAM action with batches mapped to their single action."""

    def extract_iam_action(*arguments: Any, **named: Any) -> Any:
        action = extract(*arguments, **named)
        return _SINGLE_ACTIONS.get(action, action)

    return extract_iam_action


def at_intervals(
    poll: Callable[[], bool],
    interval_s: float = _POLL_INTERVAL_S,
    *,
    monotonic: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Callable[[], bool]:
    """Return the poll delayed to ``interval_s`` seconds after the start of one that found records.

    A record that arrives after a pause is delivered at once.
    """
    not_before = monotonic()

    def poll_in_time() -> bool:
        nonlocal not_before
        rest_s = not_before - monotonic()
        if rest_s > 0:
            sleep(rest_s)
        started = monotonic()
        found = poll()
        if found:
            not_before = started + interval_s
        return found

    return poll_in_time


_FASTER: Mapping[str, Callable[[Function], Function]] = {
    "ministack.services.dynamodb._condition_syntax_error": functools.lru_cache(_EXPRESSIONS_MAX),
    "ministack.services.lambda_svc._poll_dynamodb_streams": at_intervals,
}


def replace_function(path: str, wrap: Callable[[Function], Function], sources: Mapping[str, str]) -> None:
    """Replace a module's function by its wrapper; raise `UnexpectedSourceError` if its source is not that in ``sources``."""
    module, _, name = path.rpartition(".")
    function = original(path)
    if function is None or source_hash(function) != sources[path]:
        raise UnexpectedSourceError(f"{path} is not the expected function")
    setattr(importlib.import_module(module), name, wrap(function))


def original(path: str) -> Any:
    """Return the function at a dotted path; None if there is none."""
    module, _, name = path.rpartition(".")
    function = getattr(importlib.import_module(module), name, None)
    return function if inspect.isfunction(function) else None


def source_hash(function: Function) -> str:
    """Return the start of the SHA-256 of a module's function: the lines down to the next one that is not indented.

    Faster than `inspect.getsource`, and the same in every version of Python.
    """
    code = function.__code__
    first, *lines = linecache.getlines(code.co_filename)[code.co_firstlineno - 1 :] or [""]
    body = itertools.takewhile(lambda line: line[:1] in " \t\n)", lines)
    return hashlib.sha256((first + "".join(body)).rstrip().encode()).hexdigest()[:32]
