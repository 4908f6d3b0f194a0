"""Who may talk to the local target: web pages, other users of the machine, and the user's own tools."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest

from tests.e2e.support import Stack

# What Chromium sent when a page of another origin attacked the local target in every way a page can: see tests/browser.
RECORDED: list[dict[str, Any]] = json.loads(Path(__file__).parents[1].joinpath("browser/recorded.json").read_text())


class Reply(NamedTuple):
    status: int
    text: str


def send(stack: Stack, method: str, target: str, headers: Mapping[str, str], body: str = "") -> Reply:
    """Send exactly these headers: no ``Host`` of the client's own."""
    connection = http.client.HTTPConnection("127.0.0.1", port_of(stack), timeout=30)
    try:
        connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders(body.encode() or None)
        answer = connection.getresponse()
        return Reply(answer.status, answer.read().decode())
    finally:
        connection.close()


def port_of(stack: Stack) -> int:
    return int(urlsplit(stack.outputs["ApiUrl"]).port or 0)


def here(stack: Stack) -> dict[str, str]:
    return {"Host": f"127.0.0.1:{port_of(stack)}"}


def physical_name(stack: Stack, logical_id: str) -> str:
    found = stack.client("cloudformation").describe_stack_resource(StackName="esctl", LogicalResourceId=logical_id)
    return str(found["StackResourceDetail"]["PhysicalResourceId"])


def made(stack: Stack) -> set[str]:
    """What an attack would leave: queues and stacks."""
    queues = stack.client("sqs").list_queues()["QueueUrls"]
    stacks = stack.client("cloudformation").list_stacks()["StackSummaries"]
    return {*queues, *(each["StackName"] for each in stacks)}


def test_nothing_that_a_browser_sent_for_a_hostile_page_has_an_effect(stack: Stack) -> None:
    before, statuses = made(stack), []

    for each in RECORDED:
        page = f"http://{each['page']}:8000"
        address = here(stack)["Host"]
        headers = {
            name: value.replace("{emulator}", address).replace("{page}", page)
            for name, value in each["headers"].items()
        }
        statuses.append(send(stack, each["method"], each["target"], headers, each["body"]).status)

    assert statuses == [403] * len(RECORDED)
    assert made(stack) == before


def test_the_recorded_attacks_are_of_every_kind() -> None:
    """A recording of nothing would prove nothing."""
    targets = " ".join(each["target"] + each["body"] for each in RECORDED)
    headers = [{name.lower(): value for name, value in each["headers"].items()} for each in RECORDED]

    assert {each["page"] for each in RECORDED} == {"127.0.0.1", "localhost", "attacker.example"}
    assert {each["method"] for each in RECORDED} >= {"GET", "POST", "OPTIONS"}
    assert {each.get("sec-fetch-site") for each in headers} >= {"same-site", "cross-site", None}
    assert {each["sec-fetch-mode"] for each in headers if "sec-fetch-mode" in each} == {"no-cors", "cors", "navigate"}
    assert any("origin" in each for each in headers)
    assert any("origin" not in each for each in headers)
    for attack in ("img", "script", "iframe", "form-get", "form-post", "fetch-no-cors-post", "beacon", "navigation"):
        assert f"from-attacker-example-{attack}" in targets
    for attack in ("CreateStack", "X-Amz-Signature", "/apikeys", "/_ministack/reset"):
        assert attack in targets


@pytest.mark.parametrize("access_key", [None, "test", "000000000000", "testing", "ESCTL" + 40 * "0"])
def test_another_user_of_the_machine_reads_and_runs_nothing(stack: Stack, access_key: str | None) -> None:
    headers, function = here(stack), physical_name(stack, "AddEvent")
    if access_key is not None:
        scope = "20261124/us-east-1/apigateway/aws4_request"
        headers["Authorization"] = f"AWS4-HMAC-SHA256 Credential={access_key}/{scope}, SignedHeaders=host, Signature=00"

    for method, target, body in (
        ("GET", "/apikeys?includeValues=true", ""),
        ("GET", "/_ministack/health", ""),
        ("GET", "/_localstack/health", ""),
        ("GET", f"/_ministack/lambda-code/{function}", ""),
        ("GET", "/_aws/sqs/messages?QueueUrl=x", ""),
        ("POST", f"/2015-03-31/functions/{function}/invocations", "{}"),
        ("POST", "/", "Action=ListStacks&Version=2010-05-15"),
    ):
        reply = send(stack, method, target, headers | {"Content-Length": str(len(body))}, body)
        assert reply.status == 403, target
        assert stack.api_key not in reply.text


@pytest.mark.parametrize("headers", [{"Host": "[x"}, {"Origin": "http://[x"}, {"Host": "[x", "Origin": "http://[x"}])
def test_malformed_addresses_are_refused(stack: Stack, headers: dict[str, str]) -> None:
    assert send(stack, "GET", "/", here(stack) | headers).status == 403


def test_no_path_around_the_guard(stack: Stack) -> None:
    """The API answers, with its own refusal, or the guard: nothing else of the emulator does."""
    route = urlsplit(stack.outputs["ApiUrl"]).path
    for target in (
        f"{route}/../../../../apikeys?includeValues=true",
        f"{route}/..%2f..%2f..%2f..%2fapikeys?includeValues=true",
        f"{route}/%2e%2e/%2e%2e/%2e%2e/%2e%2e/apikeys?includeValues=true",
        f"{route}//apikeys?includeValues=true",
        f"{route}?Action=ListStacks",
        f"{route}/?Action=ListStacks&X-Amz-Signature=00",
        f"{route}/@connections/x",
        f"{route}%0a/apikeys",
        f"/apikeys{route}?includeValues=true",
        f"/apikeys?includeValues=true&{route}",
        f"/apikeys%3f{route}",
        f"/apikeys/..{route}/../apikeys",
        f"//127.0.0.1{route}/../../../../apikeys",
        f"http://127.0.0.1/apikeys?{route}",
        f"http://127.0.0.1{route}/../../../../apikeys",
    ):
        for method, more in (("GET", {}), ("POST", {"X-HTTP-Method-Override": "GET", "X-Original-URL": "/apikeys"})):
            reply = send(stack, method, target, here(stack) | more)
            assert reply.status in (403, 404), target
            assert stack.api_key not in reply.text


def test_the_api_is_called_from_any_page_that_has_its_key(stack: Stack) -> None:
    headers = {"Origin": "https://elsewhere.example", "Sec-Fetch-Site": "cross-site"}

    assert stack.api("GET", "/listTestItems", headers=headers).status == 200
    assert stack.api("GET", "/listTestItems", headers=headers | {"x-api-key": "x" * 40}).status == 403


def test_the_user_s_own_tools_get_in_with_what_local_env_prints(stack: Stack) -> None:
    tool = "import boto3; print(boto3.client('dynamodb').list_tables()['TableNames'])"
    script = f'eval "$("{sys.executable}" -m cli.shell.main local env)" && exec "{sys.executable}" -c "{tool}"'
    variables = stack.environment | {"AWS_SESSION_TOKEN": "of-something-else", "AWS_PROFILE": "not-there"}

    done = subprocess.run(["sh", "-c", script], env=variables, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert stack.outputs["EventsTable"] in done.stdout
