"""The fixtures themselves."""

import os
import socket
from pathlib import Path

import pytest

from tests.support.aws import client
from tests.support.emulator import ACCESS_KEY, running_emulator
from tests.support.tables import make_event_tables, make_read_model_tables


@pytest.mark.parametrize("fixture", ["emulator_client", "moto_client"])
def test_tables_of_a_test_have_names_of_their_own(fixture: str, request: pytest.FixtureRequest) -> None:
    dynamodb = request.getfixturevalue(fixture)("dynamodb")

    first, second = make_event_tables(dynamodb), make_event_tables(dynamodb)
    tables = make_read_model_tables(dynamodb)

    names = {
        first.events,
        first.idempotency,
        second.events,
        second.idempotency,
        tables.states,
        tables.rows,
        tables.jobs,
    }
    assert len(names) == 7
    for name in names:
        assert dynamodb.describe_table(TableName=name)["Table"]["TableStatus"] == "ACTIVE"


def test_the_emulator_leaves_nothing_behind(tmp_path: Path) -> None:
    with running_emulator(tmp_path / "emulator") as endpoint:
        assert client("dynamodb", endpoint).list_tables()["TableNames"] == []
        port = int(endpoint.rpartition(":")[2])

    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
    assert not (tmp_path / "emulator" / "tmp").exists()


def test_no_settings_of_the_user_reach_the_tests() -> None:
    assert os.environ["AWS_ACCESS_KEY_ID"] == ACCESS_KEY
    assert "API_KEY" not in os.environ
    assert "AWS_PROFILE" not in os.environ
