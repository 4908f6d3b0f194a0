"""The declaration of a function (runtime, code, role, log group, environment, tracing), and helpers for all constructs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import cast

from aws_cdk import Acknowledgment, Aws, CfnResource, Duration, RemovalPolicy, Validations
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct, IConstruct

VCPU_MB = 1769  # the memory at which a function has one full vCPU (Lambda, "Configure function memory")
API_TIMEOUT_S = 28  # API Gateway times out after 29 s; the function must end before that


@dataclass(frozen=True, slots=True)
class Platform:
    """What all functions share."""

    code: lambda_.Code
    tracing: bool


@dataclass(frozen=True, slots=True)
class FunctionSpec:
    """What differs between functions.

    Parameters
    ----------
    logical_id
        Its exact logical id in the template; the CLI finds functions by it.
    module
        The entry module below ``handlers.functions``.
    service
        The name in its logs and metrics.
    timeout_s, memory_mb
        Limits of one invocation.
    """

    logical_id: str
    module: str
    service: str
    description: str
    timeout_s: int = API_TIMEOUT_S
    memory_mb: int = 512


class EsFunction(Construct):
    """A function with its own role and log group; it may only log until `allow` grants more."""

    def __init__(
        self, scope: Construct, spec: FunctionSpec, platform: Platform, environment: Mapping[str, str]
    ) -> None:
        super().__init__(scope, spec.logical_id)
        self.spec = spec
        self.log_group = logs.LogGroup(
            self, "Logs", retention=logs.RetentionDays.ONE_MONTH, removal_policy=RemovalPolicy.DESTROY
        )
        pin_logical_id(self.log_group, f"{spec.logical_id}Logs")
        self._permissions = iam.PolicyDocument()
        role = iam.Role(
            self,
            "Role",
            assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"),
            inline_policies={"Permissions": self._permissions},
        )
        pin_logical_id(role, f"{spec.logical_id}Role")
        # No CreateLogGroup: the group is declared above.
        self.allow(["logs:CreateLogStream", "logs:PutLogEvents"], self.log_group.log_group_arn)
        if platform.tracing:
            self.allow(["xray:PutTraceSegments", "xray:PutTelemetryRecords"], "*")
        self.resource = lambda_.Function(
            self,
            "Function",
            description=spec.description,
            runtime=lambda_.Runtime.PYTHON_3_13,
            architecture=lambda_.Architecture.ARM_64,
            code=platform.code,
            handler=f"handlers.functions.{spec.module}.handler",
            memory_size=spec.memory_mb,
            timeout=Duration.seconds(spec.timeout_s),
            role=role.without_policy_updates(),  # permissions come from `allow` only
            log_group=self.log_group,
            tracing=lambda_.Tracing.ACTIVE if platform.tracing else lambda_.Tracing.DISABLED,
            environment={
                "POWERTOOLS_SERVICE_NAME": spec.service,
                "POWERTOOLS_METRICS_NAMESPACE": namespace(),
                "TRACING": flag(platform.tracing),
                **environment,
            },
        )
        pin_logical_id(self.resource, spec.logical_id)
        # The CDK's DependsOn repeats the reference to the role (cfn-lint W3005).
        cast(CfnResource, self.resource.node.default_child).add_deletion_override("DependsOn")
        self._explain(platform)

    def allow(self, actions: Iterable[str], *resources: str, conditions: Mapping[str, object] | None = None) -> None:
        """Add one statement to the policy of the function's role."""
        self._permissions.add_statements(
            iam.PolicyStatement(actions=list(actions), resources=list(resources), conditions=conditions)
        )

    def _explain(self, platform: Platform) -> None:
        if platform.tracing:
            accept(self, "AwsSolutions-IAM5[Resource::*]", "X-Ray has no resources: PutTraceSegments takes '*' only.")
        accept(self, "AwsSolutions-L1", "The project is tested with Python 3.13.")


def namespace() -> str:
    """Return the namespace of our own metrics; one per stack keeps the alarms of two stacks apart."""
    return f"esctl/{Aws.STACK_NAME}"


def pin_logical_id(construct: Construct, logical_id: str) -> None:
    """Give the resource behind a construct a logical id that does not depend on its position in the tree.

    So moving code never replaces a table, and tools know the names.
    """
    resource = construct.node.default_child
    assert isinstance(resource, CfnResource), construct.node.path  # noqa: S101 - every L2 of ours has one
    resource.override_logical_id(logical_id)


def flag(value: bool) -> str:
    """Return a boolean as functions read it from the environment."""
    return "true" if value else "false"


def accept(construct: IConstruct, rule: str, reason: str) -> None:
    """Suppress a finding of cdk-nag or the CDK's validation on a construct and everything below it.

    The reason is kept in the construct tree, not in the template; cdk-nag runs in the tests only.
    """
    Validations.of(construct).acknowledge(Acknowledgment(id=rule, reason=reason))
