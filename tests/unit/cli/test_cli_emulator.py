"""The emulator's process, as `esctl local` starts, stops, looks at and empties it: each test has one of its own."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import socket
import stat
import subprocess
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from cli.config.targets import LOCAL_ACCOUNT, LocalTarget
from cli.emulator import Emulator
from cli.emulator.process import find, is_alive
from cli.errors import ExitCode
from tests.support import aws
from tests.unit.cli.cli_driver import Esctl
from tests.unit.cli.http_server import Reply, deployed_at_port, serving_http

WAITING = {"Delay": 0.1, "MaxAttempts": 600}

REPORTING = """
import os
def handler(event, context):
    print("called")
    return dict(os.environ)
"""


def zipped(name: str, source: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, source)
    return buffer.getvalue()


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Esctl]:
    """Yield a machine whose emulator is stopped after the test."""
    esctl = Esctl(tmp_path)
    passed = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    esctl.variables |= passed
    try:
        yield esctl
    finally:
        emulator(esctl).stop()


def emulator(esctl: Esctl) -> Emulator:
    environment = esctl.environment()
    return Emulator(esctl.state, environment)


def client(esctl: Esctl, service: str) -> Any:
    variables = esctl("local", "env", "-o", "json").json
    return aws.client(service, variables["AWS_ENDPOINT_URL"], variables["AWS_ACCESS_KEY_ID"])


def started(esctl: Esctl, *arguments: str) -> dict[str, Any]:
    result = esctl("local", "start", "-o", "json", *arguments)
    assert result.exit_code == 0, result.stderr
    document: dict[str, Any] = result.json
    return document


def eventually(condition: Callable[[], bool], timeout_s: float = 20) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def group_is_gone(pid: int) -> bool:
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, group, *_ = path.read_text().rpartition(")")[2].split()
            if int(group) == pid and state != "Z":
                return False
    return True


def given_table(esctl: Esctl) -> None:
    client(esctl, "dynamodb").create_table(
        TableName="things",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )


def put(esctl: Esctl, name: str) -> None:
    client(esctl, "dynamodb").put_item(TableName="things", Item={"id": {"S": name}})


def stored(esctl: Esctl) -> set[str]:
    return {item["id"]["S"] for item in client(esctl, "dynamodb").scan(TableName="things")["Items"]}


def given_running_function(esctl: Esctl) -> dict[str, str]:
    """Start a function's worker process; return its environment."""
    functions = client(esctl, "lambda")
    functions.create_function(
        FunctionName="reporting",
        Runtime="python3.13",
        Role=f"arn:aws:iam::{LOCAL_ACCOUNT}:role/any",
        Handler="reporting.handler",
        Code={"ZipFile": zipped("reporting.py", REPORTING)},
        Environment={"Variables": {"OWN": "1"}},
    )
    environment: dict[str, str] = json.loads(functions.invoke(FunctionName="reporting")["Payload"].read())
    return environment


def test_status_before_the_first_start(machine: Esctl) -> None:
    document = machine("local", "status", "-o", "json").json

    assert document["running"] is False
    assert document["pid"] is None
    assert document["log"].endswith("emulator.log")


def test_start_listens_on_the_loopback_address_only_and_twice_is_once(machine: Esctl) -> None:
    first = started(machine)
    second = started(machine)

    assert first == second
    assert first["running"] is True
    assert first["endpointUrl"].startswith("http://127.0.0.1:")
    port = f"{int(first['endpointUrl'].rpartition(':')[2]):04X}"
    listening = [
        line.split()[1]
        for line in Path("/proc/net/tcp").read_text().splitlines()
        if f":{port} 00000000:0000 0A" in line
    ]
    assert listening == [f"0100007F:{port}"]


def test_data_survives_stop_and_start_at_the_same_address(machine: Esctl) -> None:
    before = started(machine)
    given_table(machine)
    put(machine, "kept")

    machine("local", "stop")
    after = started(machine)

    assert after["endpointUrl"] == before["endpointUrl"]
    assert after["pid"] != before["pid"]
    assert stored(machine) == {"kept"}


def test_data_of_a_few_seconds_ago_survives_a_kill(machine: Esctl) -> None:
    pid = started(machine)["pid"]
    given_table(machine)
    put(machine, "kept")
    saved = machine.state.path("emulator", "data", "services", "dynamodb.json")
    assert eventually(lambda: saved.exists() and "kept" in saved.read_text())

    os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: not is_alive(machine.state))
    started(machine)

    assert stored(machine) == {"kept"}


