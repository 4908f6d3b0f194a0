"""A synthesized template, and short ways to ask it things."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handlers.projection.definition import MAX_NAME_CHARACTERS, Projection
from stack.app import AssemblyInfo, synthesize
from stack.settings import StackSettings

if TYPE_CHECKING:
    from aws_cdk.assertions import Template

    from stack.projection import ProjectionDefinition

Properties = dict[str, Any]


@dataclass(frozen=True)
class Synthesized:
    """One synthesis."""

    info: AssemblyInfo

    @cached_property
    def text(self) -> str:
        return self.info.template.read_text(encoding="utf-8")

    @cached_property
    def document(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.text)
        return document

    @cached_property
    def template(self) -> Template:
        """The template for the matchers of `aws_cdk.assertions`."""
        # Loading the CDK takes 4 s, and every process that runs tests collects those of the stack.
        from aws_cdk.assertions import Template

        return Template.from_string(self.text)

    @cached_property
    def files(self) -> list[dict[str, Any]]:
        """The files to upload, from the CDK's manifest."""
        manifest = self.info.template.with_name(f"{self.info.stack_name}.assets.json")
        return list(json.loads(manifest.read_text(encoding="utf-8"))["files"].values())

    @property
    def resources(self) -> dict[str, dict[str, Any]]:
        resources: dict[str, dict[str, Any]] = self.document["Resources"]
        return resources

    def of_type(self, kind: str) -> dict[str, Properties]:
        """Properties of every resource of a type, by logical id."""
        return {
            name: resource.get("Properties", {})
            for name, resource in self.resources.items()
            if resource["Type"] == kind
        }

    def properties(self, logical_id: str) -> Properties:
        properties: Properties = self.resources[logical_id]["Properties"]
        return properties

    def statements_of(self, function: str) -> list[dict[str, Any]]:
        """Return the statements of a function's role, with actions and resources as lists."""
        role = self.resources[self.properties(function)["Role"]["Fn::GetAtt"][0]]["Properties"]
        (policy,) = role["Policies"]
        return [
            {**statement, "Action": as_list(statement["Action"]), "Resource": as_list(statement["Resource"])}
            for statement in policy["PolicyDocument"]["Statement"]
        ]

    def actions_on(self, function: str, logical_id: str) -> set[str]:
        """Return the actions that a function may perform on a resource (or on its indexes and log streams)."""
        return {
            action
            for statement in self.statements_of(function)
            if any(logical_id in references(resource) for resource in statement["Resource"])
            for action in statement["Action"]
        }

    def conditions_on(self, function: str, logical_id: str) -> list[Any]:
        """Return the conditions of a function's statements about a resource; None for a statement without."""
        return [
            statement.get("Condition")
            for statement in self.statements_of(function)
            if any(logical_id in references(resource) for resource in statement["Resource"])
        ]

    def environment_of(self, function: str) -> Properties:
        variables: Properties = self.properties(function)["Environment"]["Variables"]
        return variables

    def routes(self) -> dict[str, tuple[str, Properties]]:
        """``"GET /streams"`` → the function behind it and the method's properties."""
        return {
            f"{method['HttpMethod']} {self._path(method['ResourceId'])}": (_integrated(method), method)
            for method in self.of_type("AWS::ApiGateway::Method").values()
        }

    def _path(self, resource_id: Mapping[str, Any]) -> str:
        if "Ref" not in resource_id:
            return ""
        resource = self.properties(resource_id["Ref"])
        return f"{self._path(resource['ParentId'])}/{resource['PathPart']}"


def _integrated(method: Properties) -> str:
    parts = method["Integration"]["Uri"]["Fn::Join"][1]
    return next(str(part["Fn::GetAtt"][0]) for part in parts if isinstance(part, dict) and "Fn::GetAtt" in part)


def with_long_names(number: int) -> list[Projection]:
    """Return projections with different names of 40 characters."""
    return [Projection(f"{index:x}-projection".rjust(MAX_NAME_CHARACTERS, "n"), key="id") for index in range(number)]


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def references(value: Any) -> set[str]:
    """Name the resources that a value refers to."""
    return {name for name, _ in _references(value)}


def _references(value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, list):
        for each in value:
            yield from _references(each)
    elif isinstance(value, dict):
        if isinstance(value.get("Ref"), str):
            yield value["Ref"], ""
        elif "Fn::GetAtt" in value:
            yield value["Fn::GetAtt"][0], value["Fn::GetAtt"][1]
        else:
            for each in value.values():
                yield from _references(each)


def synthesized(
    outdir: Path,
    settings: StackSettings,
    *,
    validate: bool = False,
    projections: Mapping[str, ProjectionDefinition] | None = None,
) -> Synthesized:
    """Synthesize once."""
    return Synthesized(synthesize(settings, outdir, validate=validate, projections=projections))
