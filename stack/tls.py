"""Queues and topics take no plain HTTP."""

from __future__ import annotations

from aws_cdk import aws_iam as iam

LOCAL_ACCOUNT = "000000000000"
"""The account of the local target, which speaks HTTP on the loopback address; on AWS there is none of this number."""


def only_over_tls(actions: str, resource_arn: str) -> iam.PolicyStatement:
    """Deny requests without TLS, but for the local target's: the same template is deployed there."""
    return iam.PolicyStatement(
        effect=iam.Effect.DENY,
        principals=[iam.AnyPrincipal()],
        actions=[actions],
        resources=[resource_arn],
        conditions={
            "Bool": {"aws:SecureTransport": "false"},
            "StringNotEquals": {"aws:ResourceAccount": LOCAL_ACCOUNT},
        },
    )
