"""Nobody who reads notices a replay (R1, R2): shown, not claimed."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tests.e2e.support import Stack, wait_until

PAGE = 1000
ITEMS = 120
REPLAYS = 3


class Reader(threading.Thread):
    """Reads the list again and again, and keeps what it saw."""

    def __init__(self, stack: Stack) -> None:
        super().__init__(daemon=True)
        self._stack = stack
        self.stopped = threading.Event()
        self.answers: list[Mapping[str, Any]] = []
        self.failures: list[object] = []

    def run(self) -> None:
        while not self.stopped.is_set():
            answer = self._stack.api("GET", f"/listTestItems?limit={PAGE}")
            if answer.status == 200:
                self.answers.append(answer.body)
            else:
                self.failures.append(answer)


class Writer(threading.Thread):
    """Appends events to the projected stream, one after the other."""

    def __init__(self, stack: Stack, items: list[str]) -> None:
        super().__init__(daemon=True)
        self._stack = stack
        self._items = items
        self.stopped = threading.Event()
        self.written = 0
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            while not self.stopped.is_set():
                item = self._items[self.written % len(self._items)]
                data = {"itemId": item, "amount": 1000 + self.written}
                self._stack.append(self._stack.projected_stream, "ITEM_AMOUNT_CHANGED", data)
                self.written += 1
        except AssertionError as failure:
            self.failure = failure


@contextmanager
def running(*threads: Reader | Writer) -> Iterator[None]:
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for thread in threads:
            thread.stopped.set()
        for thread in threads:
            thread.join()


def prefixes(events: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """What the list has to be after each event, by a fold that shares no code with the product."""
    rows: dict[str, Any] = {}
    states = []
    for event in events:
        data = event["data"]
        if event["type"] == "ITEM_CREATED" or (event["type"] == "ITEM_AMOUNT_CHANGED" and data["itemId"] in rows):
            rows = {**rows, data["itemId"]: data["amount"]}
        elif event["type"] == "ITEM_DELETED":
            rows = {key: amount for key, amount in rows.items() if key != data["itemId"]}
        states.append(rows)
    return [[{"itemId": key, "amount": rows[key]} for key in sorted(rows, key=str.encode)[:PAGE]] for rows in states]


def test_readers_and_writers_do_not_notice_three_replays(stack: Stack) -> None:
    items = [stack.fresh_item() for _ in range(ITEMS)]
    created = [
        {"streamId": stack.projected_stream, "type": "ITEM_CREATED", "data": {"itemId": item, "amount": number}}
        for number, item in enumerate(items)
    ]
    stack.append_all(created)
    changed = [event | {"type": "ITEM_AMOUNT_CHANGED"} for event in created]
    for _ in range(5):  # so that a replay has something to do
        stack.append_all(changed)
    stack.wait_for_item(items[-1], ITEMS - 1)
    reader, writer = Reader(stack), Writer(stack, items)

    replays = []
    with running(reader, writer):
        for _ in range(REPLAYS):
            seen, written = len(reader.answers), writer.written
            replays.append(stack.esctl("replay", "-o", "json").ok().json)
            # Somebody read and somebody wrote while it ran, and after it.
            wait_until(lambda: len(reader.answers) > seen + 2, "the reader reads")  # noqa: B023
            wait_until(lambda: writer.written > written, "the writer writes")  # noqa: B023
    head = len(stack.events(stack.projected_stream)) - 1
    wait_until(lambda: stack.api("GET", "/listTestItems?limit=1").body["checkpoint"] == head, "all is projected")

    assert writer.failure is None
    assert not reader.failures
    assert [replay["state"] for replay in replays] == ["done"] * REPLAYS
    assert len({replay["replayId"] for replay in replays}) == REPLAYS
    states = prefixes(stack.events(stack.projected_stream))
    checkpoints = [answer["checkpoint"] for answer in reader.answers]
    assert checkpoints == sorted(checkpoints), "an answer was older than one before it"
    assert all(answer["items"] for answer in reader.answers), "an answer was empty"
    settled = [answer for answer in reader.answers if answer.get("settled", True)]
    assert settled
    for answer in settled:
        assert answer["items"] == states[answer["checkpoint"]], f"no state of the stream at {answer['checkpoint']}"
    final = stack.api("GET", f"/listTestItems?limit={PAGE}").body
    assert final["items"] == states[-1]
    # What the replay says it changed is nothing: the live events meanwhile are not its doing.
    assert [replay["rowsDiffering"] for replay in replays] == [0] * REPLAYS
