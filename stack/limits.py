"""What a stack may not exceed, checked on the template: a deployment would fail halfway, or only at the first call."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from stack.projection import ProjectionDefinition

MAX_RESOURCES, MAX_OUTPUTS = 500, 200  # CloudFormation quotas
MAX_TEMPLATE_BYTES = 1_000_000
MAX_ALARMS_PER_WIDGET = 100  # CloudWatch, "Dashboard body structure and syntax"
MAX_METRICS_PER_WIDGET, MAX_METRICS_PER_DASHBOARD = 500, 2_500  # CloudWatch service quotas
MAX_ENVIRONMENT_BYTES = 4_096  # Lambda quotas
MAX_INLINE_POLICY_CHARACTERS = 10_240  # IAM quotas: all inline policies of a role
MAX_API_RESOURCES = 300  # Amazon API Gateway quotas
MAX_SUBSCRIPTIONS = 100  # Amazon SNS quotas: per FIFO topic

# The longest values of what is known only at deployment: a region, the address in a URL or ARN, the end of a name.
_REGION = "ap-southeast-4"
_ADDRESS = "https://sqs.ap-southeast-4.amazonaws.com/123456789012/"
_UNIQUE = "-0123456789ABC"

_OF_EVERY_STACK = {
    "ReplayQueue": "the replay queue",
    "ReplayDeadLetterQueue": "the replay queue",
    "FailureQueue": "the failure queue",
}


def conflicting_names(projections: Iterable[ProjectionDefinition]) -> list[str]:
    """Return a finding for each projection whose resources would have the logical ids of others."""
    owners = dict(_OF_EVERY_STACK)
    findings = []
    for projection in projections:
        owner = f"the projection {projection.name!r}"
        logical_ids = _logical_ids(projection)
        taken = next((each for each in logical_ids if each in owners), None)
        if taken is not None:
            findings.append(f"{owner} and {owners[taken]} both need the resource {taken}: rename the projection")
        owners = {**dict.fromkeys(logical_ids, owner), **owners}
    return findings


def _logical_ids(projection: ProjectionDefinition) -> tuple[str, ...]:
    """Return the logical ids that may be those of others: ``x-dead-letter`` has the queue ``XDeadLetterQueue``."""
    return f"{projection.pascal_name}Queue", f"{projection.pascal_name}DeadLetterQueue"


def exceeded(template: str, stack_name: str, projections: Iterable[str]) -> list[str]:
    """Return a finding for each limit that a template exceeds; it names the projections, of which some must go."""
    names = ", ".join(projections)
    return [
        f"{what}: {found:,}, but the limit is {limit:,}. Remove some of these projections: {names}"
        for what, found, limit in measured(template, stack_name)
        if found > limit
    ]


def measured(template: str, stack_name: str) -> Iterator[tuple[str, int, int]]:
    """Yield what is limited, how much of it a template has, and the limit."""
    document = json.loads(template)
    resources: Mapping[str, Any] = document["Resources"]
    kinds = Counter(resource["Type"] for resource in resources.values())
    yield "resources in the template", len(resources), MAX_RESOURCES
    yield "outputs in the template", len(document.get("Outputs", {})), MAX_OUTPUTS
    yield "bytes of the template", len(template.encode()), MAX_TEMPLATE_BYTES
    yield "resources of the API", kinds["AWS::ApiGateway::Resource"], MAX_API_RESOURCES
    yield "subscriptions of the topic", kinds["AWS::SNS::Subscription"], MAX_SUBSCRIPTIONS
    render = _Renderer(stack_name, resources)
    for logical_id, resource in resources.items():
        properties = resource.get("Properties", {})
        if resource["Type"] == "AWS::Lambda::Function":
            variables = render.everything(properties.get("Environment", {}).get("Variables", {}))
            size = sum(len(f"{name}{value}") for name, value in variables.items())
            yield f"bytes of the environment of {logical_id}", size, MAX_ENVIRONMENT_BYTES
        elif resource["Type"] == "AWS::IAM::Role":
            policies = [render.everything(each["PolicyDocument"]) for each in properties.get("Policies", [])]
            size = sum(len(json.dumps(policy, separators=(",", ":"))) for policy in policies)
            yield f"characters in the policies of {logical_id}", size, MAX_INLINE_POLICY_CHARACTERS
        elif resource["Type"] == "AWS::CloudWatch::Dashboard":
            yield from _in_dashboard(json.loads(render.text(properties["DashboardBody"])))


def _in_dashboard(body: Mapping[str, Any]) -> Iterator[tuple[str, int, int]]:
    widgets = [widget["properties"] for widget in body["widgets"]]
    metrics = [len(widget.get("metrics", ())) for widget in widgets]
    yield "alarms in a widget", max(len(widget.get("alarms", ())) for widget in widgets), MAX_ALARMS_PER_WIDGET
    yield "metrics in a widget", max(metrics), MAX_METRICS_PER_WIDGET
    yield "metrics in the dashboard", sum(metrics), MAX_METRICS_PER_DASHBOARD


class _Renderer:
    """Renders values of the template as CloudFormation would, each at least as long."""

    def __init__(self, stack_name: str, resources: Mapping[str, Any]) -> None:
        self._stack_name = stack_name
        self._resources = resources

    def everything(self, value: Any) -> Any:
        """Render the texts in a document."""
        if isinstance(value, list):
            return [self.everything(each) for each in value]
        if isinstance(value, Mapping):
            is_function = len(value) == 1 and next(iter(value)).startswith(("Ref", "Fn::"))
            return self.text(value) if is_function else {name: self.everything(each) for name, each in value.items()}
        return value

    def text(self, value: Any) -> str:
        """Render a text."""
        if not isinstance(value, Mapping):
            return str(value)
        ((function, argument),) = value.items()
        if function == "Fn::Join":
            separator, parts = argument
            return str(separator).join(self._parts(parts))
        if function == "Ref" and argument == "AWS::StackName":
            return self._stack_name
        logical_id = argument if function == "Ref" else argument[0]
        if logical_id not in self._resources:
            return _REGION
        is_named = "QueueName" in self._resources[logical_id].get("Properties", {})
        return f"{_ADDRESS}{logical_id if is_named else f'{self._stack_name}-{logical_id}'}{_UNIQUE}"

    def _parts(self, parts: Any) -> list[str]:
        if isinstance(parts, Mapping):
            delimiter, text = parts["Fn::Split"]
            return self.text(text).split(delimiter)
        return [self.text(part) for part in parts]
