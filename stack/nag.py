"""Reasons for what cdk-nag would otherwise report, beside the resource that they are about.

They go into the resource's metadata in the form that cdk-nag reads, so the tests can run it, and a synthesis
for a deployment need not load it.
"""

from __future__ import annotations

from aws_cdk import CfnResource
from constructs import IConstruct


def suppress(construct: IConstruct, rule: str, reason: str) -> None:
    """Accept one finding of cdk-nag on the resource behind a construct, for a reason."""
    resource = construct if isinstance(construct, CfnResource) else construct.node.default_child
    assert isinstance(resource, CfnResource), construct.node.path  # noqa: S101 - called with resources only
    known = resource.get_metadata("cdk_nag") or {"rules_to_suppress": []}
    rules = [*known["rules_to_suppress"], {"id": rule, "reason": reason}]
    resource.add_metadata("cdk_nag", {"rules_to_suppress": rules})
