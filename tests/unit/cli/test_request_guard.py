"""Who may talk to the emulator: what is decided from method, path, query and headers alone."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.emulator.request_guard import RequestGuard, refusal

KEY = "ESCTL0123456789ABCDEF"
ISSUED = "ASIA0123456789ABCDEF"
SIGNED = {"authorization": f"AWS4-HMAC-SHA256 Credential={KEY}/20261124/us-east-1/sqs/aws4_request, Signature=00"}
HERE = {"host": "127.0.0.1:4566"}
API = "/restapis/abc/v1/_user_request_/listTestItems"


def refused(
    path: str = "/", headers: dict[str, str] | None = None, *, method: str = "GET", query: str = "", more: Any = ()
) -> str | None:
    fields = [(name.encode(), value.encode("latin-1")) for name, value in (HERE | (headers or {})).items()]
    fields += [(name.encode(), value.encode()) for name, value in more]
    return refusal(method, path, query.encode(), fields, access_key=KEY, is_issued=lambda key: key == ISSUED)


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE"])
@pytest.mark.parametrize("path", ["/", "/apikeys", "/bucket/key", "/_ministack/health", "/_aws/execute-api/abc/v1/x"])
def test_the_secret_access_key_opens_everything(method: str, path: str) -> None:
    assert refused(path, SIGNED, method=method) is None
    assert refused(path, method=method) is not None


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"host": "localhost:4566"},
        {"host": "LOCALHOST"},
        {"origin": "https://elsewhere.example", "sec-fetch-site": "cross-site"},
        {"origin": "http://[x"},
        {"authorization": "AWS4-HMAC-SHA256 Credential=AKIASOMEBODY/20261124/us-east-1/execute-api/aws4_request"},
    ],
)
def test_routes_of_the_deployed_api_are_open_to_everybody(method: str, headers: dict[str, str]) -> None:
    assert refused(API, headers, method=method, query="Action=x") is None


@pytest.mark.parametrize(
    "path",
    [
        "//restapis/abc/v1/_user_request_/x",
        "/restapis//abc/v1/_user_request_/x",
        "/restapis/abc//v1/_user_request_/x",
        "/restapis/abc/v1//_user_request_/x",
        "/restapis/abc/_user_request_/x",
        "/restapis/abc/v1/_user_request_x",
        "/restapis/abc/v1/x/_user_request_/",
        "/restapis/../v1/_user_request_/x",
        "/restapis/abc/../_user_request_/x",
        "/restapis/%61bc/v1/_user_request_/x",
        "/restapis/abc/v1/_user_request_/@connections/1",
        "/bucket/restapis/abc/v1/_user_request_/x",
        "/_user_request_/",
        "/x?/restapis/abc/v1/_user_request_/x",
        "/restapis/abc/resources",
        "/_aws/execute-api/abc/v1/x",
    ],
)
def test_what_only_looks_like_a_route_of_the_api_needs_the_key(path: str) -> None:
    assert refused(path) is not None
    assert refused(path, SIGNED) is None


@pytest.mark.parametrize(
    "host",
    [
        "",
        "[x",
        "[::1]:4566",
        "rebound.example:4566",
        "not-localhost",
        "localhost.example",
        "evil-127.0.0.1.example",
        "127.0.0.1:4566, abc.execute-api.localhost",
        "127.0.0.1:4566@elsewhere.example",
        "127.0.0.1 ",
        "127.0.0.1:٣",
    ],
)
def test_other_hosts_are_refused_even_with_the_key(host: str) -> None:
    for path in ("/", API):
        fields = [(b"host", host.encode())] if host else []
        fields += [(name.encode(), value.encode()) for name, value in SIGNED.items()]
        assert refusal("GET", path, b"", fields, access_key=KEY, is_issued=lambda _: False) is not None


@pytest.mark.parametrize(
    "host",
    ["abc12345.execute-api.127.0.0.1", "abc12345.execute-api.localhost:4566", "b.s3.localhost", "x.amazonaws.com"],
)
def test_under_another_name_of_this_machine_the_emulator_serves_other_things_than_the_api(host: str) -> None:
    assert refused(API, {"host": host}) is not None


@pytest.mark.parametrize(
    "host", ["localhost:4566", "bucket.s3.localhost:4566", "abc.execute-api.us-east-1.amazonaws.com"]
)
def test_hosts_of_buckets_and_services_are_served_with_the_key(host: str) -> None:
    assert refused("/", SIGNED | {"host": host}) is None


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://elsewhere.example"},
        {"origin": "http://localhost:3000"},
        {"origin": "http://127.0.0.1:4566"},
        {"origin": "null"},
        {"origin": "http://[x"},
        {"origin": ""},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "none, cross-site"},
    ],
)
def test_web_pages_are_refused_even_with_the_key(headers: dict[str, str]) -> None:
    assert refused("/", SIGNED | headers) == "Web pages may only call the deployed API."


@pytest.mark.parametrize("site", ["none", "same-origin"])
def test_what_the_user_asks_the_browser_for_needs_the_key_as_all_else(site: str) -> None:
    assert refused("/", SIGNED | {"sec-fetch-site": site}) is None
    assert refused("/", {"sec-fetch-site": site}) is not None


def test_preflights_outside_the_api_are_refused_even_with_the_key() -> None:
    assert refused("/", SIGNED, method="OPTIONS") is not None


@pytest.mark.parametrize(
    "query",
    [
        "Action=CreateStack",
        "x=1&Action=CreateStack",
        "%41ction=CreateStack",
        "action=CreateStack",
        "Action",
        "X-Amz-Signature=00",
        "x-amz-credential=test%2F20261124",
        "X%2DAmz-Signature=00",
    ],
)
def test_actions_and_signatures_in_the_query_are_refused_even_with_the_key(query: str) -> None:
    assert refused("/", SIGNED, query=query) is not None


@pytest.mark.parametrize("query", ["", "list-type=2&prefix=Action", "x-id=PutObject", "X=%ff&%", "a;Action=b"])
def test_other_queries_are_passed_on(query: str) -> None:
    assert refused("/bucket", SIGNED, query=query) is None


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "AWS4-HMAC-SHA256 Credential=test/20261124/us-east-1/sqs/aws4_request",
        "AWS4-HMAC-SHA256 Credential=000000000000/20261124/us-east-1/sqs/aws4_request",
        f"AWS4-HMAC-SHA256 Credential={KEY[:-1]}/20261124/us-east-1/sqs/aws4_request",
        f"AWS4-HMAC-SHA256 Credential={KEY}0/20261124/us-east-1/sqs/aws4_request",
        f"AWS4-HMAC-SHA256 Credential=test/x Credential={KEY}/20261124",
        f"AWS4-HMAC-SHA256 x Credential={KEY}/20261124",
        f"AWS4-HMAC-SHA256 Credential={KEY}",
        f"AWS4-ECDSA-P256-SHA256 Credential={KEY}/20261124",
        f"AWS {KEY}:signature",
        f"Bearer {KEY}",
        KEY,
        f"AWS4-HMAC-SHA256 Credential={KEY}\xe9/20261124",
    ],
)
def test_other_credentials_are_refused(authorization: str) -> None:
    reason = refused("/", {"authorization": authorization})

    assert reason is not None
    assert "esctl local env" in reason
    assert KEY not in reason


def test_a_second_header_can_not_stand_behind_a_good_one() -> None:
    forged = "AWS4-HMAC-SHA256 Credential=test/20261124/us-east-1/sqs/aws4_request"

    assert refused("/", {"authorization": forged}, more=SIGNED.items()) is not None
    assert refused("/", SIGNED, more=[("host", "elsewhere.example")]) is not None
    assert refused(API, more=[("host", "abc12345.execute-api.127.0.0.1")]) is not None


def test_keys_that_the_emulator_issued_are_let_through_where_it_checks_them() -> None:
    issued = {"authorization": f"AWS4-HMAC-SHA256 Credential={ISSUED}/20261124/us-east-1/sqs/aws4_request"}

    assert refused("/", issued, method="POST") is None
    for path in ("/_ministack/lambda-code/f", "/_aws/sqs/messages", "/_localstack/health", "/_alb/x"):
        assert refused(path, issued) is not None


def test_the_answer_of_a_custom_resource_needs_only_its_secret_address() -> None:
    token = "0b5f1c6e-0a51-4c68-9d7a-111111111111"

    assert refused(f"/_ministack/cfn-response/{token}", method="PUT") is None
    assert refused(f"/_ministack/cfn-signal/{token}", method="PUT") is None
    assert refused(f"/_ministack/cfn-response/{token}", {"origin": "null"}, method="PUT") is not None
    assert refused(f"/_ministack/cfn-response/{token}", method="POST") is not None
    assert refused("/_ministack/cfn-response/x", method="PUT") is not None


@pytest.mark.parametrize("path", ["/_ministack/reset", "/_ministack/config"])
def test_the_emulator_is_emptied_by_esctl_only(path: str) -> None:
    assert refused(path, SIGNED, method="POST") == "Type: esctl local reset"


_PIECES = (
    *(
        "/",
        "//",
        "restapis",
        "abc",
        "v1",
        "_user_request_",
        "@connections",
        "..",
        ".",
        "%2F",
        "\n",
        "\x00",
        "?",
        "#",
        "é",
    ),
    *(
        "_ministack",
        "reset",
        "health",
        "_aws",
        "execute-api",
        "_alb",
        "iceberg",
        ".well-known",
        "jwks.json",
        "v2",
        "$default",
    ),
)
_PATHS = st.lists(st.sampled_from(_PIECES), max_size=9).map("".join) | st.lists(
    st.sampled_from(_PIECES), max_size=4
).map(lambda rest: "/restapis/abc/v1/_user_request_/" + "/".join(rest))
_HOSTS = st.sampled_from(
    [
        "127.0.0.1",
        "127.0.0.1:80",
        "localhost:80",
        "abc12345.execute-api.127.0.0.1",
        "b.s3.localhost",
        "d1.cloudfront.net",
    ]
)


@given(path=_PATHS, host=_HOSTS, method=st.sampled_from(["GET", "POST", "OPTIONS", "PUT"]))
def test_what_is_open_to_everybody_is_an_api_call_to_the_emulator_too(path: str, host: str, method: str) -> None:
    """Compared with the emulator's own routing: it sends to an API all that needs no key here, before anything else."""
    from ministack import app

    fields = [(b"host", host.encode())]
    if refusal(method, path, b"", fields, access_key=KEY, is_issued=lambda _: False) is not None:
        return

    api = app._parse_execute_api_url(host, path)
    shortcut = app._handle_pre_body_request(method, path, {"host": host}, {}, "id")
    assert api is not None
    assert api[:2] == ("abc", "v1")
    assert not api[2].startswith("/@connections/")
    assert asyncio.run(shortcut) is None


