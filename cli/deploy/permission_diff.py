"""Find what a new template grants beyond the deployed one: IAM statements, resource policies, open API methods.

Both templates are reduced to sets of grants, so it does not matter how statements are split over policies or what the
policies' logical ids are. It errs on the side of reporting too much: a statement that names the same resource
differently counts as new.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from cli.deploy.assembly import Template

# Properties that name the holders and targets of a policy; without them, it is the resource itself.
_HOLDERS = ("Roles", "Users", "Groups", "RoleName", "UserName", "GroupName")
_TARGETS = ("Queues", "Topics", "Bucket")


@dataclass(frozen=True, slots=True, order=True)
class Grant:
    """A permission: who may do what on what."""

    who: str
    may: str
    on: str
    public: bool = False  # without credentials or key, or for any AWS principal
    denied: bool = False  # a statement that denies; only within the comparison

    def __str__(self) -> str:
        return f"{self.who} may {self.may} on {self.on}" + (" (public)" if self.public else "")


def permission_diff(old: Template, new: Template) -> tuple[Grant, ...]:
    """Return what `new` grants beyond `old`, public grants first."""
    before, after = set(_grants(old)), set(_grants(new))
    gained = {grant for grant in after - before if not grant.denied}
    remaining = new.get("Resources", {})
    for grant in before - after:
        # A denial that disappears together with the resource it protected grants nothing.
        if grant.denied and any(name.split(" ")[0].split(".")[0] in remaining for name in (grant.who, grant.on)):
            gained.add(replace(grant, may=f"{grant.may}, no longer denied,", denied=False))
    return tuple(sorted(gained, key=lambda grant: (not grant.public, grant)))


def _grants(template: Template) -> Iterator[Grant]:
    for name, resource in template.get("Resources", {}).items():
        properties = resource.get("Properties") or {}
        yield from _policies(name, properties)
        match resource.get("Type"):
            case "AWS::IAM::Role" | "AWS::IAM::User" | "AWS::IAM::Group":
                yield from _attachments(name, properties)
            case "AWS::Lambda::Permission":
                yield _function_permission(properties)
            case "AWS::Lambda::Url" if properties.get("AuthType") == "NONE":
                yield Grant("anyone", "call by URL", _text(properties.get("TargetFunctionArn")), public=True)
            case "AWS::ApiGateway::Method":
                yield from _method(properties)


def _policies(name: str, properties: Mapping[str, Any]) -> Iterator[Grant]:
    """Yield the grants of every policy document anywhere in a resource."""
    holders = [_text(each) for key in _HOLDERS for each in _list(properties.get(key))] or [name]
    targets = [_text(each) for key in _TARGETS for each in _list(properties.get(key))] or [name]
    for statement in _statements(properties):
        if "Principal" in statement or "NotPrincipal" in statement:
            for who in _principals(statement):
                yield from _allowed(who, statement, targets)
        else:
            for who in holders:
                yield from _allowed(who, statement, [_text(each) for each in _list(statement.get("Resource"))])


def _statements(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, Mapping):
        if "Effect" in value and ("Action" in value or "NotAction" in value):
            yield value
            return
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from _statements(each)


def _allowed(who: str, statement: Mapping[str, Any], things: list[str]) -> Iterator[Grant]:
    """Yield the grants or denials of a statement. Its condition is part of them: without it, a grant is a new one."""
    denied = statement.get("Effect") != "Allow"
    condition = statement.get("Condition")
    limit = f" if {_text(condition)}" if condition else ""
    actions = [_text(each) for each in _list(statement.get("Action"))]
    if "NotAction" in statement:
        actions.append(f"anything but {_text(statement['NotAction'])}")
    if "NotResource" in statement:
        things = [f"everything but {_text(statement['NotResource'])}"]
    for action in actions:
        for thing in things or ["*"]:
            yield Grant(who, action, thing + limit, who == "*" and not condition and not denied, denied)


def _principals(statement: Mapping[str, Any]) -> list[str]:
    if "NotPrincipal" in statement:
        return [f"everyone but {_text(statement['NotPrincipal'])}"]
    principal = statement["Principal"]
    values = principal.values() if isinstance(principal, Mapping) else [principal]
    return [_text(each) for value in values for each in _list(value)]


def _attachments(name: str, properties: Mapping[str, Any]) -> Iterator[Grant]:
    for arn in properties.get("ManagedPolicyArns") or []:
        yield Grant(name, "use all that the policy allows", _text(arn))
    if "PermissionsBoundary" in properties:  # acts like a denial: removing or changing it is a new permission
        yield Grant(name, f"do more than {_text(properties['PermissionsBoundary'])}", "anything", denied=True)


def _function_permission(properties: Mapping[str, Any]) -> Grant:
    who = _text(properties.get("Principal"))
    origin = properties.get("SourceArn") or properties.get("SourceAccount")
    public = who == "*" and not origin and "PrincipalOrgID" not in properties
    limit = f" (from {_text(origin)})" if origin else ""
    return Grant(who + limit, _text(properties.get("Action")), _text(properties.get("FunctionName")), public)


def _method(properties: Mapping[str, Any]) -> Iterator[Grant]:
    """Yield a grant for each check, key or signature, that an API method lacks, since a change may remove one."""
    if (properties.get("Integration") or {}).get("Type") == "MOCK":  # a CORS preflight; it reaches no function
        return
    call = f"{_text(properties.get('HttpMethod'))} {_text(properties.get('ResourceId'))}"
    keyed = properties.get("ApiKeyRequired") is True
    signed = properties.get("AuthorizationType", "NONE") != "NONE"
    if not keyed:
        yield Grant("a caller without an API key", "call", call, public=not signed)
    if not signed:
        yield Grant("a caller without a signature", "call", call, public=not keyed)


def _list(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _text(value: Any) -> str:
    """Return a template value as short text: `{"Fn::GetAtt": ["Topic", "Arn"]}` → `Topic.Arn`."""
    match value:
        case str():
            return value
        case {"Ref": name, **rest} if not rest:
            return str(name)
        case {"Fn::GetAtt": [*path], **rest} if not rest:
            return ".".join(map(str, path))
        case {"Fn::GetAtt": str(path), **rest} if not rest:
            return path
        case {"Fn::Sub": str(text) | [str(text), *_], **rest} if not rest:
            return text
        case {"Fn::Join": [separator, [*parts]], **rest} if not rest:
            return str(separator).join(_text(part) for part in parts)
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
