"""Everything that is made otherwise in the emulator of this process, in one place."""

from __future__ import annotations

import sys

from cli.emulator.authorization import adapt_actions, adapt_credentials
from cli.emulator.logs import adapt_logs
from cli.emulator.polling import adapt_polling
from cli.emulator.queries import adapt_queries

# How long a thread may keep the others waiting. Functions are called from threads, beside one that answers all requests; at
# Python's 5 ms each answer of a function waits for that once or twice under load (end to end 0.85 of the rate of 0.5 ms).
_SWITCH_INTERVAL_S = 0.0005


def adapt_emulator(*, access_key: str, enforces_policies: bool) -> None:
    """Make the emulator of this process nearer to AWS, and quicker.

    Parameters
    ----------
    access_key
        The access key id of its administrator.
    enforces_policies
        It looks at IAM policies.
    """
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    adapt_credentials(access_key)  # before the others import what takes its functions by name
    adapt_logs()
    adapt_polling()
    adapt_queries()
    if enforces_policies:
        adapt_actions()
