"""The calls of AWS: the bucket and its uploads (moto's S3), and what CloudFormation's answers mean."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from cli.config.settings import Settings
from cli.config.targets import AwsTarget
from cli.deploy.assembly import Asset, upload
from cli.deploy.aws import Assets, CloudFormation, located
from cli.errors import AccessError, CliError, DeploymentError, ExitCode
from tests.support.clients import FaultyClient, client_error
from tests.unit.deploy.fakes import LOCAL, STACK_ID

BUCKET = "esctl-assets-123456789012-us-east-1"


class OneClient:
    """Stands where `cli.client.aws.Clients` does, with a client for whatever service."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def client(self, service: str) -> Any:
        return self._client


@pytest.fixture
def asset(tmp_path: Path) -> Asset:
    path = tmp_path / "code.zip"
    path.write_bytes(b"code")
    return Asset(path, "c0de.zip")


@pytest.fixture
def s3(moto_client: Callable[[str], Any]) -> Any:
    return moto_client("s3")


def assets(client: Any) -> Assets:
    return Assets(OneClient(client), AwsTarget("shop", "us-east-1", account="123456789012"))  # type: ignore[arg-type]


@pytest.fixture
def store(s3: Any) -> Assets:
    return assets(s3)


class TestBucket:
    def test_it_is_made_private_encrypted_versioned_and_tls_only(self, store: Assets, s3: Any) -> None:
        store.prepare()
        assert store.bucket == BUCKET
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

    def test_an_interrupted_creation_is_completed(self, store: Assets, s3: Any) -> None:
        s3.create_bucket(Bucket=BUCKET)
        store.prepare()
        assert s3.get_bucket_versioning(Bucket=BUCKET)["Status"] == "Enabled"
        assert s3.get_bucket_policy(Bucket=BUCKET)["Policy"]

    @pytest.mark.usefixtures("bucket")
    def test_one_that_is_complete_is_left_alone(self, store: Assets, s3: Any) -> None:
        store.prepare()
        assert "Status" not in s3.get_bucket_versioning(Bucket=BUCKET)

    def test_one_of_somebody_else_is_refused(self, s3: Any) -> None:
        def forbidden(*_: object) -> None:
            raise client_error("HeadBucket", "403", ResponseMetadata={"HTTPStatusCode": 403})

        with pytest.raises(AccessError, match="belongs to another account"):
            assets(FaultyClient(s3, "head_bucket", forbidden)).prepare()

    def test_the_templates_address_follows_the_endpoint(self, store: Assets, s3: Any) -> None:
        assert store.url("k.json") == f"{s3.meta.endpoint_url}/{BUCKET}/k.json"
        assert store.url("k.json").startswith("https://s3.")


@pytest.fixture
def bucket(s3: Any) -> None:
    """A bucket that counts as complete; moto takes our own policy's denial as one of everything."""
    s3.create_bucket(Bucket=BUCKET)
    allowed = {"Effect": "Allow", "Principal": "*", "Action": "s3:*", "Resource": f"arn:aws:s3:::{BUCKET}/*"}
    s3.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps({"Version": "2012-10-17", "Statement": [allowed]}))


