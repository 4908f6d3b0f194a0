"""The emulator's parts that need no process: what is a read, what is adapted before a start, when is saved."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest

from cli.emulator.gateway import Activity, is_read, is_stranger
from cli.emulator.process import Unsaved
from cli.emulator.restore import read_saved
from cli.emulator.saving import Saver, sealed

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


API = "/restapis/abc/v1/_user_request_/listTestItems"


@pytest.mark.parametrize(
    ("headers", "path", "stranger"),
    [
        ({"host": "127.0.0.1:4566"}, "/", False),
        ({"host": "localhost:4566"}, "/", False),
        ({"host": "bucket.s3.localhost:4566"}, "/key", False),
        ({"host": "abc.execute-api.us-east-1.amazonaws.com"}, "/v1", False),
        ({"host": "127.0.0.1:4566", "origin": "http://localhost:3000"}, "/", False),
        ({"host": "127.0.0.1:4566", "origin": "https://elsewhere.example"}, API, False),
        ({"host": "127.0.0.1:4566", "origin": "https://elsewhere.example"}, "/", True),
        ({"host": "127.0.0.1:4566", "origin": "null"}, "/", True),
        ({"host": "rebound.example:4566"}, "/", True),
        ({"host": "rebound.example:4566"}, API, True),
        ({"host": "not-localhost"}, "/", True),
        ({"host": "evil-127.0.0.1.example"}, "/", True),
    ],
)
def test_web_pages_of_other_sites_are_strangers(headers: dict[str, str], path: str, stranger: bool) -> None:
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]

    assert is_stranger(pairs, path) is stranger


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


def test_nothing_is_saved_where_nothing_changed(tmp_path: Path) -> None:
    assert snapshots(tmp_path, changes=0, awaited=0) == []


def test_snapshot_whose_process_dies_is_made_on_the_main_thread(tmp_path: Path) -> None:
    assert snapshots(tmp_path, changes=1, awaited=2, broken=True) == ["1", "1"]
