"""The installed `esctl` deploys the whole stack: to AWS (the emulator under AWS's own addresses) and locally."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import urllib3

from cli.config.state import State
from cli.emulator import Emulator
from cli.terminal.environment import Environment
from tests.e2e.support import Machine
from tests.support.emulator import ACCESS_KEY

KEY = "correct-horse-battery-staple"
NAME = "deploy-cli"
# The last three keep the user's own AWS configuration away; they are set for all tests.
_KEPT = ("PATH", "HOME", "LANG", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_EC2_METADATA_DISABLED")
ESCTL = Path(sys.executable).with_name("esctl")


@dataclass(frozen=True)
class Ran:
    """What a call of `esctl` left: its exit code and its two streams."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def synthesized(self) -> bool:
        return "synthesizing" in self.err


@dataclass
class Shell:
    """Calls the installed `esctl` in a folder of its own, without a terminal."""

    folder: Path
    variables: dict[str, str]

    def __call__(self, *arguments: str, **variables: str) -> Ran:
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        began = time.monotonic()
        done = subprocess.run(
            [ESCTL, *arguments],
            env={**kept, "XDG_STATE_HOME": str(self.folder / "state"), **self.variables, **variables},
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        ran = Ran(done.returncode, done.stdout, done.stderr, time.monotonic() - began)
        assert "Traceback" not in ran.err
        assert KEY not in ran.out + ran.err
        return ran


def deployed_again(shell: Shell, *arguments: str) -> Ran:
    """A deployment of what is deployed already; repeated when somebody edited the sources while the tests ran."""
    for _ in range(3):
        ran = shell("deploy", *arguments)
        if ran.code != 0 or not ran.synthesized:
            break
    return ran


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory, emulator_endpoint: str) -> Shell:
    """A machine with credentials, whose AWS is the emulator."""
    variables = {
        "AWS_ENDPOINT_URL": emulator_endpoint,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": ACCESS_KEY,
        "AWS_REGION": "us-east-1",
        "API_KEY": KEY,
        "STACK_NAME": NAME,
    }
    return Shell(tmp_path_factory.mktemp("machine"), variables)


@pytest.fixture(scope="module")
def deployed(aws: Shell) -> Iterator[Any]:
    ran = aws("deploy", "--yes", "-o", "json")
    assert ran.code == 0, ran.err
    yield ran.json
    aws("destroy", "--yes", "--delete-events")


def test_a_first_deployment_names_where_and_gives_one_document(deployed: Any) -> None:
    assert (deployed["action"], deployed["target"], deployed["stackName"]) == ("created", "aws", NAME)
    assert (deployed["account"], deployed["region"]) == ("000000000000", "us-east-1")
    assert deployed["outputs"]["EventsTable"]
    assert {each["action"] for each in deployed["changes"]} == {"add"}


@pytest.mark.usefixtures("deployed")
def test_a_second_one_says_nothing_changed_and_synthesizes_nothing(aws: Shell) -> None:
    ran = deployed_again(aws, "--yes")
    assert ran.code == 0
    assert not ran.synthesized
    assert f"Deploying stack {NAME} in account 000000000000, region us-east-1" in ran.err
    assert "nothing changed" in ran.err


@pytest.mark.usefixtures("deployed")
def test_tracing_widens_permissions_which_wants_consent(aws: Shell, emulator_client: Callable[[str], Any]) -> None:
    compared = aws("diff", "-o", "json", TRACING="true")
    assert compared.code == 0, compared.err
    assert compared.json["action"] == "update"
    assert {each["may"] for each in compared.json["widenings"]} >= {"xray:PutTraceSegments"}

    refused = aws("deploy", TRACING="true")
    assert (refused.code, "--yes" in refused.err, "New permissions" in refused.err) == (2, True, True)
    sets = emulator_client("cloudformation").list_change_sets(StackName=NAME)["Summaries"]
    assert [each for each in sets if each["ExecutionStatus"] != "EXECUTE_COMPLETE"] == []

    done = aws("deploy", "--yes", "-o", "json", TRACING="true")
    assert (done.code, done.json["action"]) == (0, "updated")
    assert aws("deploy", "--dry-run", "-o", "json", TRACING="true").json["widenings"] == []
    assert aws("deploy", "--yes", "-o", "json").json["action"] == "updated"


