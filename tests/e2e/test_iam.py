"""AUTH=iam, and roles of least privilege: on an emulator that enforces policies, with users of its own IAM."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from cli.client.http import signed_headers
from cli.config.targets import AccessKey
from tests.e2e.support import Answer, Stack


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack whose API wants signatures, on an emulator that enforces the policies of every role and user."""
    stack = Stack(tmp_path_factory.mktemp("guarded"), {"ESCTL_LOCAL_IAM": "true", "AUTH": "iam"})
    try:
        stack.deploy()
        yield stack
    finally:
        stack.stop()


def user(stack: Stack, name: str, *, may_invoke: bool) -> AccessKey:
    """A new user of the stack's account."""
    client = stack.client("iam")
    client.create_user(UserName=name)
    if may_invoke:
        resource = f"arn:aws:execute-api:us-east-1:000000000000:{stack.outputs['ApiId']}/*"
        statement = {"Effect": "Allow", "Action": "execute-api:Invoke", "Resource": resource}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        client.put_user_policy(UserName=name, PolicyName="invoke", PolicyDocument=policy)
    key = client.create_access_key(UserName=name)["AccessKey"]
    return AccessKey(key["AccessKeyId"], key["SecretAccessKey"])


def signed_get(stack: Stack, signer: AccessKey, path: str = "/listTestItems") -> Answer:
    url = stack.outputs["ApiUrl"] + path
    headers = signed_headers("GET", url, {"x-api-key": stack.api_key}, b"", signer, "us-east-1")
    return stack.api("GET", path, headers=headers)


def test_every_function_has_the_permissions_that_it_needs(guarded: Stack) -> None:
    """The walkthrough, replay and rollback, resume and skip's refusals, lists of streams and replays."""
    guarded.esctl("walkthrough").ok()
    guarded.esctl("replay").ok()
    guarded.esctl("replay", "--rollback").ok()
    guarded.esctl("projections", "resume", "test-items").ok()
    guarded.esctl("replays").ok()
    guarded.esctl("doctor", "--probe").ok()
    guarded.esctl("status").ok()

    denied = guarded.esctl("tail-logs", "--since", "1h", "--filter", "not authorized", "-o", "json").ok().json

    assert denied == []


def test_the_reconciler_has_the_permissions_that_it_needs(guarded: Stack) -> None:
    functions = guarded.client("lambda")
    pages = functions.get_paginator("list_functions").paginate()
    names = [each["FunctionName"] for page in pages for each in page["Functions"]]
    [reconciler] = [name for name in names if name.startswith("esctl-Reconciler")]

    answer = functions.invoke(FunctionName=reconciler, Payload=b"{}")

    assert "FunctionError" not in answer
    assert json.loads(answer["Payload"].read())["test-items"]["streams"] == 1


def test_a_call_with_the_key_alone_is_refused(guarded: Stack) -> None:
    answer = guarded.api("GET", "/listTestItems")

    assert answer.status == 403


def test_a_signed_call_of_a_user_who_may_is_answered(guarded: Stack) -> None:
    answer = signed_get(guarded, user(guarded, "may", may_invoke=True))

    assert answer.status == 200
    assert "items" in answer.body


def test_an_imported_event_names_its_signer_and_its_original_actor(guarded: Stack) -> None:
    stream, signer = guarded.fresh_stream(), user(guarded, "importer", may_invoke=True)
    event = {"streamId": stream, "type": "PING", "data": {}, "timeStamp": "2020-01-02T03:04:05Z"}
    body = json.dumps({"events": [{**event, "metadata": {"actor": "ann"}}]}).encode()
    url = guarded.outputs["ApiUrl"] + "/addEvents"
    sent = {"x-api-key": guarded.api_key, "Content-Type": "application/json"}
    headers = signed_headers("POST", url, sent, body, signer, "us-east-1")

    assert guarded.api("POST", "/addEvents", body, headers=headers).status == 201

    [line] = guarded.esctl("export", "-", "--stream-id", stream).ok().lines
    metadata = json.loads(line)["metadata"]
    assert metadata == {"actor": "arn:aws:iam::000000000000:user/importer", "originalActor": "ann"}


