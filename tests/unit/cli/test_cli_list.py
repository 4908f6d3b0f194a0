"""`esctl list` and `esctl list-items`."""

from __future__ import annotations

import pytest

from handlers.domain.items import TEST_STREAM
from tests.unit.cli.cli_driver import Esctl
from tests.unit.cli.fake_api import FakeApi


def given_items(api: FakeApi, number: int) -> None:
    api.events[TEST_STREAM] = [
        {"streamId": TEST_STREAM, "type": "ITEM_CREATED", "data": {"itemId": f"{index:04}", "amount": index}}
        for index in range(number)
    ]


@pytest.mark.parametrize("name", ["list", "list-items"])
def test_json_is_the_contract_for_scripts(esctl: Esctl, api: FakeApi, name: str) -> None:
    given_items(api, 2)

    result = esctl(name, "-o", "json")

    items = [{"itemId": "0000", "amount": 0}, {"itemId": "0001", "amount": 1}]
    assert result.json == {"items": items, "checkpoint": 1}
    assert result.stderr == ""


def test_numbers_keep_every_digit(esctl: Esctl, api: FakeApi) -> None:
    api.answers = [
        (200, '{"items":[{"itemId":"1","amount":12345678901234567890.125}],"checkpoint":0,"nextToken":null}')
    ]

    assert "12345678901234567890.125" in esctl("list", "-o", "json").stdout


def test_all_pages_are_read(esctl: Esctl, api: FakeApi) -> None:
    given_items(api, 25)
    api.page_size = 10

    assert len(esctl("list", "-o", "json").json["items"]) == 25


def test_limit_reads_no_more_than_needed(esctl: Esctl, api: FakeApi) -> None:
    given_items(api, 25)
    api.page_size = 10

    result = esctl("list", "--limit", "12")

    assert len(result.lines) == 1 + 12
    assert "there are more" in result.stderr
    assert [call.query["limit"] for call in api.calls] == ["12", "2"]


def test_pages_of_different_checkpoints_are_read_again(esctl: Esctl, api: FakeApi) -> None:
    def page(item: str, checkpoint: int, token: str | None) -> tuple[int, object]:
        return 200, {"items": [{"itemId": item, "amount": 1}], "checkpoint": checkpoint, "nextToken": token}

    api.answers = [page("a", 1, "t"), page("b", 2, None), page("a", 2, "t"), page("b", 2, None)]

    assert esctl("list", "-o", "json").json["checkpoint"] == 2


def test_text_is_a_plain_table_without_a_terminal(esctl: Esctl, api: FakeApi) -> None:
    given_items(api, 1)

    result = esctl("list")

    assert result.lines == ["itemId  amount", "0000         0"]
    assert "checkpoint 0" in result.stderr


def test_empty_list_says_so_on_stderr(esctl: Esctl, api: FakeApi) -> None:
    result = esctl("list")

    assert result.stdout == ""
    assert "no items" in result.stderr
    assert "no event yet" in result.stderr


def test_controls_in_an_item_can_not_steer_the_terminal(esctl: Esctl, api: FakeApi) -> None:
    data = {"itemId": "\x1b[2J\r\u202e", "amount": 1}
    api.events[TEST_STREAM] = [{"type": "ITEM_CREATED", "data": data}]

    assert "\x1b" not in esctl("list").stdout
    assert "\\u001b[2J" in esctl("list", terminal=True).stdout


def test_watch_shows_the_list_again_only_when_it_changes(esctl: Esctl, api: FakeApi) -> None:
    def page(amount: int) -> tuple[int, object]:
        return 200, {"items": [{"itemId": "a", "amount": amount}], "checkpoint": amount, "nextToken": None}

    api.answers = [page(1), page(1), page(2), (404, {"detail": "the end of this test"})]

    result = esctl("list", "--watch", "-o", "json")

    assert [line.count("checkpoint") for line in result.lines] == [1, 1]
    assert result.exit_code == 3
