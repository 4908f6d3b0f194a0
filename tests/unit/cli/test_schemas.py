"""`esctl schemas`: works on a machine that knows no target."""

from __future__ import annotations

from cli.errors import ExitCode
from handlers import catalogue
from tests.unit.cli.cli_driver import Esctl


def test_the_list_names_every_known_type(esctl: Esctl) -> None:
    result = esctl("schemas")

    assert result.exit_code == 0
    assert [line.split()[0] for line in result.lines[1:]] == list(catalogue.known_types())


def test_the_list_as_json(esctl: Esctl) -> None:
    created = next(each for each in esctl("schemas", "-o", "json").json["types"] if each["type"] == "ITEM_CREATED")

    assert created["version"] == 1
    assert created["required"] == ["itemId", "amount"]
    assert created["optional"] == []


def test_show_prints_the_schema(esctl: Esctl) -> None:
    assert esctl("schemas", "show", "ITEM_DELETED").json == catalogue.schema("ITEM_DELETED")


def test_a_mistyped_type_gets_a_suggestion(esctl: Esctl) -> None:
    result = esctl("schemas", "show", "item_create")

    assert result.exit_code == ExitCode.NOT_FOUND
    assert "Did you mean ITEM_CREATED?" in result.stderr


def test_wrong_formats_are_refused(esctl: Esctl) -> None:
    assert esctl("schemas", "-o", "yaml").exit_code == ExitCode.USAGE
