"""The emulator's parts that need no process: what is a read, what is adapted before a start, when is saved."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest

import cli
from cli.emulator.process import Unsaved
from cli.emulator.request_guard import Activity, is_read
from cli.emulator.saved_data import SaveError, Saver, read_saved, save_services, sealed
from cli.errors import EmulatorError
from tests.support.damage import DAMAGES

NEW = "http://127.0.0.1:5000"
OTHER = "http://127.0.0.1:40001"


@pytest.mark.parametrize(
    ("target", "method", "path", "read"),
    [
        ("DynamoDB_20120810.GetItem", "POST", "/", True),
        ("DynamoDB_20120810.TransactGetItems", "POST", "/", True),
        ("DynamoDB_20120810.TransactWriteItems", "POST", "/", False),
        ("Logs_20140328.FilterLogEvents", "POST", "/", True),
        ("AmazonSQS.ReceiveMessage", "POST", "/", False),
        ("", "POST", "/", False),
        ("", "GET", "/bucket/key", True),
        ("", "GET", "/restapis/abc/v1/_user_request_/listTestItems", False),
        ("", "PUT", "/bucket/key", False),
    ],
)
def test_reads_need_no_saving(target: str, method: str, path: str, read: bool) -> None:
    assert is_read(target, method, path) is read


def saved_by(folder: Path, port: int, **services: object) -> None:
    """Write the files of services as a save at that port does."""
    for name, payload in services.items():
        (folder / f"{name}.json").write_bytes(sealed(json.dumps(payload), 2, port))


def test_addresses_follow_the_port_except_in_the_user_s_own_data(tmp_path: Path) -> None:
    payload = {"url": "http://127.0.0.1:4000/000000000000/q", "alias": "http://localhost:4000/x", "other": OTHER}
    saved_by(tmp_path, 4000, sqs=payload, dynamodb=payload)

    saved = read_saved(tmp_path, tmp_path / "s3")

    assert json.loads(saved["sqs"].at_port(5000))["payload"] == {
        "url": f"{NEW}/000000000000/q",
        "alias": f"{NEW}/x",
        "other": OTHER,
    }
    assert json.loads(saved["dynamodb"].at_port(5000))["payload"] == payload
    assert json.loads(saved["sqs"].at_port(4000))["payload"] == payload


def test_state_as_the_emulator_itself_saves_it_is_restored(tmp_path: Path) -> None:
    (tmp_path / "sqs.json").write_text('{"__ministack_format__": 2, "payload": {"url": "http://localhost:4000/q"}}')

    saved = read_saved(tmp_path, tmp_path / "s3")

    assert json.loads(saved["sqs"].at_port(5000))["payload"] == {"url": f"{NEW}/q"}


def test_what_a_killed_save_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / "sqs.tmp").write_text("half")

    assert read_saved(tmp_path, tmp_path / "s3") == {}
    assert list(tmp_path.iterdir()) == []


PATIENCE_S = 60.0


async def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def snapshots(tmp_path: Path, *, changes: int, awaited: int, broken: bool = False) -> list[str]:
    """Run a saver until so many snapshots are there, and a little longer; every snapshot is a line."""
    saved = tmp_path / "saved"
    activity = Activity()

    def save() -> None:
        if broken and os.getpid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)
        with saved.open("a") as file:
            file.write(f"{activity.changes}\n")

    def lines() -> list[str]:
        return saved.read_text().splitlines() if saved.exists() else []

    parent = os.getpid()

    async def scenario() -> None:
        saver = Saver(save, activity, interval_s=0.02, settling_s=0.1)
        task = asyncio.create_task(saver.run())
        await asyncio.sleep(0)  # it begins, and takes what is there for saved
        activity.changes += changes
        await until(lambda: len(lines()) >= awaited)
        await asyncio.sleep(0.3)  # were there more to come
        task.cancel()

    asyncio.run(scenario())
    return lines()


def test_changes_are_saved_at_once_and_once_more_when_all_is_quiet(tmp_path: Path) -> None:
    assert snapshots(tmp_path, changes=1, awaited=2) == ["1", "1"]


def test_a_save_comes_after_a_snapshot_under_way(tmp_path: Path) -> None:
    """And is not overwritten by it."""
    activity, order = Activity(), tmp_path / "order"

    def save() -> None:
        first = not order.exists()
        with order.open("a") as file:
            file.write("begins ")
        while first and not (tmp_path / "go on").exists():
            time.sleep(0.01)
        with order.open("a") as file:
            file.write("ends ")

    async def scenario() -> None:
        saver = Saver(save, activity, interval_s=0.01)
        running = asyncio.create_task(saver.run())
        await asyncio.sleep(0)  # it begins, and takes what is there for saved
        activity.changes += 1
        await until(order.exists)
        last = asyncio.create_task(saver.save())
        await asyncio.sleep(0)
        (tmp_path / "go on").touch()
        assert await last
        running.cancel()

    asyncio.run(scenario())

    assert order.read_text().split() == ["begins", "ends", "begins", "ends"]


def test_a_failed_save_is_told_and_tried_again_until_it_succeeds(tmp_path: Path) -> None:
    activity, times = Activity(), (datetime(2026, 11, 24, tzinfo=UTC) + timedelta(hours=n) for n in count())
    disk = tmp_path / "disk"
    disk.write_text("a file where a folder has to be")

    async def scenario() -> None:
        saver = Saver(lambda: (disk / "saved").touch(), activity, interval_s=0.01, now=lambda: next(times))
        running = asyncio.create_task(saver.run())
        await asyncio.sleep(0)  # it begins, and takes what is there for saved
        assert saver.unsaved is None

        activity.changes += 1
        await until(lambda: saver.unsaved is not None)
        assert not await saver.save()

        # The time of the last success, which is the start here, however often it was tried since.
        assert saver.unsaved == Unsaved("2026-11-24T00:00:00Z", f"Not a directory: {disk / 'saved'}")
        disk.unlink()
        disk.mkdir()
        await until((disk / "saved").exists)
        await until(lambda: saver.unsaved is None)
        running.cancel()

    asyncio.run(scenario())


def test_a_save_that_fails_midway_changes_nothing(tmp_path: Path) -> None:
    save_services({"a": lambda: 1, "b": lambda: 1, "none": lambda: None}, tmp_path, 4000)
    before = {path.name: path.read_text() for path in tmp_path.iterdir()}
    (tmp_path / "b.tmp").mkdir()

    with pytest.raises(IsADirectoryError):
        save_services({"a": lambda: 2, "b": lambda: 2}, tmp_path, 4000)

    (tmp_path / "b.tmp").rmdir()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == before
    assert sorted(before) == ["a.json", "b.json"]


def test_a_service_that_can_not_be_saved_does_not_keep_the_others(tmp_path: Path) -> None:
    with pytest.raises(SaveError, match=r"can't save a \(TypeError: "):
        save_services({"a": lambda: object(), "b": lambda: 2}, tmp_path, 4000)

    assert list(read_saved(tmp_path, tmp_path / "s3")) == ["b"]


def test_nothing_is_saved_where_nothing_changed(tmp_path: Path) -> None:
    assert snapshots(tmp_path, changes=0, awaited=0) == []


def test_snapshot_whose_process_dies_is_made_on_the_main_thread(tmp_path: Path) -> None:
    assert snapshots(tmp_path, changes=1, awaited=2, broken=True) == ["1", "1"]


def given_saved(tmp_path: Path) -> tuple[Path, Path, Path, Path]:
    """Save a function and the object of its code; return both folders, the code and the object."""
    services, objects = tmp_path / "services", tmp_path / "s3"
    bucket = objects / "000000000000" / "esctl-assets-000000000000-us-east-1"
    for folder in (services / "lambda-blobs", bucket):
        folder.mkdir(parents=True)
    content = b"the code of a function"
    name, etag = hashlib.sha256(content).hexdigest(), hashlib.md5(content).hexdigest()
    saved_by(services, 4000, **{"lambda": {"functions": {"f": {"code_zip": {"code_blob_ref": name}}}}, "sqs": {"q": 1}})
    code, stored = services / "lambda-blobs" / f"{name}.zip", bucket / "asset.zip"
    for path in (code, stored):
        path.write_bytes(content)
    (bucket / "asset.zip.meta.json").write_text(json.dumps({"size": len(content), "etag": f'"{etag}"', "key": "a"}))
    return services, objects, code, stored


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["sqs.json", "lambda.json"])
def test_a_damaged_file_of_a_service_is_named(tmp_path: Path, name: str, damage: str) -> None:
    services, objects, _, _ = given_saved(tmp_path)
    DAMAGES[damage](services / name)

    with pytest.raises(EmulatorError) as caught:
        read_saved(services, objects)

    (fault,) = caught.value.faults
    assert fault.startswith(f"{services / name}: ")
    assert "esctl local reset" in caught.value.hint


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_code_is_restored_from_the_deployment(tmp_path: Path, damage: str) -> None:
    services, objects, code, stored = given_saved(tmp_path)
    DAMAGES[damage](code)

    assert set(read_saved(services, objects)) == {"lambda", "sqs"}

    assert code.read_bytes() == stored.read_bytes()


def test_damaged_code_is_restored_from_other_copies(tmp_path: Path) -> None:
    services, objects, code, stored = given_saved(tmp_path)
    copy = tmp_path / "copy.zip"
    copy.write_bytes(code.read_bytes())
    for path in (code, stored):
        path.write_bytes(b"cut")

    read_saved(services, objects, copies=[tmp_path / "none", copy])

    assert code.read_bytes() == copy.read_bytes()


def test_damaged_code_without_a_copy_is_named(tmp_path: Path) -> None:
    services, objects, code, stored = given_saved(tmp_path)
    for path in (code, stored):
        path.write_bytes(b"cut")

    with pytest.raises(EmulatorError) as caught:
        read_saved(services, objects)

    assert [fault.partition(": ")[0] for fault in caught.value.faults] == [str(code)]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("suffix", ["", ".meta.json"])
def test_damaged_objects_of_deployments_are_removed(tmp_path: Path, suffix: str, damage: str) -> None:
    """The next deployment uploads them again."""
    services, objects, _, stored = given_saved(tmp_path)
    DAMAGES[damage](stored.with_name(stored.name + suffix))

    read_saved(services, objects)

    assert list(stored.parent.iterdir()) == []


def test_what_is_whole_is_left_as_it_is(tmp_path: Path) -> None:
    services, objects, _, _ = given_saved(tmp_path)
    files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    read_saved(services, objects)

    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == files


def test_the_system_is_asked_through_libraries_only() -> None:
    """Linux and macOS are supported: psutil knows the process tables of both, filelock their locks."""
    sources = Path(cli.__file__).parent.rglob("*.py")

    assert [path.name for path in sources if re.search(r"import fcntl|[\"']/proc\b", path.read_text())] == []
