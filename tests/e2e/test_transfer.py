"""Export and import against deployed stacks: the same file again on another stack, and each event once whatever breaks."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.errors import ExitCode
from handlers.core.lossless_json import dumps, loads
from tests.e2e.support import Stack, wait_until

# Enough that an import takes a second or two, and a break meets it in the middle.
EVENTS, STREAMS = 2000, 11


@pytest.fixture(scope="module")
def other_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A second stack on a second local target."""
    other = Stack(tmp_path_factory.mktemp("other"))
    try:
        other.deploy()
        yield other
    finally:
        other.stop()


def write(stack: Stack, name: str, events: list[Any]) -> Path:
    path = stack.work / name
    path.write_text("".join(f"{dumps(event)}\n" for event in events), encoding="utf-8")
    return path


def events_of(prefix: str, *, numbered: bool) -> list[dict[str, Any]]:
    """Events of several streams, mixed; each says which of its stream it is."""
    events = []
    for number in range(EVENTS):
        place = number // STREAMS
        event = {"streamId": f"{prefix}-{number % STREAMS}", "type": "PING", "data": {"n": place, "sum": place / 8}}
        events.append(event | ({"eventId": place, "timeStamp": "2026-01-01T00:00:00.000Z"} if numbered else {}))
    return events


def each_once(stack: Stack, prefix: str) -> bool:
    """Whether the store has every event of `events_of` once, in its place."""
    streams = [stack.events(f"{prefix}-{stream}") for stream in range(STREAMS)]
    return sum(map(len, streams)) == EVENTS and all(
        event["data"]["n"] == event["eventId"] == place for events in streams for place, event in enumerate(events)
    )


def break_in_the_middle(stack: Stack, prefix: str, name: str, how: signal.Signals) -> subprocess.Popen[str]:
    """Start an import, and send it a signal when some of its events are stored and some are not."""
    process = stack.popen("import", name)
    try:
        wait_until(lambda: bool(stack.events(f"{prefix}-0")), "the first events", pause_s=0.01)
    finally:
        process.send_signal(how)
        process.wait(timeout=30)
    return process


@pytest.mark.parametrize("numbered", [True, False])
def test_an_import_killed_twice_stores_each_event_once(stack: Stack, numbered: bool) -> None:
    prefix = stack.fresh_stream()
    name = write(stack, f"{prefix}.jsonl", events_of(prefix, numbered=numbered)).name

    assert break_in_the_middle(stack, prefix, name, signal.SIGKILL).returncode == -signal.SIGKILL
    again = stack.popen("import", name)
    time.sleep(0.7)
    again.kill()
    again.wait()
    last = stack.esctl("import", name, "--connections", "3", "-o", "json").ok().json
    repeat = stack.esctl("import", name, "-o", "json").ok().json

    assert last["imported"] + last["already"] == EVENTS
    assert last["already"] > 0
    assert (repeat["imported"], repeat["already"]) == (0, EVENTS)
    assert each_once(stack, prefix)


def test_ctrl_c_says_how_to_go_on(stack: Stack) -> None:
    prefix = stack.fresh_stream()
    name = write(stack, f"{prefix}.jsonl", events_of(prefix, numbered=False)).name

    process = break_in_the_middle(stack, prefix, name, signal.SIGINT)

    assert process.returncode == ExitCode.INTERRUPTED
    assert process.stderr is not None
    said = process.stderr.read()
    assert "interrupted: " in said
    assert "Run the same command again" in said
    stack.esctl("import", name).ok()
    assert each_once(stack, prefix)


def test_two_imports_of_the_same_file_at_the_same_time_store_each_event_once(stack: Stack) -> None:
    prefix = stack.fresh_stream()
    name = write(stack, f"{prefix}.jsonl", events_of(prefix, numbered=False)).name

    both = [stack.popen("import", name, "-o", "json") for _ in range(2)]
    documents = [loads(process.communicate(timeout=120)[0]) for process in both]

    assert [process.returncode for process in both] == [0, 0]
    assert sum(document["imported"] for document in documents) == EVENTS
    assert each_once(stack, prefix)


def test_the_export_of_an_import_on_another_stack_is_the_same_file(stack: Stack, other_stack: Stack) -> None:
    streams = [f"{stack.fresh_stream()}{suffix}" for suffix in ("", "/ä ö%", "~\u2028")]
    for stream in streams:
        stack.append(stream, "PING", loads('{"sum":1.10,"big":12345678901234567890123,"e":1E+300}'))
        stack.append(stream, "PONG", {"text": "\u0085\n\"'"}, metadata={"causationId": "c", "x": [1, None]})
    stack.append(streams[0], "BLOB", {"text": "y" * 300_000})
    chosen = [option for stream in streams for option in ("-s", stream)]
    stack.esctl("export", "events.gz", *chosen).ok()
    original = (stack.work / "events.gz").read_bytes()

    (other_stack.work / "in.gz").write_bytes(original)
    imported = other_stack.esctl("import", "in.gz", "-o", "json").ok().json
    other_stack.esctl("export", "out.gz", *chosen).ok()

    assert imported["imported"] == 7
    assert (other_stack.work / "out.gz").read_bytes() == original


def test_a_whole_store_moves_through_a_pipe_and_its_read_model_follows(stack: Stack, other_stack: Stack) -> None:
    item = stack.fresh_item()
    stack.append(stack.projected_stream, "ITEM_CREATED", {"itemId": item, "amount": 5})

    exported = stack.esctl("export", "-").ok()
    other_stack.esctl("import", "-", input=exported.stdout).ok()

    other_stack.wait_for_item(item, 5)
    assert other_stack.esctl("export", "-").ok().stdout == exported.stdout
    wait_until(lambda: other_stack.items() == stack.items(), "the same items on both")
    again = other_stack.esctl("import", "-", "-o", "json", input=exported.stdout).ok().json
    assert again["imported"] == 0


def test_a_reader_that_goes_away_is_no_failure(stack: Stack) -> None:
    stack.append(stack.fresh_stream(), "PING", {})
    exporting = stack.popen("export", "-")
    assert exporting.stdout is not None

    exporting.stdout.readline()
    exporting.stdout.close()

    assert exporting.wait(timeout=30) == 0
