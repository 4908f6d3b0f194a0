"""What a new template permits that the deployed one does not: IAM statements, resource policies, open API methods.

Both templates are reduced to sets of grants; the new ones are the widenings. Sets make the comparison independent of
how statements are split over policies, and of the policies' logical ids. It errs towards showing too much: a statement
whose resource changes its form counts as a new one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from cli.deployment.model import Template

Properties = Mapping[str, Any]


@dataclass(frozen=True, slots=True, order=True)
class Widening:
    """Somebody may newly do something."""

    who: str
    may: str
    on: str
    public: bool = False
    """Reachable without credentials or key, or by any AWS principal."""
    denied: bool = False
    """While comparing: the statement forbids it."""

    def __str__(self) -> str:
        return f"{self.who} may {self.may} on {self.on}" + (" (public)" if self.public else "")


def widenings(old: Template, new: Template) -> list[Widening]:
    """What `new` permits beyond `old` (an empty template for a stack that doesn't exist), public ones first."""
    before, after = _grants(old), _grants(new)
    gained = {each for each in after - before if not each.denied}
    remaining = new.get("Resources", {})
    for each in before - after:
        # A denial that goes together with the thing it protected permits nothing.
        if each.denied and any(name.split(" ")[0].split(".")[0] in remaining for name in (each.who, each.on)):
            gained.add(replace(each, may=f"{each.may}, no longer denied,", denied=False))
    return sorted(gained, key=lambda each: (not each.public, each))


def _grants(template: Template) -> set[Widening]:
    found: set[Widening] = set()
    for logical_id, resource in template.get("Resources", {}).items():
        read = _READERS.get(resource.get("Type", ""))
        if read:
            found.update(read(logical_id, resource.get("Properties") or {}))
    return found


def _role(logical_id: str, properties: Properties) -> Iterator[Widening]:
    for statement in _statements(properties.get("AssumeRolePolicyDocument")):
        for who in _principals(statement):
            yield from _allowed(who, statement, on=logical_id)
    for policy in properties.get("Policies") or []:
        yield from _document(logical_id, policy.get("PolicyDocument"))
    for arn in properties.get("ManagedPolicyArns") or []:
        yield Widening(logical_id, "use all that the policy allows", readable(arn))
    if "PermissionsBoundary" in properties:  # a limit like any denial: to lose it, or to get another, is a widening
        boundary = readable(properties["PermissionsBoundary"])
        yield Widening(logical_id, f"do more than {boundary}", "anything", denied=True)


def _policy(logical_id: str, properties: Properties) -> Iterator[Widening]:
    holders = [readable(each) for kind in ("Roles", "Users", "Groups") for each in _list(properties.get(kind))] or [
        logical_id
    ]
    for holder in holders:
        yield from _document(holder, properties.get("PolicyDocument"))


def _document(who: str, document: Any) -> Iterator[Widening]:
    for statement in _statements(document):
        yield from _allowed(who, statement)


def _resource_policy(
    *targets: str, document: str = "PolicyDocument"
) -> Callable[[str, Properties], Iterator[Widening]]:
    """Reader for policies that stand on a resource: `targets` are the properties that name it (none: itself)."""

    def read(logical_id: str, properties: Properties) -> Iterator[Widening]:
        named = [readable(each) for target in targets for each in _list(properties.get(target))]
        for on in named or [logical_id]:
            for statement in _statements(properties.get(document)):
                for who in _principals(statement):
                    yield from _allowed(who, statement, on=on)

    return read


def _table_policy(logical_id: str, properties: Properties) -> Iterator[Widening]:
    yield from _resource_policy()(logical_id, properties.get("ResourcePolicy") or {})


def _function_permission(logical_id: str, properties: Properties) -> Iterator[Widening]:
    who = readable(properties.get("Principal"))
    origin = properties.get("SourceArn") or properties.get("SourceAccount")
    limit = f" (from {readable(origin)})" if origin else ""
    anyone = who == "*" and not origin and "PrincipalOrgID" not in properties
    yield Widening(who + limit, readable(properties.get("Action")), readable(properties.get("FunctionName")), anyone)


def _function_url(logical_id: str, properties: Properties) -> Iterator[Widening]:
    if properties.get("AuthType") == "NONE":
        yield Widening("anyone", "call by URL", readable(properties.get("TargetFunctionArn")), public=True)


def _method(logical_id: str, properties: Properties) -> Iterator[Widening]:
    """An API method: what it lacks (key, signature) is what a change may take away."""
    integration = properties.get("Integration") or {}
    if integration.get("Type") == "MOCK":  # a CORS preflight answers from the gateway and reaches nothing
        return
    call = f"{readable(properties.get('HttpMethod'))} {readable(properties.get('ResourceId'))}"
    keyed = properties.get("ApiKeyRequired") is True
    signed = properties.get("AuthorizationType", "NONE") != "NONE"
    if not keyed:
        yield Widening("a caller without an API key", "call", call, public=not signed)
    if not signed:
        yield Widening("a caller without a signature", "call", call, public=not keyed)


_READERS: Mapping[str, Callable[[str, Properties], Iterator[Widening]]] = {
    "AWS::IAM::Role": _role,
    "AWS::IAM::Policy": _policy,
    "AWS::IAM::ManagedPolicy": _policy,
    "AWS::IAM::RolePolicy": lambda i, p: _document(readable(p.get("RoleName")), p.get("PolicyDocument")),
    "AWS::SQS::QueuePolicy": _resource_policy("Queues"),
    "AWS::SNS::TopicPolicy": _resource_policy("Topics"),
    "AWS::S3::BucketPolicy": _resource_policy("Bucket"),
    "AWS::KMS::Key": _resource_policy(document="KeyPolicy"),
    "AWS::ApiGateway::RestApi": _resource_policy(document="Policy"),
    "AWS::DynamoDB::Table": _table_policy,
    "AWS::Lambda::Permission": _function_permission,
    "AWS::Lambda::Url": _function_url,
    "AWS::ApiGateway::Method": _method,
}


def _allowed(who: str, statement: Mapping[str, Any], on: str | None = None) -> Iterator[Widening]:
    """The grants, or denials, of one statement. A condition is part of it: to drop a grant's one is a widening."""
    denied = statement.get("Effect") != "Allow"
    condition = statement.get("Condition")
    limited = f" if {readable(condition)}" if condition else ""
    actions = [readable(each) for each in _list(statement.get("Action"))]
    actions += [f"anything but {readable(statement['NotAction'])}"] if "NotAction" in statement else []
    things = [on] if on else [readable(each) for each in _list(statement.get("Resource"))]
    things += [f"everything but {readable(statement['NotResource'])}"] if "NotResource" in statement else []
    for action in actions:
        for thing in things or ["*"]:
            public = who == "*" and not condition and not denied
            yield Widening(who, action, thing + limited, public, denied)


def _principals(statement: Mapping[str, Any]) -> Iterable[str]:
    if "NotPrincipal" in statement:
        return [f"everyone but {readable(statement['NotPrincipal'])}"]
    principal = statement.get("Principal", "*")
    if not isinstance(principal, Mapping):
        return [readable(principal)]
    return [readable(each) for value in principal.values() for each in _list(value)]


def _statements(document: Any) -> list[Mapping[str, Any]]:
    statements = document.get("Statement") if isinstance(document, Mapping) else None
    return [each for each in _list(statements) if isinstance(each, Mapping)]


def _list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def readable(value: Any) -> str:
    """A template value as short text: `{"Fn::GetAtt": ["Topic", "Arn"]}` → `Topic.Arn`."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping) and len(value) == 1:
        ((name, argument),) = value.items()
        if name == "Ref":
            return str(argument)
        if name == "Fn::GetAtt":
            return argument if isinstance(argument, str) else ".".join(map(str, argument))
        if name == "Fn::Sub":
            return argument if isinstance(argument, str) else str(argument[0])
        if name == "Fn::Join" and isinstance(argument, list) and len(argument) == 2 and isinstance(argument[1], list):
            return str(argument[0]).join(readable(part) for part in argument[1])
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
