"""The seed's walkthrough, to the letter: by the installed command line, and over plain HTTP."""

from __future__ import annotations

import json
import os
import stat
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.support import Machine, wait_until

STREAM = "eb724435-02cb-4c68-9d7a-4b6471c5a810"


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine with a stack of its own, so that its list begins empty; its folder's name has a space in it."""
    machine = Machine(tmp_path_factory.mktemp("a fresh machine"))
    machine.esctl("deploy", "--local", "--yes", timeout_s=180).ok()
    yield machine
    machine.esctl("local", "stop")


def test_the_command_line_shows_the_right_items_at_every_step(fresh: Machine) -> None:
    # given an empty read model
    assert fresh.esctl("list", "-o", "json").ok().json == {"items": [], "checkpoint": -1}

    # when an item is created, then it is listed
    created = fresh.esctl(
        "add-event", "--type", "ITEM_CREATED", "--item-id", "1", "--amount", "225", "--wait", "-o", "json"
    )
    assert {"streamId": STREAM, "eventId": 0, "type": "ITEM_CREATED"}.items() <= created.ok().json.items()
    assert fresh.esctl("list", "-o", "json").json == {"items": [{"itemId": "1", "amount": 225}], "checkpoint": 0}

    # when its amount changes, then the new one is listed
    changed = ("add-event", "-t", "ITEM_AMOUNT_CHANGED", "--data", '{"itemId":"1","amount":500}', "--wait")
    fresh.esctl(*changed).ok()
    assert fresh.esctl("list", "-o", "json").json == {"items": [{"itemId": "1", "amount": 500}], "checkpoint": 1}

    # when it is deleted, then the list is empty
    fresh.esctl("add-event", "--type", "ITEM_DELETED", "--item-id", "1", "--wait").ok()
    assert fresh.esctl("list-items", "-o", "json").json == {"items": [], "checkpoint": 2}


def test_the_scripted_walkthrough_passes_twice(fresh: Machine) -> None:
    for _ in range(2):
        shown = fresh.esctl("walkthrough").ok()
        assert "225" in shown.stdout
        assert "500" in shown.stdout


def test_plain_http_is_enough(fresh: Machine) -> None:
    # given the address and the key that `esctl outputs` tells
    told = fresh.esctl("outputs", "-o", "json", "--show-key").ok().json
    assert {"stackName", "target", "region", "apiUrl", "apiKey", "endpointUrl"} <= set(told)
    http = _Http(told["apiUrl"], told["apiKey"])

    # when the seed's requests are sent, then the seed's answers come
    http.add("ITEM_CREATED", {"itemId": "1", "amount": 225})
    wait_until(lambda: http.items() == [{"itemId": "1", "amount": 225}], "item 1 with 225")
    http.add("ITEM_AMOUNT_CHANGED", {"itemId": "1", "amount": 500})
    wait_until(lambda: http.items() == [{"itemId": "1", "amount": 500}], "item 1 with 500")
    http.add("ITEM_DELETED", {"itemId": "1"})
    wait_until(lambda: http.items() == [], "an empty list")


@pytest.mark.parametrize("key", [None, "wrong-key-wrong-key-wrong-key"])
def test_no_key_or_a_wrong_one_is_refused(fresh: Machine, key: str | None) -> None:
    told = fresh.esctl("outputs", "-o", "json").ok().json
    assert "apiKey" not in told
    http = _Http(told["apiUrl"], key)

    for method, path in [("POST", "/addEvent"), ("GET", "/listTestItems"), ("POST", "/triggerReplay")]:
        assert http.send(method, path, {})[0] == 403


def test_nothing_that_is_written_may_be_read_by_others_and_the_key_is_in_one_file_only(fresh: Machine) -> None:
    key = fresh.esctl("outputs", "-o", "json", "--show-key").ok().json["apiKey"].encode()
    with_key = []
    for folder, _, names in os.walk(fresh.folder / "state" / "esctl"):
        assert stat.S_IMODE(os.stat(folder).st_mode) & 0o077 == 0, folder
        for name in names:
            path = Path(folder, name)
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
            if "emulator" not in path.parts and key in path.read_bytes():
                with_key.append(path.name)
    assert len(with_key) == 1, with_key


class _Http:
    """The simplest client there is: nothing of ours between a test and the API."""

    def __init__(self, base: str, key: str | None) -> None:
        self._base = base
        self._headers = {"Content-Type": "application/json"} | ({"x-api-key": key} if key else {})

    def send(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        data = None if method == "GET" else json.dumps(body).encode()
        request = urllib.request.Request(self._base + path, data, self._headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def add(self, event_type: str, data: dict[str, Any]) -> None:
        status, answer = self.send("POST", "/addEvent", {"streamId": STREAM, "type": event_type, "data": data})
        assert status == 201, answer

    def items(self) -> Any:
        status, answer = self.send("GET", "/listTestItems")
        assert status == 200, answer
        return answer["items"]