@pytest.mark.usefixtures("deployed")
def test_the_key_is_nowhere_but_in_the_stack(aws: Shell, emulator_client: Callable[[str], Any]) -> None:
    files = [path for path in aws.folder.rglob("*") if path.is_file()]
    assert files
    assert not any(KEY.encode() in path.read_bytes() for path in files)
    assert KEY not in str(emulator_client("cloudformation").get_template(StackName=NAME)["TemplateBody"])


@pytest.mark.usefixtures("deployed")
def test_destroying_wants_the_name_or_yes(aws: Shell) -> None:
    ran = aws("destroy")
    assert (ran.code, "--yes" in ran.err) == (2, True)


def test_credentials_alone_never_choose_aws_to_destroy(aws: Shell, tmp_path: Path) -> None:
    stranger = Shell(tmp_path, {name: value for name, value in aws.variables.items() if name != "STACK_NAME"})
    assert stranger("destroy", "--yes").code == 3
    assert stranger("destroy", "--yes", "--stack-name", NAME).code == 3


def test_all_that_is_missing_is_said_one_line_each(tmp_path: Path) -> None:
    bare = Shell(tmp_path, {})
    ran = bare("deploy")
    assert ran.code == 2
    assert [line.split()[1:3] for line in ran.err.splitlines() if line.startswith("  - ")] == [
        ["no", "AWS"],
        ["no", "AWS"],
        ["API_KEY", "is"],
    ]


def test_a_wrong_key_is_refused_without_repeating_it(aws: Shell) -> None:
    ran = aws("deploy", "--yes", "--stack-name", "never", API_KEY="secret-short")
    assert (ran.code, "secret-short" in ran.err) == (2, False)
    assert "12 characters" in ran.err


def test_without_a_network_it_says_so_in_two_lines(aws: Shell) -> None:
    ran = aws("deploy", AWS_ENDPOINT_URL="http://127.0.0.1:9")
    assert ran.code == 1
    assert len(ran.err.splitlines()) <= 3


def test_deploying_locally_starts_the_emulator_and_needs_nothing(tmp_path: Path) -> None:
    shell = Shell(tmp_path, {})
    environment = Environment(sys.stdin, sys.stdout, sys.stderr, {}, tmp_path)
    emulator = Emulator(State(tmp_path / "state" / "esctl"), environment)
    try:
        first = shell("deploy", "--local", "-o", "json")
        assert first.code == 0, first.err
        assert (first.json["action"], first.json["target"]) == ("created", "local")
        assert first.json["apiUrl"].startswith("http://127.0.0.1:")
        assert first.json["apiUrl"].endswith("/_user_request_")
        assert "starting the emulator" in first.err
        assert "nothing changed" in deployed_again(shell, "--local").err

        # The local stack is the current one: no flag is needed.
        destroyed = shell("destroy", "--yes", "--delete-events", "-o", "json")
        assert destroyed.code == 0, destroyed.err
        assert len(destroyed.json["deletedTables"]) == 1
        assert shell("destroy", "--local", "--yes").code == 3
    finally:
        emulator.stop()


def test_two_deployments_at_once_agree_on_the_key(machine: Machine) -> None:
    for _ in range(3):
        # When two deployments of a stack that does not exist start together
        processes = [machine.popen("deploy", "--local", "--yes") for _ in range(2)]
        said = [process.communicate(timeout=180)[1] for process in processes]

        # Then both succeed, one after the other, with one key; and the API takes it
        assert [process.returncode for process in processes] == [0, 0], said
        assert sorted("created" in text for text in said) == [False, True], said
        described = machine.esctl("outputs", "-o", "json", "--show-key").ok().json
        url = f"{described['apiUrl']}/streams"
        answers = [urllib3.request("GET", url, headers=headers) for headers in ({"x-api-key": described["apiKey"]}, {})]
        assert [answer.status for answer in answers] == [200, 403]

        machine.esctl("destroy", "--local", "--yes", "--delete-events").ok()


def test_a_removal_waits_for_the_deployment_that_runs(machine: Machine) -> None:
    deploying = machine.popen("deploy", "--local", "--yes")
    assert deploying.stderr is not None
    shown = iter(deploying.stderr.readline, "")
    assert any("preparing the stack" in line for line in shown)  # from here on it holds the lock

    destroyed = machine.esctl("destroy", "--local", "--yes", "--delete-events", timeout_s=180)

    deploying.communicate(timeout=60)
    assert (deploying.returncode, destroyed.exit_code) == (0, 0), destroyed.stderr
    assert machine.esctl("destroy", "--local", "--yes").exit_code == 3