def test_damaged_data_is_reported_and_not_overwritten(machine: Esctl) -> None:
    started(machine)
    given_table(machine)
    machine("local", "stop")
    saved = machine.state.path("emulator", "data", "services", "dynamodb.json")
    half = saved.read_text()[: saved.stat().st_size // 2]
    saved.write_text(half)

    result = machine("local", "start")

    assert result.exit_code == ExitCode.FAILED
    assert f"{saved}: it is truncated" in result.stderr
    assert "esctl local reset" in result.stderr
    assert saved.read_text() == half
    machine("local", "reset", "--yes")
    assert machine("local", "start").exit_code == 0


def test_only_the_owner_may_read_what_is_stored(machine: Esctl) -> None:
    started(machine)
    given_table(machine)
    given_running_function(machine)

    machine("local", "stop")

    for path in machine.state.root.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_stop_leaves_no_process_and_no_temporary_folder(machine: Esctl) -> None:
    pid = started(machine)["pid"]
    given_running_function(machine)
    assert list(machine.state.path("emulator", "tmp").iterdir())

    result = machine("local", "stop")

    assert result.exit_code == 0
    assert group_is_gone(pid)
    assert not machine.state.path("emulator", "tmp").exists()
    assert find(machine.state) is None


def test_stop_after_a_kill_cleans_up(machine: Esctl) -> None:
    pid = started(machine)["pid"]
    given_running_function(machine)
    os.kill(pid, signal.SIGKILL)

    machine("local", "stop")

    assert group_is_gone(pid)
    assert not machine.state.path("emulator", "tmp").exists()


def test_functions_see_nothing_of_the_user_s_environment(machine: Esctl) -> None:
    machine.variables |= {
        "HTTP_PROXY": "http://proxy.invalid",
        "AWS_SECRET_ACCESS_KEY": "the-real-one",
        "AWS_PROFILE": "mine",
        "API_KEY": "the-api-key",
        "AUTH": "iam",
    }
    started(machine)

    seen = given_running_function(machine)

    assert seen["OWN"] == "1"
    assert not [value for value in seen.values() if value in ("the-real-one", "the-api-key", "http://proxy.invalid")]
    assert "AWS_PROFILE" not in seen


def test_two_starts_at_once_make_one_emulator(machine: Esctl) -> None:
    found: list[int | None] = []
    threads = [threading.Thread(target=lambda: found.append(emulator(machine).start().pid)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(found) == 3
    assert len(set(found)) == 1


def test_pid_of_somebody_else_in_a_stale_record_is_left_alone(machine: Esctl) -> None:
    machine.state.write_json({"pid": os.getpid(), "port": 1}, "emulator", "process.json")

    assert machine("local", "status", "-o", "json").json["running"] is False
    assert machine("local", "stop").exit_code == 0
    assert started(machine)["running"] is True


def test_port_of_the_last_time_that_is_taken_is_replaced(machine: Esctl) -> None:
    before = started(machine)
    queue = client(machine, "sqs").create_queue(QueueName="jobs")["QueueUrl"]
    machine("local", "stop")

    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", int(before["endpointUrl"].rpartition(":")[2])))
        taken.listen()
        after = started(machine)

    assert after["endpointUrl"] != before["endpointUrl"]
    assert queue.startswith(before["endpointUrl"])
    assert client(machine, "sqs").list_queues()["QueueUrls"] == [
        queue.replace(before["endpointUrl"], after["endpointUrl"])
    ]


def test_port_asked_for_that_is_taken_is_an_error(machine: Esctl) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = machine("local", "start", "--port", str(port))

    assert result.exit_code == ExitCode.FAILED
    assert f"can't use port {port}" in result.stderr
    assert not is_alive(machine.state)


def test_reset_empties_it_at_the_same_address(machine: Esctl) -> None:
    before = started(machine)
    given_table(machine)
    machine.knows(LocalTarget("esctl", "us-east-1"))

    result = machine("local", "reset", "--yes", "-o", "json")

    assert result.json["running"] is True
    assert result.json["endpointUrl"] == before["endpointUrl"]
    assert result.json["stacks"] == []
    assert client(machine, "dynamodb").list_tables()["TableNames"] == []


def test_reset_of_a_stopped_emulator_leaves_it_stopped(machine: Esctl) -> None:
    started(machine)
    given_table(machine)
    machine("local", "stop")

    assert machine("local", "reset", "--yes", "-o", "json").json["running"] is False

    started(machine)
    assert client(machine, "dynamodb").list_tables()["TableNames"] == []


RECONCILER = """
import os, boto3
def handler(event, context):
    print("reconciling")
    boto3.client("sqs").send_message(QueueUrl=os.environ["QUEUE"], MessageBody="reconciled")
"""


def given_stack_with_reconciler(esctl: Esctl) -> str:
    """Deploy a stack whose reconciler tells that it ran; returns the URL of the queue that it tells."""
    role = {"Version": "2012-10-17", "Statement": []}
    function = {
        "Runtime": "python3.13",
        "Handler": "index.handler",
        "Code": {"ZipFile": RECONCILER},
        "Role": {"Fn::GetAtt": ["Role", "Arn"]},
        "Environment": {"Variables": {"QUEUE": {"Ref": "Queue"}}},
    }
    template = {
        "Resources": {
            "Queue": {"Type": "AWS::SQS::Queue"},
            "Role": {"Type": "AWS::IAM::Role", "Properties": {"AssumeRolePolicyDocument": role}},
            "Reconciler": {"Type": "AWS::Lambda::Function", "Properties": function},
        },
        "Outputs": {"Queue": {"Value": {"Ref": "Queue"}}},
    }
    stacks = client(esctl, "cloudformation")
    stacks.create_stack(StackName="esctl", TemplateBody=json.dumps(template), Capabilities=["CAPABILITY_IAM"])
    stacks.get_waiter("stack_create_complete").wait(StackName="esctl", WaiterConfig=WAITING)
    outputs = {each["OutputKey"]: each["OutputValue"] for each in stacks.describe_stacks()["Stacks"][0]["Outputs"]}
    esctl.knows(LocalTarget("esctl", "us-east-1", outputs=outputs))
    return str(outputs["Queue"])


def test_start_has_what_was_stored_and_not_projected_projected(machine: Esctl) -> None:
    started(machine)
    queue = given_stack_with_reconciler(machine)
    machine("local", "stop")

    started(machine)

    queues = client(machine, "sqs")
    assert eventually(lambda: "Messages" in queues.receive_message(QueueUrl=queue, WaitTimeSeconds=1))


def test_strangers_can_not_empty_it(machine: Esctl) -> None:
    import urllib3

    url = started(machine)["endpointUrl"]
    given_table(machine)

    assert urllib3.request("POST", f"{url}/_ministack/reset").status == 403
    assert client(machine, "dynamodb").list_tables()["TableNames"] == ["things"]


def test_the_access_key_is_made_once_and_kept_from_others(machine: Esctl) -> None:
    started(machine)
    kept = machine.state.path("keys", "local-access-key")
    key = kept.read_text().strip()

    machine("local", "stop")
    started(machine)
    machine("local", "reset", "--yes")

    assert kept.read_text().strip() == key
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert len(key) == 45
    for path in machine.state.root.rglob("*"):
        if path.is_file() and path != kept:
            assert key.encode() not in path.read_bytes(), path


def test_a_lost_or_damaged_access_key_is_replaced_at_the_next_start(machine: Esctl) -> None:
    before = started(machine)
    given_table(machine)
    put(machine, "kept")
    kept = machine.state.path("keys", "local-access-key")
    lost = kept.read_text()

    for damaged in ("", "ESCTL", lost[:20]):
        kept.write_text(damaged)
        assert machine("local", "env").exit_code == ExitCode.NOT_FOUND
        after = started(machine)

        assert after["pid"] != before["pid"]
        assert kept.read_text() != lost
        assert stored(machine) == {"kept"}
        before = after


def test_local_env_prints_what_a_shell_and_a_program_can_read(machine: Esctl) -> None:
    url = started(machine)["endpointUrl"]

    document = machine("local", "env", "-o", "json").json
    text = machine("local", "env").stdout

    assert document["AWS_ENDPOINT_URL"] == url
    assert document["AWS_REGION"] == document["AWS_DEFAULT_REGION"] == "us-east-1"
    assert text.splitlines() == [
        *(f"export {name}={value}" for name, value in document.items()),
        "unset AWS_PROFILE AWS_SESSION_TOKEN",
    ]


def test_local_env_of_a_stopped_emulator_is_an_error(machine: Esctl) -> None:
    started(machine)
    machine("local", "stop")

    result = machine("local", "env")

    assert result.exit_code == ExitCode.NOT_FOUND
    assert result.stdout == ""
    assert "esctl local start" in result.stderr


@pytest.mark.parametrize("command", ["list", "status", "tail-logs", "outputs --show-key"])
def test_neither_key_is_sent_to_another_program_at_the_address_of_the_last_time(machine: Esctl, command: str) -> None:
    """Another user of the machine may take the port of a stopped emulator."""
    heard: list[Mapping[str, str]] = []

    def listen(_method: str, _target: str, _text: str, headers: Mapping[str, str]) -> Reply:
        heard.append(headers)
        return Reply(200, "{}", {})

    with serving_http(listen) as port:
        deployed_at_port(machine, port)
        machine.loses_local_target()
        result = machine(*command.split())

    assert heard == []
    assert "not running" in result.stderr or command.startswith("outputs")


CUSTOM = """
import json, urllib.request
def handler(event, context):
    answer = {name: event[name] for name in ("StackId", "RequestId", "LogicalResourceId")}
    body = json.dumps(answer | {"Status": "SUCCESS", "PhysicalResourceId": "made", "Data": {"Said": "done"}}).encode()
    urllib.request.urlopen(urllib.request.Request(event["ResponseURL"], data=body, method="PUT"))
"""


def test_a_custom_resource_answers_without_credentials_as_on_aws(machine: Esctl) -> None:
    started(machine)
    role = {"Version": "2012-10-17", "Statement": []}
    function = {
        "Runtime": "python3.13",
        "Handler": "index.handler",
        "Code": {"ZipFile": CUSTOM},
        "Role": {"Fn::GetAtt": ["Role", "Arn"]},
    }
    template = {
        "Resources": {
            "Role": {"Type": "AWS::IAM::Role", "Properties": {"AssumeRolePolicyDocument": role}},
            "Function": {"Type": "AWS::Lambda::Function", "Properties": function},
            "Made": {"Type": "Custom::Made", "Properties": {"ServiceToken": {"Fn::GetAtt": ["Function", "Arn"]}}},
        },
        "Outputs": {"Said": {"Value": {"Fn::GetAtt": ["Made", "Said"]}}},
    }
    stacks = client(machine, "cloudformation")

    stacks.create_stack(StackName="custom", TemplateBody=json.dumps(template), Capabilities=["CAPABILITY_IAM"])
    stacks.get_waiter("stack_create_complete").wait(StackName="custom", WaiterConfig=WAITING)

    assert stacks.describe_stacks(StackName="custom")["Stacks"][0]["Outputs"][0]["OutputValue"] == "done"


@contextlib.contextmanager
def no_place_to_save(esctl: Esctl) -> Iterator[None]:
    """Replace the folder of saved data by a file, so that nobody, root included, can write into it."""
    folder = esctl.state.path("emulator", "data", "services")
    aside = folder.rename(folder.with_name("aside"))
    folder.write_text("")
    try:
        yield
    finally:
        folder.unlink()
        aside.rename(folder)


def test_stop_that_can_not_save_fails_and_loses_nothing(machine: Esctl) -> None:
    pid = started(machine)["pid"]
    given_table(machine)
    with no_place_to_save(machine):
        put(machine, "acknowledged")

        refused = machine("local", "stop")

        assert refused.exit_code == ExitCode.FAILED
        error, hint = refused.stderr.splitlines()[-2:]
        assert "keeps running, because it can't save its data: changes since 20" in error
        assert "esctl local stop --force" in hint
        status = machine("local", "status", "-o", "json").json
        assert status["pid"] == pid
        assert "services" in status["unsaved"]["why"]
        assert "no: changes since" in machine("local", "status").stdout
        put(machine, "later")

    assert machine("local", "stop").exit_code == 0
    started(machine)
    assert stored(machine) == {"acknowledged", "later"}


def test_a_failed_save_shows_in_doctor_and_is_tried_again(machine: Esctl) -> None:
    started(machine)
    given_stack_with_reconciler(machine)
    with no_place_to_save(machine):
        client(machine, "sqs").create_queue(QueueName="more")
        assert eventually(lambda: emulator(machine).status().unsaved is not None)

        findings = machine("doctor", "-o", "json").json["findings"]
        faults = [each["what"] for each in findings if each["area"] == "saving"]
        assert [what.partition(":")[0] for what in faults] == ["the emulator can't save its data"]

    assert eventually(lambda: emulator(machine).status().unsaved is None)
    assert "more" in machine.state.path("emulator", "data", "services", "sqs.json").read_text()


def test_forced_stop_ends_it_without_saving(machine: Esctl) -> None:
    pid = started(machine)["pid"]
    given_table(machine)
    with no_place_to_save(machine):
        result = machine("local", "stop", "--force")

    assert result.exit_code == 0
    assert "kept" not in result.stdout + result.stderr
    assert group_is_gone(pid)
    assert not machine.state.path("emulator", "tmp").exists()


def test_reset_needs_no_save(machine: Esctl) -> None:
    started(machine)
    given_table(machine)
    machine.state.path("emulator", "data", "services").rename(machine.state.path("emulator", "data", "aside"))
    machine.state.path("emulator", "data", "services").write_text("")

    assert machine("local", "reset", "--yes", "-o", "json").json["running"] is True
    assert client(machine, "dynamodb").list_tables()["TableNames"] == []


@contextlib.contextmanager
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """Start a foreign process that leads its own group, like a shell's job."""
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as process:
        try:
            yield process
        finally:
            process.kill()


def recorded(esctl: Esctl) -> Path:
    return esctl.state.path("emulator", "process.json")


def test_a_reused_pid_never_gets_a_signal(machine: Esctl) -> None:
    """The machine was switched off while it ran, and its pid belongs to another program now."""
    started(machine)
    record = json.loads(recorded(machine).read_text())
    machine("local", "stop")
    with bystander() as other:
        recorded(machine).write_text(json.dumps(record | {"pid": other.pid}))

        assert machine("local", "status", "-o", "json").json["pid"] is None
        assert machine("local", "stop").exit_code == 0
        assert machine("local", "stop", "--force").exit_code == 0
        started(machine)

        assert other.poll() is None


def test_a_wrong_pid_in_the_record_never_gets_a_signal(machine: Esctl) -> None:
    pid = started(machine)["pid"]
    record = json.loads(recorded(machine).read_text())
    with bystander() as other:
        recorded(machine).write_text(json.dumps(record | {"pid": other.pid}))

        assert machine("local", "stop").exit_code == 0

        assert other.poll() is None
        assert group_is_gone(pid)


def test_a_group_whose_leader_has_ended_never_gets_a_signal(machine: Esctl) -> None:
    """The pid was reused by a shell's job, whose first process has ended and whose second one works on."""
    started(machine)
    record = json.loads(recorded(machine).read_text())
    machine("local", "stop")
    with subprocess.Popen(
        ["sh", "-c", "sleep 600 & echo $!"], start_new_session=True, stdout=subprocess.PIPE, text=True
    ) as leader:
        assert leader.stdout is not None
        follower = int(leader.stdout.readline())
        leader.wait()
        recorded(machine).write_text(json.dumps(record | {"pid": leader.pid}))
        try:
            machine("local", "stop")
            started(machine)

            os.kill(follower, 0)
        finally:
            os.kill(follower, signal.SIGKILL)


def test_it_is_found_without_its_record(machine: Esctl) -> None:
    before = started(machine)
    given_running_function(machine)

    for content in (None, b"\xff", b"", b"[]", b'{"pid": "1", "create_time": null, "port": 1}'):
        recorded(machine).unlink()
        if content is not None:
            recorded(machine).write_bytes(content)
        assert started(machine) == before, content

    recorded(machine).unlink()
    assert machine("local", "stop").exit_code == 0
    assert group_is_gone(before["pid"])


def test_nothing_is_removed_under_a_process_that_is_not_seen(machine: Esctl) -> None:
    """Another container with the same state directory runs it: its lock is held, its process is not in our table."""
    machine.state.directory("emulator", "tmp")
    (machine.state.path("emulator", "tmp") / "code").write_text("")
    with machine.state.lock("emulator", "alive.lock"):
        result = machine("local", "stop")
        begun = machine("local", "start")

    for each in (result, begun):
        assert each.exit_code == ExitCode.FAILED
        assert "its process is not visible" in each.stderr
    assert (machine.state.path("emulator", "tmp") / "code").exists()


def test_the_lock_is_held_after_a_snapshot(machine: Esctl) -> None:
    """Snapshots are written by copies of the process, which end: their end must not release it."""
    started(machine)
    given_table(machine)
    assert eventually(machine.state.path("emulator", "data", "services", "dynamodb.json").exists)

    assert is_alive(machine.state)