def answered(headers: dict[str, str]) -> tuple[int, str, str, list[str]]:
    """What a client that may not is answered: status, content type and body; and what reached the emulator."""
    sent: list[Any] = []
    reached: list[str] = []

    async def emulator(scope: Any, *_: Any) -> None:
        reached.append(scope["path"])

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("a refused request is not read")

    guard = RequestGuard(emulator, asyncio.Event(), access_key=KEY, is_issued=lambda _: False)
    fields = [(name.encode(), value.encode()) for name, value in (HERE | headers).items()]
    asyncio.run(guard({"type": "http", "method": "POST", "path": "/", "headers": fields}, receive, send))
    kind = dict(sent[0]["headers"])[b"content-type"].decode()
    return sent[0]["status"], kind, sent[1]["body"].decode(), reached


def test_the_answer_has_the_form_that_the_caller_s_sdk_reads() -> None:
    status, kind, body, reached = answered({"x-amz-target": "DynamoDB_20120810.ListTables"})
    assert (status, kind, reached) == (403, "application/json", [])
    assert json.loads(body)["__type"] == "AccessDenied"

    for headers in (
        {"content-type": "application/x-www-form-urlencoded; charset=utf-8"},
        {"x-amz-content-sha256": "0"},
    ):
        status, kind, body, reached = answered(headers)
        assert (status, kind, reached) == (403, "text/xml", [])
        assert "<Code>AccessDenied</Code>" in body


def test_web_sockets_are_refused() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def nothing(*_: Any) -> None:
        raise AssertionError("nothing reaches the emulator")

    guard = RequestGuard(nothing, asyncio.Event(), access_key=KEY, is_issued=lambda _: True)
    asyncio.run(guard({"type": "websocket", "path": API, "headers": []}, nothing, send))

    assert sent == [{"type": "websocket.close"}]
