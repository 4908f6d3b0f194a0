"""How often functions are handed the records of a table's stream.

On AWS the stream of a table is looked at four times a second, so that under load a batch holds many records ("Using AWS
Lambda with Amazon DynamoDB", polling). The emulator looks again as soon as a function has ended: one or two records a batch,
and an invocation of the publisher and of each projector for them. Here it looks every 40 ms under load; a record
that comes after a pause is handed over at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

_INTERVAL_S = 0.04


def adapt_polling() -> None:
    """Make the emulator of this process look at streams at intervals."""
    from ministack.services import lambda_svc

    module: Any = lambda_svc
    module._poll_dynamodb_streams = at_intervals(module._poll_dynamodb_streams, _INTERVAL_S)


def at_intervals(
    poll: Callable[[], bool],
    interval_s: float,
    *,
    monotonic: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Callable[[], bool]:
    """Return the same poll, that begins no sooner than ``interval_s`` seconds after one that found something."""
    not_before = monotonic()

    def poll_in_time() -> bool:
        nonlocal not_before
        rest = not_before - monotonic()
        if rest > 0:
            sleep(rest)
        began = monotonic()
        found = poll()
        if found:
            not_before = began + interval_s
        return found

    return poll_in_time
