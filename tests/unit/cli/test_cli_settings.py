"""Settings from the environment and `.env`."""

from __future__ import annotations

import pytest

from cli.config.settings import load
from cli.errors import SettingError
from tests.unit.cli.cli_driver import Esctl

KEY = "k" * 20


def test_defaults(esctl: Esctl) -> None:
    settings = load(esctl.environment())

    assert settings.api_key is None
    assert (settings.tracing, settings.strict, settings.auth, settings.stack_name) == (False, False, "key", None)


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("1", True), ("TRUE", True), ("False", False), ("0", False)]
)
def test_tracing_is_a_boolean_in_any_case(esctl: Esctl, text: str, value: bool) -> None:
    esctl.variables["TRACING"] = text

    assert load(esctl.environment()).tracing is value


@pytest.mark.parametrize("text", ["yes", "on", "2", "truee"])
def test_invalid_boolean_is_an_error(esctl: Esctl, text: str) -> None:
    esctl.variables["TRACING"] = text

    result = esctl("list")

    assert result.exit_code == 2
    assert "TRACING" in result.stderr


def test_environment_takes_precedence_over_dotenv(esctl: Esctl) -> None:
    (esctl.directory / ".env").write_text("STACK_NAME=from-file\nSTRICT=true\nTRACING=1\n")
    esctl.variables["STACK_NAME"] = "from-environment"

    settings = load(esctl.environment())

    assert (settings.stack_name, settings.strict, settings.tracing) == ("from-environment", True, True)


def test_dotenv_values_are_not_interpolated(esctl: Esctl) -> None:
    (esctl.directory / ".env").write_text("export API_KEY='a$HOME#b c'\n# TRACING=1\n")

    assert load(esctl.environment()).api_key == "a$HOME#b c"


def test_key_is_not_in_the_repr(esctl: Esctl) -> None:
    esctl.variables["API_KEY"] = KEY

    assert KEY not in repr(load(esctl.environment()))


@pytest.mark.parametrize("key", ["k" * 19, "k" * 129, "a key with spaces in it", "ключ-из-двадцати-букв"])
def test_key_that_api_gateway_would_reject_is_an_error(esctl: Esctl, key: str) -> None:
    esctl.variables["API_KEY"] = key

    with pytest.raises(SettingError) as caught:
        load(esctl.environment()).checked_api_key()

    assert key not in caught.value.message


def test_key_is_required_on_aws(esctl: Esctl) -> None:
    with pytest.raises(SettingError, match="API_KEY is missing"):
        load(esctl.environment()).required_api_key()


@pytest.mark.parametrize("name", ["1st", "under_score", "", "x" * 129, "a b"])
def test_stack_name_must_follow_the_rule_of_cloudformation(esctl: Esctl, name: str) -> None:
    esctl.variables["STACK_NAME"] = "fine"

    assert esctl("list", "--stack-name", name).exit_code == 2


def test_dotenv_that_is_not_text_is_an_error_that_names_it(esctl: Esctl) -> None:
    (esctl.directory / ".env").write_bytes(b"\xff\xfe\x00")

    result = esctl("list")

    assert result.exit_code == 2
    assert ".env" in result.stderr
