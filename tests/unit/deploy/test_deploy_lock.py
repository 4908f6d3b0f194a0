"""One deployment of a stack at a time: the lock, between real processes."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.config.targets import Target
from tests.unit.deploy.fakes import AWS, LOCAL, World

HOLD = """
import sys
from pathlib import Path
from tests.unit.deploy.fakes import {target}, World

world = World(Path(sys.argv[1]))
world.stderr = sys.stdout
with world.context({target}).exclusive():
    print("held", flush=True)
    sys.stdin.readline()
print("released", flush=True)
"""


class Holder:
    """A process that takes the lock, and keeps it until a line is sent to it."""

    def __init__(self, folder: Path, target: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-c", HOLD.format(target=target), str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[3],
        )

    def says(self) -> str:
        """Return its next line."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def release(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()


class Holders:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.started: list[Holder] = []

    def __call__(self, target: str = "LOCAL") -> Holder:
        self.started.append(Holder(self._folder, target))
        return self.started[-1]


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[Holders]:
    holders = Holders(tmp_path)
    yield holders
    for each in holders.started:
        each.process.kill()
        each.process.communicate()


def waiting_for(holder: Holder) -> str:
    return f"another deployment of shop is running (pid {holder.process.pid}); waiting"


def test_the_second_one_says_for_whom_it_waits_and_goes_on(holder: Holders) -> None:
    first = holder()
    assert first.says() == "held"
    second = holder()
    assert second.says() == waiting_for(first)
    first.release()
    assert second.says() == "held"
    assert first.says() == "released"


def test_a_killed_one_frees_it(holder: Holders) -> None:
    first = holder()
    assert first.says() == "held"
    second = holder()
    assert second.says() == waiting_for(first)
    first.process.kill()
    assert second.says() == "held"
    third = holder()
    assert third.says() == waiting_for(second)


def test_another_target_is_not_waited_for(holder: Holders) -> None:
    assert holder("LOCAL").says() == "held"
    assert holder("AWS").says() == "held"


@pytest.mark.parametrize("target", [AWS, LOCAL])
def test_it_is_private_and_names_its_holder(world: World, target: Target) -> None:
    with world.context(target).exclusive():
        files = {path.suffix: path for path in (world.folder / "locks").iterdir()}
        assert {path.stat().st_mode & 0o777 for path in files.values()} == {0o600}
        assert files[".pid"].read_text() == f"{os.getpid()}\n"
    with world.context(target).exclusive():
        pass
    assert world.said == ""
