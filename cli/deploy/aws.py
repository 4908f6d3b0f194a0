"""Every AWS call of `cli.deploy`: CloudFormation, S3, DynamoDB and STS.

Tests derive their fakes from these classes, so that both have the same interface.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from botocore.exceptions import ClientError

from cli.client.aws import Clients, account_of, region_of
from cli.config.settings import Settings
from cli.config.targets import AwsTarget, Target
from cli.deploy.assembly import Asset, Template
from cli.deploy.follow import StackEvent
from cli.deploy.plan import KEY_PARAMETER, TAGS, ChangeSet, Stack, change_of, in_order
from cli.errors import AccessError, CliError, DeploymentError
from stack.app import ASSET_BUCKET

if TYPE_CHECKING:
    from mypy_boto3_cloudformation.type_defs import ParameterTypeDef, StackEventTypeDef, StackTypeDef
    from mypy_boto3_dynamodb.type_defs import WaiterConfigTypeDef

R = TypeVar("R")

NONCURRENT_DAYS = 30
UNFINISHED_UPLOAD_DAYS = 7
TABLE_TIMEOUT_S = 600


class CloudFormation:
    """Stacks and change sets of one account and region."""

    def __init__(self, clients: Clients) -> None:
        self._client = clients.client("cloudformation")

    def stack(self, name: str) -> Stack | None:
        """Return the stack with this name or id, None if there is none. A deleted stack is found only by its id."""
        try:
            found = self._client.describe_stacks(StackName=name)["Stacks"]
        except ClientError as error:
            # CloudFormation has no error code for a missing stack.
            if _code(error) == "ValidationError" and "does not exist" in str(error):
                return None
            raise
        return _stack(found[0]) if found else None

    def events(self, stack_id: str) -> Iterator[Sequence[StackEvent]]:
        """Yield pages of events lazily, newest first."""
        for page in self._client.get_paginator("describe_stack_events").paginate(StackName=stack_id):
            yield [_event(each) for each in page["StackEvents"]]

    def template(self, stack_id: str) -> Template:
        """Return the template that the stack was last deployed with."""
        body: Any = self._client.get_template(StackName=stack_id, TemplateStage="Processed").get("TemplateBody")
        return body if isinstance(body, Mapping) else {}  # botocore parses JSON; ours is never YAML

    def resources(self, stack_id: str) -> dict[str, str]:
        """Return the physical id of each resource by its logical id."""
        return {
            each["LogicalResourceId"]: each.get("PhysicalResourceId", "")
            for page in self._client.get_paginator("list_stack_resources").paginate(StackName=stack_id)
            for each in page["StackResourceSummaries"]
        }

    def delete_stack(self, stack_id: str, token: str) -> None:
        self._client.delete_stack(StackName=stack_id, ClientRequestToken=token)

    def create_change_set(
        self, stack_name: str, name: str, *, creating: bool, template_url: str, api_key: str | None
    ) -> str:
        """Start creating a change set and return its id.

        With `creating`, the stack does not exist yet or is in review. Without an `api_key`, it keeps its own.
        """
        parameter: ParameterTypeDef = {"ParameterKey": KEY_PARAMETER, "UsePreviousValue": True}
        if api_key is not None:
            parameter = {"ParameterKey": KEY_PARAMETER, "ParameterValue": api_key}
        return self._client.create_change_set(
            StackName=stack_name,
            ChangeSetName=name,
            ChangeSetType="CREATE" if creating else "UPDATE",
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM"],
            TemplateURL=template_url,
            Parameters=[parameter],
            Tags=[{"Key": key, "Value": value} for key, value in TAGS.items()],
        )["Id"]

    def change_set(self, change_set_id: str) -> ChangeSet:
        """Return the current change set with all pages of its changes."""
        first = page = self._client.describe_change_set(ChangeSetName=change_set_id)
        entries: list[Any] = [*first.get("Changes", [])]
        while token := page.get("NextToken"):
            page = self._client.describe_change_set(ChangeSetName=change_set_id, NextToken=token)
            entries += page.get("Changes", [])
        changes = in_order(change for change in map(change_of, entries) if change)
        return ChangeSet(change_set_id, first["StackId"], first["Status"], first.get("StatusReason", ""), changes)

    def execute(self, change_set_id: str, token: str) -> None:
        self._client.execute_change_set(ChangeSetName=change_set_id, ClientRequestToken=token)

    def delete_change_set(self, change_set_id: str) -> None:
        """Delete the change set, unless it is being created or executed: then it can't be deleted."""
        try:
            self._client.delete_change_set(ChangeSetName=change_set_id)
        except ClientError as error:
            if _code(error) not in ("InvalidChangeSetStatus", "ChangeSetNotFound"):
                raise


