"""The HTTP client of the deployed API."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from decimal import Decimal

import pytest

from cli.client.http import HttpClient
from cli.config.targets import AccessKey, AwsTarget, LocalTarget
from cli.errors import AccessError, CliError, ExitCode, NotDeployedError, UnreachableError
from tests.unit.cli.cli_driver import Clock, Esctl
from tests.unit.cli.fake_api import KEY, FakeApi

EVENT = {"streamId": "s", "type": "T", "data": {"n": Decimal("0.10")}}
Sign = Callable[[], AccessKey | None]


def client(
    api: FakeApi, clock: Clock | None = None, *, key: str = KEY, sign: Sign = lambda: AccessKey("test", "test")
) -> HttpClient:
    outputs = {"ApiUrl": "https://abc.execute-api.us-east-1.amazonaws.com/v1", "ApiId": "abc"}
    target = LocalTarget("esctl", "eu-west-1", endpoint_url=f"http://127.0.0.1:{api.port}", outputs=outputs)
    return HttpClient(target, key, sign, sleep=(clock or Clock()).sleep)


def test_write_is_retried_with_the_same_key_after_a_transient_failure(api: FakeApi) -> None:
    api.answers = [(503, {}), (429, {}), (502, "bad gateway")]

    answer = client(api).post("/addEvent", EVENT)

    assert answer.document["eventId"] == 0
    assert len(api.calls) == 4
    assert len({call.headers["Idempotency-Key"] for call in api.calls}) == 1


def test_two_writes_have_two_keys(api: FakeApi) -> None:
    client(api).post("/addEvent", EVENT)
    client(api).post("/addEvent", EVENT)

    assert len({call.headers["Idempotency-Key"] for call in api.calls}) == 2


def test_broken_connection_is_retried(api: FakeApi) -> None:
    api.drops = 2

    assert client(api).post("/addEvent", EVENT).status == 201


def test_permanent_failure_is_reported_after_five_attempts(api: FakeApi) -> None:
    api.answers = [(503, {"detail": "a service is busy", "instance": "r-1"})] * 5

    with pytest.raises(CliError, match=r"503: a service is busy \(request r-1\)"):
        client(api).get("/listTestItems")

    assert len(api.calls) == 5


def test_pauses_grow_and_are_bounded(api: FakeApi) -> None:
    clock = Clock()
    api.answers = [(503, {})] * 5

    with pytest.raises(CliError):
        client(api, clock).get("/listTestItems")

    assert len(clock.sleeps) == 4
    assert all(0 <= pause <= 3.2 for pause in clock.sleeps)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, ExitCode.FAILED),
        (403, ExitCode.ACCESS),
        (404, ExitCode.NOT_FOUND),
        (409, ExitCode.CONFLICT),
        (413, ExitCode.FAILED),
        (422, ExitCode.FAILED),
        (501, ExitCode.FAILED),
    ],
)
def test_refusal_is_not_retried_and_has_its_exit_code(api: FakeApi, status: int, code: ExitCode) -> None:
    api.answers = [(status, {"title": "No", "detail": "it is not to be"})]

    with pytest.raises(CliError, match="it is not to be") as caught:
        client(api).post("/addEvent", EVENT)

    assert caught.value.exit_code == code
    assert len(api.calls) == 1


def test_a_missing_permission_on_the_api_names_the_action(api: FakeApi) -> None:
    said = "User: arn:aws:iam::1:user/me is not authorized to perform: execute-api:Invoke on resource: arn:aws:execute-api:x"
    api.answers = [(403, {"Message": said})]

    with pytest.raises(AccessError, match="not allowed execute-api:Invoke on arn:aws:execute-api:x") as caught:
        client(api).get("/listTestItems")

    assert "grant execute-api:Invoke" in caught.value.hint


@pytest.mark.parametrize(
    ("status", "path", "next_step"),
    [
        (404, "/replays/nope", "esctl replays"),
        (404, "/projections/nope/resume", "esctl projections"),
        (404, "/streams/nope/events", "esctl streams"),
        (404, "/listTestItems", "esctl status"),
        (409, "/addEvent", "decide again"),
        (501, "/addEvent", "esctl tail-logs"),
    ],
)
def test_refusal_suggests_what_to_do_next(api: FakeApi, status: int, path: str, next_step: str) -> None:
    api.answers = [(status, {"detail": "no"})]

    with pytest.raises(CliError) as caught:
        client(api).post(path, EVENT)

    assert next_step in caught.value.hint


def test_answer_that_is_not_json_is_an_error_of_one_line(api: FakeApi) -> None:
    api.answers = [(200, "<html>a proxy's greeting</html>")]

    with pytest.raises(CliError, match="not JSON"):
        client(api).get("/listTestItems")


def test_calls_carry_key_and_signature(api: FakeApi) -> None:
    client(api).post("/addEvent", EVENT)

    headers = api.calls[0].headers
    assert headers["x-api-key"] == KEY
    assert re.match(
        r"AWS4-HMAC-SHA256 Credential=test/\d{8}/eu-west-1/execute-api/aws4_request", headers["Authorization"]
    )
    assert "x-api-key" in headers["Authorization"]
    assert "idempotency-key" in headers["Authorization"]


def test_calls_are_unsigned_without_credentials(api: FakeApi) -> None:
    client(api, sign=lambda: None).get("/listTestItems")

    assert "Authorization" not in api.calls[0].headers


def test_numbers_are_sent_with_every_digit(api: FakeApi) -> None:
    client(api).post("/addEvent", EVENT)

    assert api.calls[0].body == EVENT
    assert str(api.calls[0].body["data"]["n"]) == "0.10"


def test_none_is_omitted_from_the_query(api: FakeApi) -> None:
    client(api).get("/listTestItems", limit=3, nextToken=None)

    assert api.calls[0].query == {"limit": "3"}


def test_unreachable_local_port_is_reported_without_retries() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    clock = Clock()

    with pytest.raises(UnreachableError) as caught:
        client(FakeApi(port=port), clock).get("/listTestItems")

    assert "esctl local start" in caught.value.hint
    assert clock.sleeps == []


def test_stack_without_an_api_is_not_deployed() -> None:
    with pytest.raises(NotDeployedError):
        HttpClient(AwsTarget("esctl", "eu-west-1"), KEY, lambda: None, sleep=Clock().sleep)


def test_wrong_key_is_refused_without_showing_it(esctl: Esctl, api: FakeApi) -> None:
    target = esctl.targets.current()
    assert target is not None
    esctl.knows(target, key="another-key-entirely")

    result = esctl("list")

    assert result.exit_code == 4
    assert "another-key-entirely" not in result.stderr


def test_proxy_of_the_environment_is_not_used_for_the_local_target(esctl: Esctl, api: FakeApi) -> None:
    esctl.variables |= {"HTTP_PROXY": "http://127.0.0.1:1", "HTTPS_PROXY": "http://127.0.0.1:1"}

    assert esctl("list").exit_code == 0
