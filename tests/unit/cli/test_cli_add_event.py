"""`esctl add-event`."""

from __future__ import annotations

from decimal import Decimal

import pytest

from cli.errors import ExitCode
from handlers.domain.items import TEST_STREAM
from tests.unit.cli.cli_driver import Esctl
from tests.unit.cli.fake_api import KEY, FakeApi


def test_event_goes_to_the_test_stream_unless_told_otherwise(esctl: Esctl, api: FakeApi) -> None:
    result = esctl("add-event", "--type", "ITEM_CREATED", "--item-id", "1", "--amount", "225", "-o", "json")

    assert result.exit_code == 0
    assert result.json == {"streamId": TEST_STREAM, "eventId": 0, "type": "ITEM_CREATED"}
    assert api.calls[0].body == {
        "streamId": TEST_STREAM,
        "type": "ITEM_CREATED",
        "data": {"itemId": "1", "amount": 225},
    }


@pytest.mark.parametrize("amount", ["12345678901234567890", "0.1", "-5", "1E+3", "0.10"])
def test_amount_keeps_the_digits_that_were_typed(esctl: Esctl, api: FakeApi, amount: str) -> None:
    result = esctl("add-event", "--type", "ITEM_CREATED", "--item-id", "1", "--amount", amount)

    assert result.exit_code == 0
    assert str(api.calls[0].body["data"]["amount"]) == amount


@pytest.mark.parametrize("amount", ["abc", "", "NaN", "Infinity", "true", "0x10", "1,5", "'1'"])
def test_amount_that_is_no_number_is_refused_before_any_call(esctl: Esctl, api: FakeApi, amount: str) -> None:
    result = esctl("add-event", "--type", "ITEM_CREATED", "--item-id", "1", "--amount", amount)

    assert result.exit_code == 2
    assert "--amount" in result.stderr
    assert api.calls == []


def test_data_comes_from_a_file_or_standard_input(esctl: Esctl, api: FakeApi) -> None:
    (esctl.directory / "event.json").write_text('{"itemId": "f", "amount": 1.50}')

    esctl("add-event", "--type", "ITEM_CREATED", "--data", "@event.json")
    esctl("add-event", "--type", "ITEM_CREATED", "--data", "-", stdin='{"itemId": "s", "amount": 2}')

    assert [call.body["data"]["itemId"] for call in api.calls] == ["f", "s"]


def test_missing_data_file_is_named(esctl: Esctl, api: FakeApi) -> None:
    result = esctl("add-event", "--type", "ITEM_CREATED", "--data", "@nowhere.json")

    assert result.exit_code == 2
    assert "nowhere.json" in result.stderr


@pytest.mark.parametrize("data", ["{", "[]", "null", '"text"', '{"a": NaN}', '{"a": 1, "a": 2}'])
def test_data_that_is_no_json_object_is_refused_before_any_call(esctl: Esctl, api: FakeApi, data: str) -> None:
    result = esctl("add-event", "--type", "OTHER", "--data", data)

    assert result.exit_code == 2
    assert api.calls == []


def test_field_given_twice_is_refused(esctl: Esctl, api: FakeApi) -> None:
    result = esctl("add-event", "--type", "ITEM_CREATED", "--item-id", "1", "--data", '{"itemId": "2", "amount": 1}')

    assert result.exit_code == 2
    assert "given twice" in result.stderr


def test_what_a_known_type_lacks_is_asked_for_at_a_terminal(esctl: Esctl, api: FakeApi) -> None:
    result = esctl("add-event", stdin="ITEM_CREATED\n7\nno number\n0.50\n", terminal=True)

    assert result.exit_code == 0
    assert api.calls[0].body["data"] == {"itemId": "7", "amount": Decimal("0.50")}
    assert "no number" in result.stderr


def test_what_a_known_type_lacks_is_an_error_without_a_terminal(esctl: Esctl, api: FakeApi) -> None:
    result = esctl("add-event", "--type", "ITEM_CREATED", stdin="7\n8\n")

    assert result.exit_code == 2
    assert "itemId" in result.stderr
    assert "--item-id" in result.stderr
    assert "--amount" in result.stderr
    assert api.calls == []


