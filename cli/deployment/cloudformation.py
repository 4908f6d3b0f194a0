"""CloudFormation through boto3: the adapters of the ports `Stacks` and `ChangeSets`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from cli.deployment.changes import change_of, in_order
from cli.deployment.model import ChangeSet, ChangeSetRequest, Parameter, Resource, Stack, StackEvent, Template

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_cloudformation.type_defs import ParameterTypeDef, StackEventTypeDef, StackTypeDef


class CloudFormationStacks:
    """Stacks of one account and region."""

    def __init__(self, client: CloudFormationClient) -> None:
        self._client = client

    def describe(self, stack: str) -> Stack | None:
        try:
            found = self._client.describe_stacks(StackName=stack)["Stacks"]
        except ClientError as error:
            if _does_not_exist(error):
                return None
            raise
        return _stack(found[0]) if found else None

    def events(self, stack_id: str) -> Iterator[Sequence[StackEvent]]:
        pages = self._client.get_paginator("describe_stack_events").paginate(StackName=stack_id)
        for page in pages:
            yield [_event(each) for each in page["StackEvents"]]

    def template(self, stack_id: str) -> Template:
        body = self._client.get_template(StackName=stack_id, TemplateStage="Processed").get("TemplateBody")
        # botocore parses a JSON template; one in YAML stays text and is none of ours.
        if isinstance(body, str):
            try:
                body = json.loads(body)
            except ValueError:
                return {}
        return dict(body) if isinstance(body, Mapping) else {}

    def resources(self, stack_id: str) -> Sequence[Resource]:
        pages = self._client.get_paginator("list_stack_resources").paginate(StackName=stack_id)
        return [
            Resource(
                logical_id=each["LogicalResourceId"],
                physical_id=each.get("PhysicalResourceId", ""),
                resource_type=each["ResourceType"],
                status=each["ResourceStatus"],
            )
            for page in pages
            for each in page["StackResourceSummaries"]
        ]

    def delete(self, stack_id: str, token: str) -> None:
        self._client.delete_stack(StackName=stack_id, ClientRequestToken=token)


class CloudFormationChangeSets:
    """Change sets of one account and region."""

    def __init__(self, client: CloudFormationClient) -> None:
        self._client = client

    def create(self, request: ChangeSetRequest) -> str:
        template: dict[str, Any] = (
            {"TemplateURL": request.template_url} if request.template_url else {"TemplateBody": request.template_body}
        )
        made = self._client.create_change_set(
            StackName=request.stack_name,
            ChangeSetName=request.name,
            ChangeSetType="CREATE" if request.creating else "UPDATE",
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM"],
            Parameters=[_parameter(each) for each in request.parameters],
            Tags=[{"Key": key, "Value": value} for key, value in request.tags.items()],
            **template,
        )
        return made["Id"]

    def describe(self, change_set_id: str) -> ChangeSet:
        first = self._client.describe_change_set(ChangeSetName=change_set_id)
        entries: list[Mapping[str, Any]] = [*first.get("Changes", [])]
        token = first.get("NextToken")
        while token:
            page = self._client.describe_change_set(ChangeSetName=change_set_id, NextToken=token)
            entries.extend(page.get("Changes", []))
            token = page.get("NextToken")
        changes = [change for change in map(change_of, entries) if change]
        return ChangeSet(
            id=change_set_id,
            stack_id=first["StackId"],
            status=first["Status"],
            reason=first.get("StatusReason", ""),
            changes=in_order(changes),
        )

    def execute(self, change_set_id: str, token: str) -> None:
        self._client.execute_change_set(ChangeSetName=change_set_id, ClientRequestToken=token)

    def delete(self, change_set_id: str) -> None:
        try:
            self._client.delete_change_set(ChangeSetName=change_set_id)
        except ClientError as error:
            # One that is being made can't be deleted yet; it is no harm, and no reason to hide why we are here.
            if error.response.get("Error", {}).get("Code") not in ("InvalidChangeSetStatus", "ChangeSetNotFound"):
                raise


def _does_not_exist(error: ClientError) -> bool:
    # CloudFormation has no code of its own for a missing stack.
    detail = error.response.get("Error", {})
    return detail.get("Code") == "ValidationError" and "does not exist" in detail.get("Message", "")


def _stack(found: StackTypeDef) -> Stack:
    changed_at = found.get("LastUpdatedTime") or found["CreationTime"]
    return Stack(
        name=found["StackName"],
        id=found.get("StackId", ""),
        status=found["StackStatus"],
        reason=found.get("StackStatusReason", ""),
        changed_at=_utc(changed_at).isoformat(),
        outputs={each.get("OutputKey", ""): each.get("OutputValue", "") for each in found.get("Outputs", [])},
        tags={each["Key"]: each["Value"] for each in found.get("Tags", [])},
        parameters=tuple(each.get("ParameterKey", "") for each in found.get("Parameters", [])),
    )


def _event(found: StackEventTypeDef) -> StackEvent:
    return StackEvent(
        id=found["EventId"],
        at=_utc(found["Timestamp"]),
        logical_id=found.get("LogicalResourceId", ""),
        physical_id=found.get("PhysicalResourceId", ""),
        resource_type=found.get("ResourceType", ""),
        status=found.get("ResourceStatus", ""),
        reason=found.get("ResourceStatusReason", ""),
        stack_id=found["StackId"],
    )


def _parameter(parameter: Parameter) -> ParameterTypeDef:
    if parameter.value is None:
        return {"ParameterKey": parameter.name, "UsePreviousValue": True}
    return {"ParameterKey": parameter.name, "ParameterValue": parameter.value}


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)
