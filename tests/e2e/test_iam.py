"""AUTH=iam, and roles of least privilege: on an emulator that enforces policies, with users of its own IAM."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import boto3
import pytest

from cli.signing import signed_headers
from tests.e2e.support import Answer, Stack

# The emulator's administrator, whose signature it does not check.
ADMINISTRATOR = "test"


class Signer(NamedTuple):
    """A user's access key."""

    access_key: str
    secret_key: str
    token: str | None = None


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack whose API wants signatures, on an emulator that enforces the policies of every role and user."""
    stack = Stack(tmp_path_factory.mktemp("guarded"), {"ESCTL_LOCAL_IAM": "true", "AUTH": "iam"})
    try:
        stack.deploy()
        yield stack
    finally:
        stack.stop()


def administrator(stack: Stack, service: str) -> Any:
    """A client that may do everything."""
    return boto3.client(
        service,
        endpoint_url=stack.described["endpointUrl"],
        region_name="us-east-1",
        aws_access_key_id=ADMINISTRATOR,
        aws_secret_access_key=ADMINISTRATOR,
    )


def user(stack: Stack, name: str, *, may_invoke: bool) -> Signer:
    """A new user of the stack's account."""
    client = administrator(stack, "iam")
    client.create_user(UserName=name)
    if may_invoke:
        resource = f"arn:aws:execute-api:us-east-1:000000000000:{stack.outputs['ApiId']}/*"
        statement = {"Effect": "Allow", "Action": "execute-api:Invoke", "Resource": resource}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        client.put_user_policy(UserName=name, PolicyName="invoke", PolicyDocument=policy)
    key = client.create_access_key(UserName=name)["AccessKey"]
    return Signer(key["AccessKeyId"], key["SecretAccessKey"])


def signed_get(stack: Stack, signer: Signer, path: str = "/listTestItems") -> Answer:
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
    functions = administrator(guarded, "lambda")
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
