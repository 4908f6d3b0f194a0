"""Assets in S3: the bucket of this account and region, and each file in it once per content."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from cli.deployment.assembly import Asset, partition_of
from cli.deployment.ports import AssetStore, BucketState
from cli.errors import AccessError, DeploymentError
from cli.targets import Target

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from cli.aws import Clients

BUCKET_PREFIX = "esctl-assets-"
NONCURRENT_DAYS = 30
UNFINISHED_UPLOAD_DAYS = 7


def publish(assets: Sequence[Asset], store: AssetStore) -> list[Asset]:
    """Upload what is not there yet; the assets that were uploaded.

    Raises
    ------
    DeploymentError
        The bucket is missing and not ours to make, or belongs to somebody else.
    """
    for bucket in sorted({asset.bucket for asset in assets}):
        _prepare(bucket, store)
    missing = [asset for asset in assets if store.size(asset.bucket, asset.key) != asset.path.stat().st_size]
    for asset in missing:
        store.put(asset.bucket, asset.key, asset.path)
    return missing


def check_present(assets: Sequence[Asset], store: AssetStore) -> None:
    """Refuse to go on where an asset is missing: the emulator would make a function that does nothing, silently.

    Raises
    ------
    DeploymentError
    """
    for asset in assets:
        size = store.size(asset.bucket, asset.key)
        if size != asset.path.stat().st_size:
            found = "it is not there" if size is None else f"it has {size} bytes, not {asset.path.stat().st_size}"
            raise DeploymentError(
                f"the asset s3://{asset.bucket}/{asset.key} can't be used: {found}",
                "Deploy again: it is uploaded anew.",
            )


def _prepare(bucket: str, store: AssetStore) -> None:
    state = store.state(bucket)
    if state is BucketState.READY:
        return
    if state is BucketState.FOREIGN:
        raise AccessError(
            f"can't use the asset bucket {bucket}: it belongs to another account, or may not be read",
            "Ask its owner for access, or use another region.",
        )
    if not bucket.startswith(BUCKET_PREFIX):
        raise DeploymentError(f"the asset bucket {bucket} doesn't exist, and esctl makes only {BUCKET_PREFIX}… ones")
    store.prepare(bucket)


class S3AssetStore:
    """The adapter of `AssetStore`. Every call names the account that must own the bucket."""

    def __init__(self, clients: Clients, target: Target) -> None:
        self._clients = clients
        self._account = target.account or ""
        self._region = target.region

    @property
    def _client(self) -> S3Client:
        # Made when first used: a deployment with nothing to upload never needs it, and a client takes 25 ms and more.
        return self._clients.client("s3")

    def state(self, bucket: str) -> BucketState:
        try:
            self._client.head_bucket(Bucket=bucket, ExpectedBucketOwner=self._account)
        except ClientError as error:
            if _status(error) == 404:
                return BucketState.MISSING
            if _status(error) == 403:
                return BucketState.FOREIGN
            raise
        try:
            # The policy is written last, so it tells that all the rest is done.
            self._client.get_bucket_policy(Bucket=bucket, ExpectedBucketOwner=self._account)
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") == "NoSuchBucketPolicy":
                return BucketState.UNFINISHED
            raise
        return BucketState.READY

    def prepare(self, bucket: str) -> None:
        where: Any = {}
        if self._region != "us-east-1":  # the default, which S3 refuses to be told
            where = {"CreateBucketConfiguration": {"LocationConstraint": self._region}}
        try:
            self._client.create_bucket(Bucket=bucket, **where)
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") != "BucketAlreadyOwnedByYou":
                raise
        ours: Any = {"Bucket": bucket, "ExpectedBucketOwner": self._account}
        self._client.put_public_access_block(
            **ours,
            PublicAccessBlockConfiguration={
                "BlockPublicAcls": True,
                "IgnorePublicAcls": True,
                "BlockPublicPolicy": True,
                "RestrictPublicBuckets": True,
            },
        )
        encryption: Any = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
        self._client.put_bucket_encryption(**ours, ServerSideEncryptionConfiguration={"Rules": [encryption]})
        self._client.put_bucket_versioning(**ours, VersioningConfiguration={"Status": "Enabled"})
        self._client.put_bucket_lifecycle_configuration(**ours, LifecycleConfiguration={"Rules": [_LIFECYCLE]})
        self._client.put_bucket_policy(**ours, Policy=json.dumps(tls_only(bucket, partition_of(self._region))))

    def size(self, bucket: str, key: str) -> int | None:
        try:
            found = self._client.head_object(Bucket=bucket, Key=key, ExpectedBucketOwner=self._account)
        except ClientError as error:
            if _status(error) == 404:
                return None
            raise
        return found["ContentLength"]

    def put(self, bucket: str, key: str, path: Path) -> None:
        from boto3.exceptions import S3UploadFailedError

        try:
            self._client.upload_file(str(path), bucket, key, ExtraArgs={"ExpectedBucketOwner": self._account})
        except S3UploadFailedError as error:
            # Its cause says what happened; the outermost shell knows how to tell it.
            raise error.__cause__ or error.__context__ or DeploymentError(f"can't upload: {error}") from error

    def url(self, bucket: str, key: str) -> str:
        endpoint = self._client.meta.endpoint_url
        if "amazonaws.com" not in endpoint:  # the local target, or AWS_ENDPOINT_URL
            return f"{endpoint}/{bucket}/{key}"
        suffix = "amazonaws.com.cn" if partition_of(self._region) == "aws-cn" else "amazonaws.com"
        return f"https://{bucket}.s3.{self._region}.{suffix}/{key}"


# What is current stays: a roll-back needs the code of the version before, however old that is.
_LIFECYCLE: Any = {
    "ID": "tidy",
    "Status": "Enabled",
    "Filter": {"Prefix": ""},
    "NoncurrentVersionExpiration": {"NoncurrentDays": NONCURRENT_DAYS},
    "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": UNFINISHED_UPLOAD_DAYS},
}


def tls_only(bucket: str, partition: str) -> dict[str, Any]:
    """The bucket policy that refuses unencrypted connections."""
    arn = f"arn:{partition}:s3:::{bucket}"
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "TlsOnly",
                "Effect": "Deny",
                "Principal": "*",
                "Action": "s3:*",
                "Resource": [arn, f"{arn}/*"],
                "Condition": {"Bool": {"aws:SecureTransport": "false"}},
            }
        ],
    }


def _status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
