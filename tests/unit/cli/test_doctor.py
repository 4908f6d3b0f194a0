"""`esctl doctor`: how checks run, and the checks that need no deployed stack."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from cli.client.aws import errors
from cli.client.http import Answer
from cli.client.service import Service
from cli.commands.doctor import auditor
from cli.errors import CliError, NotFoundError
from cli.operate.doctor import Check, Finding, Verdict, count, read_models, run
from cli.shell.session import Session
from cli.terminal.output import Output
from tests.unit.cli.cli_driver import Esctl
from tests.unit.cli.served_api import served
from tests.unit.cli.test_cli_replay import tamper


def found(*checks: Check) -> list[tuple[str, str]]:
    return [(each.area, each.verdict.value) for each in run(checks, lambda finding: None)]


def well(area: str, *needs: str) -> Check:
    return Check(area, lambda: [Finding(area, Verdict.OK, "fine")], needs)


def failing(area: str, *needs: str) -> Check:
    def look() -> Iterator[Finding]:
        yield Finding(area, Verdict.OK, "so far")
        raise CliError("it broke: badly", "Fix it.", faults=["here", "there"])

    return Check(area, look, needs)


def test_an_error_in_a_check_is_a_fault_of_its_area() -> None:
    told: list[Finding] = []

    run([failing("api")], told.append)

    assert [each.verdict for each in told] == [Verdict.OK, Verdict.FAULT]
    assert told[1].what == "it broke: badly; here; there"
    assert told[1].hint == "Fix it."


def test_only_checks_that_depend_on_a_faulty_area_are_skipped() -> None:
    assert found(failing("api"), well("streams", "api"), well("probe", "streams"), well("queues")) == [
        ("api", "ok"),
        ("api", "fault"),
        ("streams", "skipped"),
        ("probe", "skipped"),
        ("queues", "ok"),
    ]


def test_a_note_is_not_a_fault() -> None:
    note = Check("a", lambda: [Finding("a", Verdict.NOTE, "FYI")])

    assert found(note, well("b", "a")) == [("a", "note"), ("b", "ok")]


class Api:
    """A stream with some eventIds, in pages of three."""

    def __init__(self, *event_ids: int) -> None:
        self._event_ids = event_ids

    def get(self, path: str, **query: Any) -> Answer:
        if not self._event_ids:
            raise NotFoundError("no such stream")
        first = int(query.get("nextToken") or 0)
        ids = self._event_ids[first : first + min(3, query["limit"])]
        following = first + len(ids)
        token = str(following) if following < len(self._event_ids) else None
        return Answer(200, {"events": [{"eventId": each} for each in ids], "nextToken": token}, {})


@pytest.mark.parametrize(
    ("event_ids", "result"),
    [
        ((0, 1, 2, 3, 4), (5, None)),
        ((0, 1, 3, 4), (2, 2)),
        ((1, 2), (0, 0)),
        ((), (0, 0)),
    ],
)
def test_gaps_in_a_stream_are_found(event_ids: tuple[int, ...], result: tuple[int, int | None]) -> None:
    api: Any = Api(*event_ids)

    assert count(Service(api), "s", None) == result


def test_a_limit_reads_no_more() -> None:
    api: Any = Api(0, 1, 2, 3, 9)

    assert count(Service(api), "s", 4) == (4, None)


DENIED = {
    "Code": "AccessDenied",
    "Message": (
        "User: arn:aws:iam::123456789012:user/me is not authorized to perform: cloudformation:DescribeStacks on resource: "
        "arn:aws:cloudformation:eu-west-1:123456789012:stack/esctl/* because no identity-based policy allows the "
        "cloudformation:DescribeStacks action"
    ),
}


def test_a_missing_permission_is_a_fault_that_names_action_and_resource() -> None:
    def look() -> Iterator[Finding]:
        with errors():
            raise ClientError({"Error": DENIED}, "DescribeStacks")  # type: ignore[typeddict-item]
        yield Finding("stack", Verdict.OK, "not reached")

    [fault] = run([Check("stack", look)], lambda finding: None)

    assert fault.verdict is Verdict.FAULT
    assert "cloudformation:DescribeStacks on arn:aws:cloudformation:eu-west-1:123456789012:stack/esctl/*" in fault.what
    assert "cloudformation:DescribeStacks" in fault.hint


def test_without_a_target_the_machine_is_still_checked(esctl: Esctl) -> None:
    result = esctl("doctor")

    assert result.exit_code == 3
    assert "Python" in result.stdout
    assert "esctl deploy" in result.stderr


@pytest.mark.parametrize(("mode", "said"), [(0o644, True), (0o600, False)])
def test_a_key_that_others_can_read_is_reported(esctl: Esctl, mode: int, said: bool) -> None:
    file = esctl.directory / ".env"
    file.write_text("API_KEY=half-of-a-secret-and-the-other-half\n")
    file.chmod(mode)

    result = esctl("doctor")

    assert ("chmod 600 .env" in result.stderr) is said
    assert "secret" not in result.stdout + result.stderr


def test_a_differing_read_model_is_reported_with_a_command_that_rebuilds_it(esctl: Esctl) -> None:
    environment = esctl.environment()
    with served(esctl) as api:
        api.model.given(("ITEM_CREATED", {"itemId": "lost", "amount": 1}))
        tamper(api, "lost", None)
        [finding] = read_models(auditor(Session(environment, Output(environment)).service, full=True))
        command = shlex.split(finding.hint.partition("esctl ")[2])
        again = esctl(*command, "--no-wait")

    assert finding.verdict is Verdict.FAULT
    assert again.exit_code == 0


def test_a_probe_is_not_read_only(esctl: Esctl) -> None:
    assert esctl("doctor", "--probe", "--read-only").exit_code == 2
