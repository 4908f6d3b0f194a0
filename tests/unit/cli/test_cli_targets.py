"""Which stack a command talks to."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cli.config.keys import kept_key
from cli.config.selection import Choice, for_deployment
from cli.config.settings import Settings
from cli.config.targets import AwsTarget, LocalTarget, Target
from cli.errors import CliError, ExitCode, NoTargetError, NotDeployedError, UsageError
from tests.support.damage import DAMAGES
from tests.unit.cli.cli_driver import Esctl

OUTPUTS = {"ApiUrl": "https://abc.execute-api.eu-west-1.amazonaws.com/v1", "ApiId": "abc"}
LOCAL = LocalTarget("esctl", "us-east-1", outputs=OUTPUTS)
AWS = AwsTarget("esctl", "eu-west-1", account="123456789012", outputs=OUTPUTS)
OTHER = AwsTarget("other", "eu-west-1", account="123456789012", outputs=OUTPUTS)


AWS_CONSOLE = "https://eu-west-1.console.aws.amazon.com"


def resolve(esctl: Esctl, choice: Choice | None = None, settings: Settings | None = None) -> Target:
    return esctl.targets.resolve(choice or Choice(), settings or Settings())


def test_error_without_a_deployment_suggests_a_command(esctl: Esctl) -> None:
    with pytest.raises(NoTargetError) as caught:
        resolve(esctl)

    assert "esctl deploy --local" in caught.value.hint


def test_ambient_credentials_do_not_select_aws(esctl: Esctl) -> None:
    esctl.variables |= {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y", "AWS_REGION": "eu-west-1"}

    assert esctl("list").exit_code == ExitCode.NOT_FOUND


def test_the_stack_deployed_last_is_the_current_one(esctl: Esctl) -> None:
    for target in (LOCAL, AWS, LOCAL):
        esctl.knows(target)
        assert resolve(esctl) == target


@pytest.mark.parametrize(
    ("choice", "found"),
    [
        (Choice(local=True), LOCAL),
        (Choice(region="eu-west-1"), AWS),
        (Choice(stack_name="other"), OTHER),
        (Choice(stack_name="other", region="eu-west-1"), OTHER),
    ],
)
def test_flags_choose_among_the_known_stacks(esctl: Esctl, choice: Choice, found: Target) -> None:
    for target in (OTHER, AWS, LOCAL):
        esctl.knows(target)

    assert resolve(esctl, choice) == found


def test_environment_selects_without_flags(esctl: Esctl) -> None:
    for target in (AWS, OTHER, LOCAL):
        esctl.knows(target)

    assert resolve(esctl, settings=Settings(target="aws")) == AWS
    assert resolve(esctl, settings=Settings(stack_name="other")) == OTHER
    assert resolve(esctl, Choice(local=True), Settings(target="aws")) == LOCAL


def test_the_only_stack_of_a_kind_needs_no_name(esctl: Esctl) -> None:
    esctl.knows(OTHER)
    esctl.knows(LOCAL)

    assert resolve(esctl, settings=Settings(target="aws")) == OTHER


def test_several_matches_are_listed_with_their_flags(esctl: Esctl) -> None:
    far = AwsTarget("other", "us-west-2", account="123456789012")
    for target in (OTHER, far, LOCAL):
        esctl.knows(target)

    with pytest.raises(UsageError) as caught:
        resolve(esctl, Choice(stack_name="other"))

    assert any("--region us-west-2 --stack-name other" in fault for fault in caught.value.faults)


def test_profile_overrides_that_of_the_deployment(esctl: Esctl) -> None:
    esctl.knows(AWS)

    assert resolve(esctl, Choice(profile="me")).profile == "me"


def test_unknown_local_stack_is_not_deployed(esctl: Esctl) -> None:
    with pytest.raises(NotDeployedError) as caught:
        resolve(esctl, Choice(local=True, stack_name="x"))

    assert "esctl deploy --local --stack-name x" in caught.value.hint


def test_unknown_stack_on_aws_is_left_to_be_looked_up(esctl: Esctl) -> None:
    found = resolve(esctl, Choice(stack_name="x", region="eu-west-1"))

    assert found == AwsTarget("x", "eu-west-1")


@pytest.mark.parametrize("choice", [Choice(local=True, profile="me"), Choice(region="Europe"), Choice(stack_name="_")])
def test_contradictory_or_invalid_flags_are_refused(esctl: Esctl, choice: Choice) -> None:
    with pytest.raises(CliError) as caught:
        resolve(esctl, choice)

    assert caught.value.exit_code == ExitCode.USAGE


def test_forgetting_a_target_removes_its_key(esctl: Esctl) -> None:
    esctl.knows(LOCAL, key="secret")

    esctl.targets.forget(LOCAL)

    assert esctl.targets.all() == []
    assert esctl.targets.current() is None
    assert esctl.state.read_text("keys", LOCAL.record) is None


@pytest.mark.parametrize("damage", [name for name in DAMAGES if name not in ("a folder", "unreadable")])
@pytest.mark.parametrize("target", [LOCAL, AWS, replace(AWS, account=None, stack_name="eu-x-1-b")])
def test_damaged_record_is_restored_from_its_name(esctl: Esctl, target: Target, damage: str) -> None:
    esctl.knows(target)
    DAMAGES[damage](esctl.state.path("targets", f"{target.record}.json"))

    assert esctl.targets.all() == [replace(target, outputs={})]
    assert esctl.targets.current() == replace(target, outputs={})


def test_a_record_of_another_stack_is_damaged(esctl: Esctl) -> None:
    esctl.knows(LOCAL)
    text = esctl.state.read_text("targets", f"{LOCAL.record}.json") or ""
    esctl.state.write_text(text.replace("esctl", "other"), "targets", f"{LOCAL.record}.json")

    assert esctl.targets.all() == [replace(LOCAL, outputs={})]


def test_file_that_is_not_a_record_is_ignored(esctl: Esctl) -> None:
    esctl.state.write_text("{", "targets", "notes.json")

    with pytest.raises(NoTargetError):
        resolve(esctl)


@pytest.mark.parametrize("damage", [name for name in DAMAGES if name not in ("a folder", "unreadable")])
def test_only_target_is_current_if_the_mark_is_damaged(esctl: Esctl, damage: str) -> None:
    esctl.knows(LOCAL)
    DAMAGES[damage](esctl.state.path("current.json"))

    assert resolve(esctl) == LOCAL
    esctl.targets.remember(AWS, current=False)
    with pytest.raises(NoTargetError) as caught:
        resolve(esctl)
    assert [fault.partition(": ")[2] for fault in caught.value.faults] == [AWS.flags, LOCAL.flags]


@pytest.mark.parametrize(
    "text", ["", "short\n", "a-key-that-was-cut-off-in-the-m", "with a space in its middle\n", "\x7f" * 30]
)
def test_invalid_kept_key_is_missing(esctl: Esctl, text: str) -> None:
    esctl.knows(LOCAL)
    esctl.state.write_text(text, "keys", LOCAL.record)

    assert kept_key(LOCAL, esctl.state) is None


@pytest.mark.parametrize(
    "url",
    [
        "https://abc.execute-api.us-east-1.amazonaws.com/v1/",
        "http://127.0.0.1:4000/restapis/abc/v1/_user_request_",
    ],
)
def test_local_address_follows_the_emulator(url: str) -> None:
    queue = "http://127.0.0.1:4000/000000000000/q"
    target = LocalTarget("esctl", "us-east-1", outputs={"ApiUrl": url, "ApiId": "abc", "QueueUrl": queue})

    moved = target.with_endpoint("http://127.0.0.1:5000")

    assert moved.api_url == "http://127.0.0.1:5000/restapis/abc/v1/_user_request_"
    assert moved.outputs["QueueUrl"] == "http://127.0.0.1:5000/000000000000/q"


def test_deployment_goes_to_aws_unless_the_local_target_is_selected() -> None:
    assert for_deployment(Choice(), Settings()).kind == "aws"
    assert for_deployment(Choice(local=True), Settings()).kind == "local"
    assert for_deployment(Choice(), Settings(target="local", stack_name="mine")).stack_name == "mine"


def test_a_stack_on_aws_has_pages_in_the_console() -> None:
    target = AWS.with_outputs({**OUTPUTS, "DashboardName": "my board"})

    assert target.console_urls == {
        "apiConsoleUrl": f"{AWS_CONSOLE}/apigateway/main/apis/abc/resources?api=abc&region=eu-west-1",
        "dashboardUrl": f"{AWS_CONSOLE}/cloudwatch/home?region=eu-west-1#dashboards/dashboard/my%20board",
        "logsUrl": f"{AWS_CONSOLE}/cloudwatch/home?region=eu-west-1#logsV2:log-groups$3FlogGroupNameFilter$3Desctl",
        "tracesUrl": f"{AWS_CONSOLE}/cloudwatch/home?region=eu-west-1#xray:traces",
    }
    assert LOCAL.console_urls == {}


@pytest.mark.parametrize(
    ("region", "domain"), [("cn-north-1", "amazonaws.cn"), ("us-gov-west-1", "amazonaws-us-gov.com")]
)
def test_other_partitions_have_other_console_domains(region: str, domain: str) -> None:
    url = AwsTarget("esctl", region).console_urls["tracesUrl"]

    assert url.startswith(f"https://{region}.console.{domain}/")


@pytest.mark.parametrize("form", ["text", "json"])
def test_outputs_list_the_console_pages(esctl: Esctl, form: str) -> None:
    target = esctl.knows(AWS.with_outputs({**OUTPUTS, "DashboardName": "board"}))

    result = esctl("outputs", "-o", form)

    for name, url in target.console_urls.items():
        assert (result.json[name] == url) if form == "json" else ([name, url] in map(str.split, result.lines))