@pytest.mark.usefixtures("bucket")
class TestUploads:
    def test_a_file_is_uploaded_once(self, store: Assets, asset: Asset) -> None:
        assert upload([asset], store) == [asset]
        assert upload([asset], store) == []

    def test_an_upload_that_was_cut_off_is_repeated(self, store: Assets, s3: Any, asset: Asset) -> None:
        upload([asset], store)
        s3.put_object(Bucket=BUCKET, Key=asset.key, Body=b"co")
        assert upload([asset], store) == [asset]
        assert s3.get_object(Bucket=BUCKET, Key=asset.key)["Body"].read() == b"code"

    def test_an_upload_that_arrives_incomplete_is_refused(
        self, store: Assets, s3: Any, asset: Asset, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def half(key: str, path: Path) -> None:
            s3.put_object(Bucket=BUCKET, Key=key, Body=b"co")

        monkeypatch.setattr(store, "put", half)
        with pytest.raises(DeploymentError, match="it has 2 bytes instead of 4"):
            upload([asset], store)

    def test_a_refused_upload_says_why(self, store: Assets, s3: Any, asset: Asset) -> None:
        s3.delete_bucket_policy(Bucket=BUCKET)
        s3.delete_bucket(Bucket=BUCKET)
        with pytest.raises(ClientError, match="NoSuchBucket"):
            store.put(asset.key, asset.path)


class Scripted:
    """A CloudFormation client that answers, or fails, as it is told."""

    def __init__(self, *answers: dict[str, Any] | Exception) -> None:
        self._answers = list(answers)
        self.requests: list[dict[str, Any]] = []

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        def call(**request: Any) -> Any:
            self.requests.append(request)
            answer = self._answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

        return call


def cloudformation(client: Scripted) -> CloudFormation:
    return CloudFormation(OneClient(client))  # type: ignore[arg-type]


class TestCloudFormation:
    def test_a_change_set_has_the_changes_of_all_pages(self) -> None:
        def page(name: str, **more: Any) -> dict[str, Any]:
            change = {"Action": "Add", "LogicalResourceId": name, "ResourceType": "AWS::SNS::Topic"}
            return {"StackId": STACK_ID, "Status": "CREATE_COMPLETE", "Changes": [{"ResourceChange": change}], **more}

        client = Scripted(page("A", NextToken="1"), page("B", NextToken="2"), page("C"))
        found = cloudformation(client).change_set("set")
        assert [change.logical_id for change in found.changes] == ["A", "B", "C"]
        assert [request.get("NextToken") for request in client.requests] == [None, "1", "2"]

    def test_a_missing_stack_is_none(self) -> None:
        missing = ClientError(
            {"Error": {"Code": "ValidationError", "Message": "Stack with id shop does not exist"}}, "DescribeStacks"
        )
        assert cloudformation(Scripted(missing)).stack("shop") is None

    def test_other_errors_are_not_taken_for_a_missing_stack(self) -> None:
        with pytest.raises(ClientError):
            cloudformation(Scripted(client_error("DescribeStacks", "Throttling"))).stack("shop")

    @pytest.mark.parametrize("code", ["InvalidChangeSetStatus", "ChangeSetNotFound"])
    def test_a_change_set_that_cannot_be_deleted_stays(self, code: str) -> None:
        cloudformation(Scripted(client_error("DeleteChangeSet", code))).delete_change_set("set")

    @pytest.mark.parametrize(
        ("api_key", "parameter"),
        [("k" * 20, {"ParameterValue": "k" * 20}), (None, {"UsePreviousValue": True})],
    )
    def test_a_key_that_nobody_knows_stays_as_it_is(self, api_key: str | None, parameter: dict[str, Any]) -> None:
        client = Scripted({"Id": "set"})
        cloudformation(client).create_change_set("shop", "n", creating=False, template_url="u", api_key=api_key)
        assert client.requests[0]["Parameters"] == [{"ParameterKey": "ApiKey", **parameter}]
        assert client.requests[0]["Tags"] == [{"Key": "application", "Value": "esctl"}]

    def test_a_template_in_yaml_is_none_of_ours(self) -> None:
        assert cloudformation(Scripted({"TemplateBody": "Resources: {}"})).template("shop") == {}


class Unauthenticated:
    """boto3 clients without credentials."""

    def client(self, service: str) -> Any:
        raise AccessError("no AWS credentials: none were found", "Sign in.")


class TestPreconditions:
    def test_everything_missing_is_said_at_once(self) -> None:
        target = AwsTarget("shop", "eu-central-1")
        with pytest.raises(CliError) as caught:
            located(target, Settings(), lambda _: Unauthenticated(), creates=True)  # type: ignore[arg-type,return-value]
        assert caught.value.exit_code == ExitCode.ACCESS
        assert len(caught.value.faults) == 2
        assert "credentials" in caught.value.faults[0]
        assert "API_KEY" in caught.value.faults[1]

    def test_a_single_fault_keeps_its_own_words(self) -> None:
        target = AwsTarget("shop", "eu-central-1")
        with pytest.raises(AccessError, match="no AWS credentials"):
            located(target, Settings(), lambda _: Unauthenticated(), creates=False)  # type: ignore[arg-type,return-value]

    def test_the_local_target_needs_no_credentials(self) -> None:
        assert located(LOCAL, Settings(), lambda _: Unauthenticated(), creates=True) is LOCAL  # type: ignore[arg-type,return-value]
