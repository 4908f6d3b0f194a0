"""What the commands need to be allowed on AWS, asked of IAM itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from cli.doctor.model import Finding, Verdict
from cli.errors import AccessError

if TYPE_CHECKING:
    from mypy_boto3_iam import IAMClient

    from cli.session import Session

# Command to the actions that it needs beyond calling the API.
NEEDED: dict[str, tuple[str, ...]] = {
    "deploy": (
        "cloudformation:CreateChangeSet",
        "cloudformation:DescribeChangeSet",
        "cloudformation:DescribeStackEvents",
        "cloudformation:DescribeStacks",
        "cloudformation:ExecuteChangeSet",
        "cloudformation:GetTemplate",
        "s3:CreateBucket",
        "s3:PutObject",
        "iam:CreateRole",
        "iam:PassRole",
        "iam:PutRolePolicy",
        "lambda:CreateFunction",
        "dynamodb:CreateTable",
        "sqs:CreateQueue",
        "sns:CreateTopic",
    ),
    "status": (
        "cloudformation:ListStackResources",
        "cloudwatch:GetMetricData",
        "sqs:GetQueueAttributes",
    ),
    "tail-logs": ("logs:FilterLogEvents", "logs:StartLiveTail", "xray:BatchGetTraces"),
    "dead-letters": (
        "sqs:ReceiveMessage",
        "sqs:DeleteMessage",
        "sqs:ChangeMessageVisibility",
        "sqs:SendMessage",
        "lambda:InvokeFunction",
    ),
    "outputs": ("apigateway:GET",),
}


def permissions(session: Session) -> Iterator[Finding]:
    """Simulate what each command needs."""
    from cli.aws import errors

    clients = session.clients
    with errors():
        arn = clients.client("sts").get_caller_identity()["Arn"]
    if arn.endswith(":root"):
        yield Finding(
            "permissions", Verdict.NOTE, "the account's root user may do everything", "Better use a role or a user."
        )
        return
    try:
        with errors():
            principal = principal_of(clients.client("iam"), arn)
            denied = simulate(clients.client("iam"), principal, {action for each in NEEDED.values() for action in each})
    except AccessError:
        yield Finding(
            "permissions",
            Verdict.NOTE,
            "can't be told: iam:SimulatePrincipalPolicy is not allowed",
            "What a command lacks it says itself when it is refused.",
        )
        return
    yield from judge(denied)


def judge(denied: Iterable[str]) -> Iterator[Finding]:
    """Tell which commands lack something."""
    lacking = set(denied)
    for name, actions in NEEDED.items():
        missing = [action for action in actions if action in lacking]
        if missing:
            what = f"esctl {name} is not allowed {', '.join(missing)}"
            yield Finding("permissions", Verdict.FAULT, what, "Ask for these actions, or use another --profile.")
        else:
            yield Finding("permissions", Verdict.OK, f"esctl {name} has what it needs")


def principal_of(iam: IAMClient, arn: str) -> str:
    """Return the user or role whose policies decide: a session of a role is none itself.

    Examples
    --------
    An ``arn:aws:sts::1:assumed-role/Ops/me`` is role ``Ops``; its ARN (with its path) only IAM knows.
    """
    if ":assumed-role/" not in arn:
        return arn
    return iam.get_role(RoleName=arn.split("/")[1])["Role"]["Arn"]


def simulate(iam: IAMClient, principal: str, actions: Iterable[str]) -> list[str]:
    """Return the actions that the principal's policies do not allow."""
    pages = iam.get_paginator("simulate_principal_policy").paginate(
        PolicySourceArn=principal, ActionNames=sorted(actions)
    )
    return [
        result["EvalActionName"]
        for page in pages
        for result in page["EvaluationResults"]
        if result["EvalDecision"] != "allowed"
    ]
