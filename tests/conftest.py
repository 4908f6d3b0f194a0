"""Fixtures for all tests: nothing here touches the user's own environment, credentials or state."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import settings

from stack.app import prepare_jsii
from tests.support.aws import client
from tests.support.emulator import ACCESS_KEY, REGION, running_emulator
from tests.support.sharing import shared

# How long an example takes depends on the machine, and what failed once is in the report: nothing is kept.
settings.register_profile("tests", deadline=None, database=None)
settings.load_profile("tests")

# Before any test imports the CDK, which else starts whatever Node.js the machine may have.
prepare_jsii()

# Variables that esctl, boto3 or the emulator would read as the user's wishes.
_FOREIGN_PREFIXES = ("AWS_", "ESCTL_", "MINISTACK_")
_FOREIGN = {"API_KEY", "TRACING", "STACK_NAME", "AUTH", "STRICT", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "LOG_LEVEL"}
_FOREIGN |= {name for name in os.environ if name.lower().endswith("_proxy")}


@pytest.fixture(scope="session", autouse=True)
def _own_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the user's settings out and everything that is written in a temporary folder."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name in _FOREIGN or name.startswith(_FOREIGN_PREFIXES):
                patch.delenv(name)
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        patch.setenv("AWS_CONFIG_FILE", os.devnull)
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        patch.setenv("AWS_SECRET_ACCESS_KEY", ACCESS_KEY)
        patch.setenv("AWS_DEFAULT_REGION", REGION)
        yield


# Long ones first, so that no process is left alone with them at the end.
_ORDER = ("e2e", "stack", "simulation", "unit")
# End-to-end tests that deploy for themselves; all others work on one deployed stack.
_OWN_STACK = (
    "damaged_state",
    "deploy_cli",
    "deploy_emulator",
    "iam",
    "many_streams",
    "operating",
    "readme",
    "walkthrough",
)


def together(nodeid: str) -> str:
    """Return the name of the tests that stay in one process with this one, when several run them (``make test``).

    Those of a file do, for its fixtures; those that work on the one deployed stack do, for they would see each other's
    events; those of the template do, for synthesizing takes seconds.
    """
    path = nodeid.partition("::")[0]
    own_stack = any(path.endswith(f"test_{name}.py") for name in _OWN_STACK)
    folder = path.removeprefix("tests/").partition("/")[0]
    return folder if folder == "stack" or (folder == "e2e" and not own_stack) else path


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Distribute tests by `together`, in the order of `pytest_collection_modifyitems`."""
    from xdist.scheduler import LoadScopeScheduling

    class Together(LoadScopeScheduling):  # type: ignore[misc] # xdist has no types
        def _split_scope(self, nodeid: str) -> str:
            return together(nodeid)

    config.option.loadscopereorder = False
    return Together(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: next((n for n, each in enumerate(_ORDER) if f"/{each}/" in item.nodeid), len(_ORDER)))


@pytest.fixture(scope="session")
def emulator_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of the emulator, which runs once for all tests: tests share it, so each makes things of its own names."""
    own = tmp_path_factory.getbasetemp()
    everybodys = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    with shared(everybodys, "emulator-endpoint", lambda: running_emulator(tmp_path_factory.mktemp("emulator"))) as url:
        yield url


@pytest.fixture(scope="session")
def emulator_client(emulator_endpoint: str) -> Callable[[str], Any]:
    """``emulator_client("dynamodb")`` is a boto3 client of the emulator; one per service for all tests."""
    made: dict[str, Any] = {}

    def factory(service: str) -> Any:
        if service not in made:
            made[service] = client(service, emulator_endpoint)
        return made[service]

    return factory


@pytest.fixture
def moto_client() -> Iterator[Callable[[str], Any]]:
    """``moto_client("dynamodb")`` is a client of an AWS in memory that is empty at the start of each test."""
    from moto import mock_aws

    with mock_aws():
        yield client


@pytest.fixture(scope="class")
def shared_moto_client() -> Iterator[Callable[[str], Any]]:
    """As `moto_client`, for the tests of a class that make things of their own names: it takes a while to set up."""
    from moto import mock_aws

    made: dict[str, Any] = {}

    def factory(service: str) -> Any:
        if service not in made:
            made[service] = client(service)
        return made[service]

    with mock_aws():
        yield factory
