"""`esctl walkthrough` and `esctl outputs`."""

from __future__ import annotations

from cli.errors import ExitCode
from handlers.domain.items import TEST_STREAM
from tests.unit.cli.cli_driver import Esctl
from tests.unit.cli.fake_api import KEY, FakeApi

SENT = [
    {"streamId": TEST_STREAM, "type": "ITEM_CREATED", "data": {"itemId": "1", "amount": 225}},
    {"streamId": TEST_STREAM, "type": "ITEM_AMOUNT_CHANGED", "data": {"itemId": "1", "amount": 500}},
    {"streamId": TEST_STREAM, "type": "ITEM_DELETED", "data": {"itemId": "1"}},
]


def test_walkthrough_sends_the_seed_s_events_and_shows_its_lists(esctl: Esctl, api: FakeApi) -> None:
    result = esctl("walkthrough", "-o", "json")

    assert result.exit_code == 0
    assert api.events[TEST_STREAM] == SENT
    lists = [step["list"]["items"] for step in result.json["steps"]]
    assert lists == [[{"itemId": "1", "amount": 225}], [{"itemId": "1", "amount": 500}], []]


def test_walkthrough_shows_request_answer_and_table_and_what_comes_next(esctl: Esctl, api: FakeApi) -> None:
    result = esctl("walkthrough")

    assert "POST /addEvent" in result.stdout
    assert '"eventId":2' in result.stdout
    assert "itemId  amount" in result.stdout
    assert "esctl local stop" in result.stderr


def test_walkthrough_ends_with_a_replay(esctl: Esctl, api: FakeApi) -> None:
    result = esctl("walkthrough", "-o", "json")

    assert result.json["replay"]["answer"]["state"] == "done"
    assert [call.path for call in api.calls if call.method == "POST"] == ["/addEvent"] * 3 + ["/triggerReplay"]


def test_walkthrough_waits_for_the_read_model(esctl: Esctl, api: FakeApi) -> None:
    api.lag = 7

    assert esctl("walkthrough").exit_code == 0


def test_walkthrough_passes_again_and_beside_other_items(esctl: Esctl, api: FakeApi) -> None:
    esctl("add-event", "--type", "ITEM_CREATED", "--item-id", "0", "--amount", "7")
    esctl("add-event", "--type", "ITEM_CREATED", "--item-id", "1", "--amount", "8")

    assert esctl("walkthrough").exit_code == 0
    assert esctl("walkthrough").exit_code == 0
    assert esctl("list", "-o", "json").json["items"] == [{"itemId": "0", "amount": 7}]


def test_walkthrough_fails_where_the_list_is_wrong(esctl: Esctl, api: FakeApi) -> None:
    api.fold = False

    result = esctl("walkthrough")

    assert result.exit_code == ExitCode.FAILED
    assert "the list is wrong after ITEM_CREATED" in result.stderr


def test_walkthrough_fails_where_the_read_model_stands_still(esctl: Esctl, api: FakeApi) -> None:
    api.lag = 1_000_000

    assert esctl("walkthrough", "--timeout", "5").exit_code == ExitCode.TIMED_OUT


def test_outputs_are_the_contract_for_scripts(esctl: Esctl, api: FakeApi) -> None:
    document = esctl("outputs", "-o", "json").json

    assert document["stackName"] == "esctl"
    assert document["target"] == "local"
    assert document["region"] == "us-east-1"
    assert document["apiUrl"] == api.url
    assert document["endpointUrl"] == f"http://127.0.0.1:{api.port}"
    assert document["outputs"]["EventsTable"] == "t-1"
    assert "apiKey" not in document


def test_outputs_show_the_key_only_when_asked(esctl: Esctl, api: FakeApi) -> None:
    assert KEY not in esctl("outputs").stdout
    assert esctl("outputs", "--show-key", "-o", "json").json["apiKey"] == KEY
