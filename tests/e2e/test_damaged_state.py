"""Every file that a deployed local target has in the state directory, damaged in every way.

A command rebuilds it or names it. None fails unexpectedly, and none reports success where the target does not work.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cli.emulator.saved_data import read_saved
from cli.errors import EmulatorError
from tests.support.damage import DAMAGES
from tests.support.result import Result
from tests.unit.cli.cli_driver import Clock, Esctl

# They are there and can't be read: rebuilding them would remove what is not a file of esctl's.
NAMED = ("a folder", "unreadable")
REBUILT = [name for name in DAMAGES if name not in NAMED]


class RealClock(Clock):
    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def monotonic(self) -> float:
        return time.monotonic()


@dataclass
class Machine:
    """A machine with a deployed local target that holds one item; its emulator is stopped between two tests.

    Attributes
    ----------
    whole
        The state directory as it was after the deployment.
    """

    esctl: Esctl
    whole: Path

    def __call__(self, *arguments: str) -> Result:
        result = self.esctl(*arguments)
        assert "unexpectedly" not in result.stdout + result.stderr, result
        return result

    @property
    def root(self) -> Path:
        return self.esctl.state.root

    def restore(self) -> None:
        shutil.rmtree(self.root)
        shutil.copytree(self.whole, self.root)

    def works(self) -> None:
        """The target takes an event, and has the item of the deployment and this one's."""
        self("add-event", "--type", "ITEM_CREATED", "--item-id", "2", "--amount", "1", "--wait").ok()
        items = {row["itemId"] for row in self("list", "-o", "json").ok().json["items"]}
        assert {"1", "2"} <= items


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    folder = tmp_path_factory.mktemp("damaged")
    variables = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    machine = Machine(Esctl(folder, variables, RealClock()), folder / "whole")
    try:
        machine("deploy", "--local", "--yes").ok()
        machine("add-event", "--type", "ITEM_CREATED", "--item-id", "1", "--amount", "1", "--wait").ok()
        machine("local", "stop").ok()
        shutil.copytree(machine.root, machine.whole)
        yield machine
    finally:
        machine.esctl("local", "stop", "--force")


@pytest.fixture
def machine(deployed: Machine) -> Iterator[Machine]:
    """The machine with everything whole, and its emulator stopped."""
    deployed.restore()
    yield deployed
    deployed.esctl("local", "stop", "--force")


def test_every_file_is_looked_at(deployed: Machine) -> None:
    """A new kind of file in the state directory belongs into one of the tests below."""
    names = {path.relative_to(deployed.whole).as_posix() for path in deployed.whole.rglob("*") if path.is_file()}
    kinds = (*SERVICES, *CONTENTS, *SUPERVISION, *REMEMBERED, "assemblies/")

    assert sorted(name for name in names if not name.startswith(kinds)) == []


SERVICES = ("emulator/data/services/",)
CONTENTS = ("emulator/data/services/lambda-blobs/", "emulator/data/s3/", "emulator/data/services/cognito-")
SUPERVISION = ("emulator/process.json", "emulator/emulator.log", "emulator/alive.lock", "emulator/start.lock")
REMEMBERED = ("current.json", "targets/", "keys/", "deployments/", "kept/", "locks/")


def found(machine: Machine, *kinds: str) -> list[Path]:
    paths = [path for path in sorted(machine.root.rglob("*")) if path.is_file()]
    return [path for path in paths if path.relative_to(machine.root).as_posix().startswith(kinds)]


def services(machine: Machine) -> list[Path]:
    return [path for path in found(machine, *SERVICES) if path.suffix == ".json"]


@pytest.mark.parametrize("damage", DAMAGES)
def test_saved_services(machine: Machine, damage: str) -> None:
    """They hold the events: nothing can rebuild them, so the emulator does not start without one of them."""
    folder = machine.root / "emulator" / "data"
    for path in services(machine):
        whole = path.read_bytes()
        DAMAGES[damage](path)
        with pytest.raises(EmulatorError) as caught:
            read_saved(folder / "services", folder / "s3")
        assert [fault.partition(": ")[0] for fault in caught.value.faults] == [str(path)]
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        path.write_bytes(whole)


