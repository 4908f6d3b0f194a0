"""`esctl streams`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.cli.cli_driver import Esctl
from tests.unit.cli.served_api import ServedApi, served


@pytest.fixture
def api(esctl: Esctl) -> Iterator[ServedApi]:
    with served(esctl) as api:
        yield api


def given_streams(api: ServedApi, number: int) -> None:
    for index in range(number):
        api.model.given(("PING", {}), stream_id=f"s-{index:05}")


def test_one_stream_a_line_and_nothing_else_on_stdout(esctl: Esctl, api: ServedApi) -> None:
    given_streams(api, 3)

    result = esctl("streams")

    assert result.lines == ["s-00000", "s-00001", "s-00002"]
    assert "3 streams" in result.stderr


def test_all_pages_are_read(esctl: Esctl, api: ServedApi) -> None:
    given_streams(api, 1001)

    assert len(esctl("streams", "-o", "jsonl").lines) == 1001
    assert api.called("GET /streams") == 2


def test_limit_asks_for_no_more(esctl: Esctl, api: ServedApi) -> None:
    given_streams(api, 5)

    assert esctl("streams", "--limit", "2", "-o", "json").json == {
        "streams": [{"streamId": "s-00000"}, {"streamId": "s-00001"}]
    }
    assert api.called("GET /streams") == 1


def test_an_empty_store_says_so_and_how_to_begin(esctl: Esctl, api: ServedApi) -> None:
    result = esctl("streams")

    assert (result.exit_code, result.stdout) == (0, "")
    assert "There are no streams" in result.stderr
    assert "esctl add-event" in result.stderr


def test_a_stream_id_cannot_steer_the_terminal(esctl: Esctl, api: ServedApi) -> None:
    api.model.given(("PING", {}), stream_id="a\x1b[2Jb")

    assert "\x1b" not in esctl("streams").stdout
