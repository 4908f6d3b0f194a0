"""Where the emulator asks for other permissions than AWS does.

On AWS a batch needs the permission of its single action: there is no action of the batch's name that a policy could allow
("Actions, resources, and condition keys for Amazon SQS" and "… for Amazon SNS", Service Authorization Reference). The
emulator, where it enforces policies, asks for one.
"""

from __future__ import annotations

from typing import Any

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