def test_a_signed_call_without_the_key_is_refused(guarded: Stack) -> None:
    signer = user(guarded, "keyless", may_invoke=True)
    url = guarded.outputs["ApiUrl"] + "/listTestItems"
    headers = signed_headers("GET", url, {"x-api-key": "x" * 40}, b"", signer, "us-east-1")

    assert guarded.api("GET", "/listTestItems", headers=headers).status == 403


def test_a_user_who_may_not_is_refused(guarded: Stack) -> None:
    assert signed_get(guarded, user(guarded, "may-not", may_invoke=False)).status == 403


def test_a_wrong_signature_is_refused(guarded: Stack) -> None:
    signer = user(guarded, "forger", may_invoke=True)

    assert signed_get(guarded, signer._replace(secret_key="x" * 40)).status == 403


# Who may call the emulator itself ---------------------------------------------------------------------------------


def client_of(stack: Stack, signer: AccessKey, service: str) -> Any:
    """A client with the credentials of somebody other than the local target's administrator."""
    session = boto3.session.Session(signer.access_key, signer.secret_key, signer.token, region_name="us-east-1")
    return session.client(service, endpoint_url=stack.described["endpointUrl"])


@pytest.mark.parametrize("known", ["test", "000000000000", "123456789012"])
def test_no_well_known_access_key_is_the_administrator_of_the_api(guarded: Stack, known: str) -> None:
    credential = f"{known}/20261124/us-east-1/execute-api/aws4_request"
    header = f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders=host, Signature=00"
    query = f"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={credential.replace('/', '%2F')}"
    query += "&X-Amz-Date=20261124T000000Z&X-Amz-SignedHeaders=host&X-Amz-Signature=00&X-Amz-Expires=604800"

    assert signed_get(guarded, AccessKey(known, known)).status == 403
    assert guarded.api("GET", "/listTestItems", headers={"Authorization": header}).status == 403
    assert guarded.api("GET", "/listTestItems", headers={"Authorization": f"AWS {known}:00"}).status == 403
    assert guarded.api("GET", f"/listTestItems?{query}").status == 403
    assert guarded.api("GET", f"/listTestItems?AWSAccessKeyId={known}&Signature=00&Expires=4102444800").status == 403


def test_a_user_of_the_emulator_may_do_what_its_policies_allow(guarded: Stack) -> None:
    signer = user(guarded, "reader", may_invoke=False)
    tables = client_of(guarded, signer, "dynamodb")

    with pytest.raises(ClientError, match="not authorized to perform: dynamodb:ListTables"):
        tables.list_tables()
    statement = {"Effect": "Allow", "Action": "dynamodb:ListTables", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    guarded.client("iam").put_user_policy(UserName="reader", PolicyName="list", PolicyDocument=policy)

    assert guarded.outputs["EventsTable"] in tables.list_tables()["TableNames"]
    with pytest.raises(ClientError, match="InvalidSignatureException"):
        client_of(guarded, signer._replace(secret_key="x" * 40), "dynamodb").list_tables()


def test_a_deleted_access_key_is_unknown(guarded: Stack) -> None:
    signer = user(guarded, "gone", may_invoke=False)
    guarded.client("iam").delete_access_key(UserName="gone", AccessKeyId=signer.access_key)

    with pytest.raises(ClientError, match="Only for the credentials of this local target"):
        client_of(guarded, signer, "sts").get_caller_identity()


def test_the_session_of_a_function_cannot_be_computed_from_names(guarded: Stack) -> None:
    """The emulator, unmodified, derives it from the names of the function and its role."""
    functions = guarded.client("lambda").get_paginator("list_functions").paginate()
    [function] = [
        each for page in functions for each in page["Functions"] if each["FunctionName"].startswith("esctl-AddEvent")
    ]
    digest = hashlib.sha256(f"{function['FunctionArn']}:{function['Role']}".encode()).hexdigest()
    secret = hashlib.sha256(f"secret:{digest}".encode()).hexdigest()
    token = hashlib.sha256(f"token:{digest}".encode()).hexdigest()
    guarded.esctl("add-event", "--stream-id", guarded.fresh_stream(), "--type", "ANY", "--data", "{}").ok()

    with pytest.raises(ClientError, match="Only for the credentials of this local target"):
        client_of(guarded, AccessKey(f"ASIA{digest[:16].upper()}", secret, token), "sts").get_caller_identity()
