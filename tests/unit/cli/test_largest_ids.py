"""The commands over more streams and rows than a page holds, whose ids and keys are the longest that are accepted."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cli.commands.doctor import auditor
from cli.operate.doctor import Verdict, contiguity, read_models
from cli.shell.session import Session
from cli.terminal.output import Output
from handlers.core.events import NewEvent, StreamId
from handlers.core.lossless_json import dumps
from handlers.domain.items import TEST_STREAM
from tests.unit.cli.cli_driver import Esctl
from tests.unit.cli.served_api import ServedApi, served

STREAMS = [f"{number:04}" + "😀" * 252 for number in range(1001)]
ROWS = [f"{number:04}" + "\x01" * 1020 for number in range(1001)]


@pytest.fixture
def api(esctl: Esctl) -> Iterator[ServedApi]:
    with served(esctl) as api:
        yield api


def given(api: ServedApi, events: list[NewEvent]) -> None:
    for start in range(0, len(events), 100):
        api.model.store.append(events[start : start + 100])


def session(esctl: Esctl) -> Session:
    environment = esctl.environment()
    return Session(environment, Output(environment))


def test_all_streams_are_listed_exported_and_checked(esctl: Esctl, api: ServedApi) -> None:
    given(api, [NewEvent(StreamId(each), "PING", "{}") for each in STREAMS])

    assert len(esctl("streams", "-o", "jsonl").lines) == len(STREAMS)
    assert esctl("export", "all.jsonl", "-o", "json").json["events"] == len(STREAMS)
    [found] = contiguity(session(esctl).service, full=True)
    assert (found.verdict, found.what) == (Verdict.OK, "1,001 events of 1,001 streams read, in order")


def test_all_rows_are_listed_checked_and_replayed(esctl: Esctl, api: ServedApi) -> None:
    data = [dumps({"itemId": key, "amount": 1}) for key in ROWS]
    given(api, [NewEvent(StreamId(TEST_STREAM), "ITEM_CREATED", each) for each in data])
    api.model.project()
    sleep = esctl.clock.sleep

    def sleep_and_work(seconds: float) -> None:
        sleep(seconds)
        api.model.work()

    esctl.clock.sleep = sleep_and_work  # type: ignore[method-assign]

    assert [row["itemId"] for row in esctl("list", "-o", "json").json["items"]] == ROWS
    assert [each.verdict for each in read_models(auditor(session(esctl).service, full=True))] == [Verdict.OK]
    assert esctl("replay", "-o", "json").json["rowsAfter"] == len(ROWS)
