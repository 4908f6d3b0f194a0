"""The emulator's parts that need no process: what is a read, what is adapted before a start, when is saved."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.emulator.request_guard import Activity, is_read
from cli.emulator.restore import adapt_saved_state, damaged, without_stream_positions
from cli.emulator.saving import Saver

NEW = "http://127.0.0.1:5000"


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


def test_addresses_follow_the_port_except_in_the_user_s_own_data(tmp_path: Path) -> None:
    text = '{"payload": {"url": "http://127.0.0.1:4000/000000000000/q", "other": "http://localhost:4000/x"}}'
    for name in ("sqs", "lambda", "dynamodb"):
        (tmp_path / f"{name}.json").write_text(text)
    (tmp_path / "address").write_text("http://127.0.0.1:4000")

    adapt_saved_state(tmp_path, NEW)

    assert json.loads((tmp_path / "sqs.json").read_text())["payload"] == {
        "url": f"{NEW}/000000000000/q",
        "other": f"{NEW}/x",
    }
    assert (tmp_path / "dynamodb.json").read_text() == text


def test_nothing_is_rewritten_where_the_port_is_the_same(tmp_path: Path) -> None:
    (tmp_path / "sqs.json").write_text("http://localhost:4000")
    (tmp_path / "address").write_text(NEW)

    adapt_saved_state(tmp_path, NEW)

    assert (tmp_path / "sqs.json").read_text() == "http://localhost:4000"


def test_damaged_or_half_written_files_do_not_hinder_a_start(tmp_path: Path) -> None:
    (tmp_path / "lambda.json").write_text('{"payload": ')
    (tmp_path / "sqs.json.tmp").write_text("half")

    adapt_saved_state(tmp_path, NEW)

    assert not (tmp_path / "sqs.json.tmp").exists()


def test_streams_begin_anew_as_their_records_are_not_saved() -> None:
    positions = {"__account_region_scoped__": True, "data": {"a\x00b\x00'c'": 41}}
    text = json.dumps({"payload": {"functions": {"f": 1}, "dynamodb_stream_positions": positions}})

    payload = json.loads(without_stream_positions(text))["payload"]

    assert payload["functions"] == {"f": 1}
    assert payload["dynamodb_stream_positions"] == {"__account_region_scoped__": True, "data": {}}


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
            raise RuntimeError("no snapshot from here")
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
        saver.finish()

    asyncio.run(scenario())
    return lines()


def test_changes_are_saved_at_once_and_once_more_when_all_is_quiet(tmp_path: Path) -> None:
    assert snapshots(tmp_path, changes=1, awaited=2) == ["1", "1"]


def test_snapshot_under_way_does_not_come_after_the_last_save(tmp_path: Path) -> None:
    activity = Activity()
    pids: list[int] = []

    def save_slowly() -> None:
        (tmp_path / "pid").write_text(str(os.getpid()))
        time.sleep(PATIENCE_S)

    def began() -> bool:
        path = tmp_path / "pid"
        if path.exists() and path.read_text():
            pids.append(int(path.read_text()))
        return bool(pids)

    async def scenario() -> None:
        saver = Saver(save_slowly, activity, interval_s=0.01)
        task = asyncio.create_task(saver.run())
        await asyncio.sleep(0)  # it begins, and takes what is there for saved
        activity.changes += 1
        await until(began)
        task.cancel()
        saver.finish()

    asyncio.run(scenario())

    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


def test_nothing_is_saved_where_nothing_changed(tmp_path: Path) -> None:
    assert snapshots(tmp_path, changes=0, awaited=0) == []


def test_snapshot_that_fails_is_made_on_the_main_thread(tmp_path: Path) -> None:
    assert snapshots(tmp_path, changes=1, awaited=2, broken=True) == ["1", "1"]


def test_a_saved_file_that_was_cut_off_is_found_however_large(tmp_path: Path) -> None:
    for name, text in {"whole": '{"a": {"b": 1}}', "cut": '{"a": {"b": 1', "empty": ""}.items():
        (tmp_path / f"{name}.json").write_text(text)

    for parsed_bytes_max in (1, 1_000):
        assert [path.stem for path in damaged(tmp_path, parsed_bytes_max=parsed_bytes_max)] == ["cut", "empty"]