@pytest.mark.parametrize("damage", DAMAGES)
def test_all_saved_services_at_once(machine: Machine, damage: str) -> None:
    damaged = services(machine)
    for path in damaged:
        DAMAGES[damage](path)

    for command in (("local", "start"), ("deploy", "--local", "--yes")):
        result = machine(*command)

        assert result.exit_code == 1
        assert [path for path in damaged if f"{path}: " not in result.stderr] == []
        assert "esctl local reset" in result.stderr
    assert machine("list").exit_code != 0
    assert machine("status").exit_code != 0


def test_code_and_objects(machine: Machine) -> None:
    """The code is restored from the assembly, and the next deployment uploads the objects again."""
    for path in found(machine, *CONTENTS):
        DAMAGES["cut"](path)

    machine("local", "start").ok()

    machine.works()
    machine("destroy", "--yes", "--delete-events").ok()
    machine("deploy", "--local", "--yes").ok()
    machine("add-event", "--type", "ITEM_CREATED", "--item-id", "3", "--amount", "1", "--wait").ok()
    assert [row["itemId"] for row in machine("list", "-o", "json").ok().json["items"]] == ["3"]


@pytest.mark.parametrize("damage", NAMED)
@pytest.mark.parametrize("name", SUPERVISION)
def test_supervision_that_can_not_be_used(machine: Machine, name: str, damage: str) -> None:
    path = machine.root / name
    DAMAGES[damage](path)

    result = machine("local", "start")

    assert result.exit_code == 1
    assert str(path) in result.stderr
    for command in (("local", "status"), ("local", "stop"), ("list",), ("status",)):
        machine(*command)


@pytest.mark.parametrize("damage", REBUILT)
def test_supervision_of_a_stopped_target(machine: Machine, damage: str) -> None:
    for name in SUPERVISION:
        DAMAGES[damage](machine.root / name)

    assert machine("local", "status", "-o", "json").ok().json["running"] is False
    machine("local", "stop").ok()
    if damage == REBUILT[0]:  # the others end the same way
        machine("local", "start").ok()
        machine.works()


@pytest.fixture(scope="module")
def running(deployed: Machine) -> Machine:
    deployed.restore()
    deployed("local", "start").ok()
    return deployed


@pytest.mark.parametrize("damage", REBUILT)
def test_supervision_of_a_running_target(running: Machine, damage: str) -> None:
    before = running("local", "status", "-o", "json").ok().json
    for name in SUPERVISION:
        DAMAGES[damage](running.root / name)

    running("list").ok()

    assert running("local", "status", "-o", "json").ok().json == before
    assert running("local", "start", "-o", "json").ok().json == before


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_remembered_one_by_one(running: Machine, damage: str) -> None:
    for path in found(running, *REMEMBERED):
        whole = path.read_bytes()
        DAMAGES[damage](path)

        if path.name == "local-access-key" and damage in REBUILT:
            refused = running("list")
            assert (refused.exit_code, str(path) in refused.stderr) == (1, True)
            assert "esctl local start" in refused.stderr
            running("local", "start").ok()
        result = running("list", "-o", "json")

        assert result.exit_code == 0 or (damage in NAMED and str(path) in result.stderr), (path, result)
        if path.is_symlink() or path.is_dir():
            path.unlink() if path.is_symlink() else path.rmdir()
            path.write_bytes(whole)


@pytest.mark.parametrize("damage", REBUILT)
def test_all_that_is_remembered_at_once(running: Machine, damage: str) -> None:
    for path in found(running, *REMEMBERED):
        DAMAGES[damage](path)
    running("local", "start").ok()
    commands: list[Callable[[], object]] = [
        lambda: running("status").ok(),
        lambda: running("deploy", "--local", "--yes").ok(),
        running.works,
    ]
    if damage != REBUILT[0]:  # the deployment comes first, where the others have rebuilt nothing
        commands.pop(0)

    for command in commands:
        command()


def test_the_assembly(running: Machine) -> None:
    for path in found(running, "assemblies/"):
        DAMAGES["one byte 0xff"](path)
    for path in found(running, "deployments/"):
        path.unlink()

    running("deploy", "--local", "--yes").ok()

    running.works()
