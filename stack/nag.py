"""Reasons for what cdk-nag, or the CDK's own validation, would otherwise report, beside the resource concerned."""

from __future__ import annotations

from aws_cdk import Acknowledgment, Validations
from constructs import IConstruct


def accept(construct: IConstruct, rule: str, reason: str) -> None:
    """Accept a finding on a construct and everything below it, for a reason.

    The reason is kept in the construct tree: the template stays free of it, and cdk-nag is loaded by the tests only.
    """
    Validations.of(construct).acknowledge(Acknowledgment(id=rule, reason=reason))
