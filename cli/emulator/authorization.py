"""Where the emulator asks for other permissions and credentials than it would unmodified.

On AWS a batch needs the permission of its single action: there is no action of the batch's name that a policy could allow
("Actions, resources, and condition keys for Amazon SQS" and "… for Amazon SNS", Service Authorization Reference). The
emulator, where it enforces policies, asks for one.
"""

from __future__ import annotations

import hmac
from typing import Any

from cli.config.targets import LOCAL_ACCOUNT

_SINGLE = {
    "sns:PublishBatch": "sns:Publish",
    "sqs:ChangeMessageVisibilityBatch": "sqs:ChangeMessageVisibility",
    "sqs:DeleteMessageBatch": "sqs:DeleteMessage",
    "sqs:SendMessageBatch": "sqs:SendMessage",
}


def adapt_actions() -> None:
    """Make the emulator of this process ask for what AWS asks for."""
    from ministack.core import iam_actions

    extract = iam_actions.extract_iam_action

    def extract_as_aws(*arguments: Any, **named: Any) -> Any:
        action = extract(*arguments, **named)
        return _SINGLE.get(action, action)

    iam_actions.extract_iam_action = extract_as_aws


def adapt_credentials(access_key: str) -> None:
    """Make the emulator of this process take one access key id, and no well-known one, for its administrator's.

    Its functions call with that key; where policies are enforced, with a session of their role. The emulator derives a
    session's key, secret and token from the names of function and role; here they cannot be computed without the key.
    """
    from ministack import app
    from ministack.core import iam_evaluator, lambda_runtime

    of_function = lambda_runtime.execution_credentials

    def is_administrator(named: str) -> bool:
        # No key at all is an anonymous call, or one of the emulator's own.
        return not named or hmac.compare_digest(named.encode(), access_key.encode())

    def execution_credentials(config: dict[str, Any]) -> dict[str, str]:
        if not app.AUTH:
            return {"AWS_ACCESS_KEY_ID": access_key, "AWS_SECRET_ACCESS_KEY": access_key, "AWS_SESSION_TOKEN": ""}
        # Of the role it uses the name, which is what follows the last slash, and hashes the whole.
        salted: dict[str, str] = of_function({**config, "Role": f"{access_key}/{config.get('Role', '')}"})
        return salted

    iam_evaluator.is_root_access_key = is_administrator
    lambda_runtime.execution_credentials = execution_credentials


def is_issued(access_key: str) -> bool:
    """Whether the emulator of this process knows an access key id: of a user or of a session that is still valid."""
    from ministack.core.iam_evaluator import ResolvedCredential, resolve_credential

    return isinstance(resolve_credential(access_key, LOCAL_ACCOUNT), ResolvedCredential)