class Assets:
    """The upload bucket of an account and region. Every call names the account that must own it."""

    def __init__(self, clients: Clients, target: Target) -> None:
        self._client = clients.client("s3")
        self._region = target.region
        self._owner = target.account or ""
        self.bucket = ASSET_BUCKET.replace("${AWS::AccountId}", self._owner).replace("${AWS::Region}", self._region)

    def upload(self, files: Sequence[Asset]) -> list[Asset]:
        """Upload the files that are not in the bucket yet, and return them.

        A file that does not arrive is a `DeploymentError`; the emulator would silently create a function without code.
        """
        self.prepare()
        uploaded = []
        for file in files:
            size = file.path.stat().st_size
            if self.size(file.key) == size:
                continue
            self.put(file.key, file.path)
            if (found := self.size(file.key)) != size:
                fault = "it is missing" if found is None else f"it has {found} bytes instead of {size}"
                raise DeploymentError(
                    f"the upload to s3://{self.bucket}/{file.key} failed: {fault}", "Run the command again."
                )
            uploaded.append(file)
        return uploaded

    def prepare(self) -> None:
        """Create the bucket (encrypted, versioned, private, TLS only), or complete an interrupted creation."""
        try:
            self._client.head_bucket(Bucket=self.bucket, ExpectedBucketOwner=self._owner)
            # The policy is written last: if it exists, the bucket is complete.
            self._client.get_bucket_policy(Bucket=self.bucket, ExpectedBucketOwner=self._owner)
        except ClientError as error:
            if _status(error) == 403:  # bucket names are global
                raise AccessError(
                    f"can't use the asset bucket {self.bucket}: it belongs to another account, or access is denied",
                    "Ask its owner for access, or use another region.",
                ) from error
            if _status(error) != 404:
                raise
            if _code(error) != "NoSuchBucketPolicy":
                self._create()
            self._protect()

    def _create(self) -> None:
        where: Any = {}
        if self._region != "us-east-1":  # the default, which S3 rejects as a constraint
            where = {"CreateBucketConfiguration": {"LocationConstraint": self._region}}
        try:
            self._client.create_bucket(Bucket=self.bucket, **where)
        except ClientError as error:
            if _code(error) != "BucketAlreadyOwnedByYou":
                raise

    def _protect(self) -> None:
        ours: Any = {"Bucket": self.bucket, "ExpectedBucketOwner": self._owner}
        blocked = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
        private: Any = dict.fromkeys(blocked, True)
        self._client.put_public_access_block(**ours, PublicAccessBlockConfiguration=private)
        encryption: Any = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
        self._client.put_bucket_encryption(**ours, ServerSideEncryptionConfiguration={"Rules": [encryption]})
        self._client.put_bucket_versioning(**ours, VersioningConfiguration={"Status": "Enabled"})
        self._client.put_bucket_lifecycle_configuration(**ours, LifecycleConfiguration={"Rules": [_LIFECYCLE]})
        self._client.put_bucket_policy(**ours, Policy=json.dumps(_tls_only(self.bucket, self._client.meta.partition)))

    def size(self, key: str) -> int | None:
        """Return the size of the object in bytes; None if it does not exist."""
        try:
            found = self._client.head_object(Bucket=self.bucket, Key=key, ExpectedBucketOwner=self._owner)
        except ClientError as error:
            if _status(error) == 404:
                return None
            raise
        return found["ContentLength"]

    def put(self, key: str, path: Path) -> None:
        from boto3.exceptions import S3UploadFailedError  # loads boto3: 100 ms, not needed by --help

        try:
            self._client.upload_file(str(path), self.bucket, key, ExtraArgs={"ExpectedBucketOwner": self._owner})
        except S3UploadFailedError as error:
            # The shell explains the cause.
            raise error.__cause__ or error.__context__ or DeploymentError(f"can't upload: {error}") from error

    def url(self, key: str) -> str:
        """Return the object's URL in the form that CloudFormation expects for a template."""
        return f"{self._client.meta.endpoint_url}/{self.bucket}/{key}"


