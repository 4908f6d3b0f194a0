"""The asset bucket and its uploads (moto's S3)."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli.deployment.assembly import Asset, load, resolved
from cli.deployment.assets import S3AssetStore, check_present, publish
from cli.deployment.ports import BucketState
from cli.errors import AccessError, DeploymentError
from cli.targets import Target
from tests.unit.deployment.fakes import AWS, TEMPLATE, FakeAssets, write_assembly

BUCKET = "esctl-assets-123456789012-eu-central-1"


class OneClient:
    """Stands where `cli.aws.Clients` does."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def client(self, service: str) -> Any:
        assert service == "s3"
        return self._client


@pytest.fixture
def asset(tmp_path: Path) -> Asset:
    path = tmp_path / "code.zip"
    path.write_bytes(b"code")
    return Asset(path, BUCKET, "c0de.zip")


@pytest.fixture
def s3(moto_client: Callable[[str], Any]) -> Any:
    return moto_client("s3")


@pytest.fixture
def store(s3: Any) -> S3AssetStore:
    return S3AssetStore(OneClient(s3), Target("aws", "shop", "us-east-1", account="123456789012"))  # type: ignore[arg-type]


def test_the_bucket_is_made_private_encrypted_versioned_and_tls_only(store: S3AssetStore, s3: Any) -> None:
    assert store.state(BUCKET) is BucketState.MISSING
    store.prepare(BUCKET)
    assert store.state(BUCKET) is BucketState.READY
    assert all(s3.get_public_access_block(Bucket=BUCKET)["PublicAccessBlockConfiguration"].values())
    assert s3.get_bucket_versioning(Bucket=BUCKET)["Status"] == "Enabled"
    rule = s3.get_bucket_encryption(Bucket=BUCKET)["ServerSideEncryptionConfiguration"]["Rules"][0]
    assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    lifecycle = s3.get_bucket_lifecycle_configuration(Bucket=BUCKET)["Rules"][0]
    assert lifecycle["NoncurrentVersionExpiration"]["NoncurrentDays"] == 30
    statement = json.loads(s3.get_bucket_policy(Bucket=BUCKET)["Policy"])["Statement"][0]
    assert (statement["Effect"], statement["Principal"]) == ("Deny", "*")
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert statement["Resource"] == [f"arn:aws:s3:::{BUCKET}", f"arn:aws:s3:::{BUCKET}/*"]


def test_a_bucket_whose_making_was_interrupted_is_finished(store: S3AssetStore, s3: Any) -> None:
    s3.create_bucket(Bucket=BUCKET)
    assert store.state(BUCKET) is BucketState.UNFINISHED
    store.prepare(BUCKET)
    assert store.state(BUCKET) is BucketState.READY


@pytest.fixture
def bucket(s3: Any) -> None:
    """A bucket that counts as ready; moto takes our own policy's denial as one of everything."""
    s3.create_bucket(Bucket=BUCKET)
    allowed = {"Effect": "Allow", "Principal": "*", "Action": "s3:*", "Resource": f"arn:aws:s3:::{BUCKET}/*"}
    s3.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps({"Version": "2012-10-17", "Statement": [allowed]}))


@pytest.mark.usefixtures("bucket")
def test_an_asset_is_uploaded_once(store: S3AssetStore, asset: Asset) -> None:
    assert publish([asset], store) == [asset]
    assert publish([asset], store) == []
    check_present([asset], store)


@pytest.mark.usefixtures("bucket")
def test_an_upload_that_was_cut_off_is_repeated(store: S3AssetStore, s3: Any, asset: Asset) -> None:
    publish([asset], store)
    s3.put_object(Bucket=BUCKET, Key=asset.key, Body=b"co")
    with pytest.raises(DeploymentError, match="it has 2 bytes, not 4"):
        check_present([asset], store)
    assert publish([asset], store) == [asset]


def test_a_missing_asset_is_said(asset: Asset) -> None:
    with pytest.raises(DeploymentError, match="it is not there"):
        check_present([asset], FakeAssets())


def test_a_foreign_bucket_is_not_used(asset: Asset) -> None:
    with pytest.raises(AccessError):
        publish([asset], FakeAssets(bucket=BucketState.FOREIGN))


def test_only_our_own_buckets_are_made(tmp_path: Path, asset: Asset) -> None:
    with pytest.raises(DeploymentError, match="makes only esctl-assets-"):
        publish([Asset(asset.path, "cdk-hnb659fds-assets-1-eu", "key")], FakeAssets())


def test_the_templates_address_follows_the_endpoint(store: S3AssetStore) -> None:
    assert store.url(BUCKET, "k.json") == f"https://{BUCKET}.s3.us-east-1.amazonaws.com/k.json"


def test_manifest_placeholders_become_the_target(tmp_path: Path) -> None:
    write_assembly(tmp_path, "shop", TEMPLATE)
    assembly = load(tmp_path, AWS)
    assert [(each.bucket, each.key, each.is_template) for each in assembly.assets] == [
        (BUCKET, "c0de.zip", False),
        (BUCKET, "7emplate.json", True),
    ]
    assert [each.key for each in assembly.code] == ["c0de.zip"]
    china = Target("aws", "shop", "cn-north-1", account="1")
    assert resolved("arn:${AWS::Partition}:s3:::x-${AWS::Region}", china) == "arn:aws-cn:s3:::x-cn-north-1"


def test_an_assembly_of_another_stack_is_refused(tmp_path: Path) -> None:
    write_assembly(tmp_path, "other", TEMPLATE)
    with pytest.raises(DeploymentError, match="holds no stack shop"):
        load(tmp_path, AWS)