def test_type_is_an_error_without_a_terminal(esctl: Esctl, api: FakeApi) -> None:
    result = esctl("add-event")

    assert result.exit_code == 2
    assert "ITEM_DELETED" in result.stderr


def test_unknown_type_is_sent_with_a_warning(esctl: Esctl, api: FakeApi) -> None:
    result = esctl("add-event", "--type", "ITEM_CREATD", "--data", "{}")

    assert result.exit_code == 0
    assert "did you mean ITEM_CREATED" in result.stderr
    assert api.calls[0].body["type"] == "ITEM_CREATD"


def test_wait_returns_when_the_event_is_in_the_read_model(esctl: Esctl, api: FakeApi) -> None:
    api.lag = 5

    result = esctl("add-event", "--type", "ITEM_CREATED", "--item-id", "1", "--amount", "1", "--wait")

    assert result.exit_code == 0
    assert [call.method for call in api.calls] == ["POST"] + ["GET"] * 6


def test_wait_that_is_in_vain_ends_with_its_own_exit_code(esctl: Esctl, api: FakeApi) -> None:
    api.lag = 1_000_000

    result = esctl("add-event", "--type", "ITEM_DELETED", "--item-id", "1", "--wait", "--timeout", "5")

    assert result.exit_code == 6
    assert "event 0 is stored" in result.stderr
    assert esctl.clock.now <= 5


def test_wait_for_a_stream_that_nobody_projects_is_refused(esctl: Esctl, api: FakeApi) -> None:
    result = esctl("add-event", "--type", "OTHER", "--stream-id", "elsewhere", "--wait")

    assert result.exit_code == 2
    assert api.calls == []


def test_version_conflict_has_its_own_exit_code(esctl: Esctl, api: FakeApi) -> None:
    result = esctl("add-event", "--type", "ITEM_DELETED", "--item-id", "1", "--expected-version", "9")

    assert result.exit_code == 5
    assert "the head is -1" in result.stderr


def test_repeated_idempotency_key_appends_once_and_says_so(esctl: Esctl, api: FakeApi) -> None:
    command = ("add-event", "--type", "ITEM_DELETED", "--item-id", "1", "--idempotency-key", "once")

    esctl(*command)
    result = esctl(*command)

    assert result.exit_code == 0
    assert "already" in result.stdout
    assert len(api.events[TEST_STREAM]) == 1


def test_correlation_id_becomes_metadata(esctl: Esctl, api: FakeApi) -> None:
    esctl("add-event", "--type", "ITEM_DELETED", "--item-id", "1", "--correlation-id", "c-1")

    assert api.calls[0].body["metadata"] == {"correlationId": "c-1"}


@pytest.mark.parametrize("key", ["a\nb", "ключ", "", "k" * 257])
def test_idempotency_key_that_fits_in_no_header_is_refused_before_any_call(
    esctl: Esctl, api: FakeApi, key: str
) -> None:
    result = esctl("add-event", "--type", "X", "--data", "{}", "--idempotency-key", key)

    assert result.exit_code == ExitCode.USAGE
    assert result.stderr.startswith("error: --idempotency-key must ")
    assert api.calls == []


def test_faults_outside_the_body_are_named_with_their_place(esctl: Esctl, api: FakeApi) -> None:
    api.answers = [(400, {"errors": [{"in": "query", "name": "from", "detail": "is odd"}]})]

    assert "  - query from: is odd\n" in esctl("events", "s").stderr


def test_every_fault_is_listed_and_the_key_is_not(esctl: Esctl, api: FakeApi) -> None:
    faults = [{"pointer": "/data/amount", "detail": "must be number"}, {"pointer": "", "detail": "is too odd"}]
    api.answers = [(400, {"title": "Invalid input", "detail": "two faults", "errors": faults})]

    result = esctl("add-event", "--type", "OTHER", "--data", "{}")

    assert result.exit_code == 1
    assert "/data/amount: must be number" in result.stderr
    assert "the body: is too odd" in result.stderr
    assert KEY not in result.stdout + result.stderr