class Tables:
    """Tables that stacks left behind."""

    def __init__(self, clients: Clients, poll_s: float) -> None:
        self._clients = clients  # creating the client takes 25 ms, and it is rarely needed
        self._poll_s = poll_s

    def holds_items(self, table: str) -> bool:
        """Return True if the table exists and is not empty."""
        try:
            return bool(self._clients.client("dynamodb").scan(TableName=table, Limit=1)["Items"])
        except ClientError as error:
            if _code(error) == "ResourceNotFoundException":
                return False
            raise

    def delete(self, table: str) -> bool:
        """Remove deletion protection, delete the table and wait until it is gone; return False if there is none."""
        client = self._clients.client("dynamodb")
        delay_s = max(1, round(self._poll_s))
        patience: WaiterConfigTypeDef = {"Delay": delay_s, "MaxAttempts": TABLE_TIMEOUT_S // delay_s}
        try:
            if client.describe_table(TableName=table)["Table"].get("DeletionProtectionEnabled"):
                client.update_table(TableName=table, DeletionProtectionEnabled=False)
                # A table that is being updated can't be deleted.
                client.get_waiter("table_exists").wait(TableName=table, WaiterConfig=patience)
            client.delete_table(TableName=table)
        except ClientError as error:
            if _code(error) == "ResourceNotFoundException":
                return False
            raise
        client.get_waiter("table_not_exists").wait(TableName=table, WaiterConfig=patience)
        return True


def located(target: Target, settings: Settings, clients_for: Callable[[Target], Clients], *, creates: bool) -> Target:
    """Return the target with its region and account; raise `CliError` with everything that is missing, one line each.

    If the command `creates` a stack, a missing API key is listed with the other faults; alone it is no fault, because
    an existing stack keeps its key.
    """
    if not isinstance(target, AwsTarget):
        return target
    faults: list[CliError] = []

    def attempt(call: Callable[[], R]) -> R | None:
        try:
            return call()
        except CliError as error:
            faults.append(error)
            return None

    # Without a region, the default one serves to look up the account.
    target = replace(target, region=attempt(lambda: region_of(target)) or target.region or "us-east-1")
    account = attempt(lambda: account_of(clients_for(target)))
    if faults and creates:
        attempt(settings.required_api_key)
    if len(faults) == 1:
        raise faults[0]
    if faults:
        lines = [f"{fault.message}. {fault.hint}" if fault.hint else fault.message for fault in faults]
        raise CliError(f"not ready to run: {len(faults)} problems", exit_code=faults[0].exit_code, faults=lines)
    return replace(target, account=account)


# Current versions are kept: a rollback needs the code of the previous deployment, however old.
_LIFECYCLE: Any = {
    "ID": "tidy",
    "Status": "Enabled",
    "Filter": {"Prefix": ""},
    "NoncurrentVersionExpiration": {"NoncurrentDays": NONCURRENT_DAYS},
    "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": UNFINISHED_UPLOAD_DAYS},
}


def _tls_only(bucket: str, partition: str) -> dict[str, Any]:
    """Return the bucket policy that denies unencrypted connections."""
    arn = f"arn:{partition}:s3:::{bucket}"
    statement = {
        "Sid": "TlsOnly",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": [arn, f"{arn}/*"],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    return {"Version": "2012-10-17", "Statement": [statement]}


def _stack(found: StackTypeDef) -> Stack:
    return Stack(
        name=found["StackName"],
        id=found.get("StackId", ""),
        status=found["StackStatus"],
        reason=found.get("StackStatusReason", ""),
        outputs={each.get("OutputKey", ""): each.get("OutputValue", "") for each in found.get("Outputs", [])},
        tags={each["Key"]: each["Value"] for each in found.get("Tags", [])},
        parameters=tuple(each.get("ParameterKey", "") for each in found.get("Parameters", [])),
    )


def _event(found: StackEventTypeDef) -> StackEvent:
    return StackEvent(
        id=found["EventId"],
        at=found["Timestamp"].astimezone(UTC),
        logical_id=found.get("LogicalResourceId", ""),
        physical_id=found.get("PhysicalResourceId", ""),
        resource_type=found.get("ResourceType", ""),
        status=found.get("ResourceStatus", ""),
        reason=found.get("ResourceStatusReason", ""),
        stack_id=found["StackId"],
    )


def _code(error: ClientError) -> str:
    return error.response.get("Error", {}).get("Code", "")


def _status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
