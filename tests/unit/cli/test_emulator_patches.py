"""The patches of the emulator: each is applied to the function that it was written for, and to no other."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from cli.emulator.patches import (
    SOURCES,
    UnexpectedSourceError,
    at_intervals,
    original,
    patch_emulator,
    replace_function,
    source_hash,
    with_single_actions,
)
from cli.errors import EmulatorError

UNEXPECTED = "0" * 32
SOURCE = """
def answer(
    question: str,
) -> str:

    # why
    return "original"


OTHER = 1
"""


@pytest.fixture
def module(tmp_path: Path) -> Iterator[ModuleType]:
    """Yield a module in place of the emulator's."""
    path = tmp_path / "patched_module.py"
    path.write_text(SOURCE)
    made = ModuleType("patched_module")
    exec(compile(SOURCE, str(path), "exec"), vars(made))
    sys.modules[made.__name__] = made
    yield made
    del sys.modules[made.__name__]


def wrapped(function: Any) -> Any:
    return lambda question: f"wrapped {function(question)}"


def test_an_expected_function_is_wrapped(module: ModuleType) -> None:
    replace_function("patched_module.answer", wrapped, {"patched_module.answer": source_hash(module.answer)})

    assert module.answer("?") == "wrapped original"


def test_another_function_is_left_alone(module: ModuleType) -> None:
    with pytest.raises(UnexpectedSourceError, match=r"patched_module\.answer"):
        replace_function("patched_module.answer", wrapped, {"patched_module.answer": UNEXPECTED})

    assert module.answer("?") == "original"


def test_a_missing_function_is_an_error(module: ModuleType) -> None:
    with pytest.raises(UnexpectedSourceError, match=r"patched_module\.gone"):
        replace_function("patched_module.gone", wrapped, {"patched_module.gone": UNEXPECTED})


def test_the_whole_function_is_compared(module: ModuleType, tmp_path: Path) -> None:
    changed = tmp_path / "changed.py"
    changed.write_text(SOURCE.replace('"original"', '"changed"'))
    names: dict[str, Any] = {}
    exec(compile(changed.read_text(), str(changed), "exec"), names)

    assert source_hash(names["answer"]) != source_hash(module.answer)


@pytest.mark.parametrize("path", SOURCES)
def test_the_installed_emulator_has_the_expected_functions(path: str) -> None:
    assert source_hash(original(path)) == SOURCES[path]


def test_the_start_fails_where_a_patch_for_safety_does_not_fit() -> None:
    sources = SOURCES | {"ministack.core.iam_evaluator.is_root_access_key": UNEXPECTED}

    with pytest.raises(EmulatorError, match="is_root_access_key"):
        patch_emulator(access_key="k", restore=lambda: None, sources=sources)


def test_a_patch_for_speed_that_does_not_fit_is_skipped_and_logged() -> None:
    patched = """
import logging
from cli.emulator.patches import SOURCES, original, patch_emulator
logging.basicConfig(level=logging.WARNING, format="%(message)s")
poll = "ministack.services.lambda_svc._poll_dynamodb_streams"
own = original(poll)
patch_emulator(access_key="k", restore=lambda: None, sources=SOURCES | {poll: "0"})
assert original(poll) is own
"""

    done = subprocess.run([sys.executable, "-c", patched], capture_output=True, text=True, timeout=60, check=True)

    assert "_poll_dynamodb_streams is not the expected function" in done.stderr


@pytest.mark.parametrize(
    ("asked", "authorized"),
    [("sqs:SendMessageBatch", "sqs:SendMessage"), ("sqs:SendMessage", "sqs:SendMessage"), (None, None)],
)
def test_a_batch_is_authorized_by_its_single_action(asked: str | None, authorized: str | None) -> None:
    assert with_single_actions(lambda _service: asked)("sqs") == authorized


class Stream:
    """A clock, and whether each poll finds records."""

    def __init__(self, *found: bool) -> None:
        self.now = 100.0
        self.polled_at: list[float] = []
        self._found = iter(found)

    def poll(self) -> bool:
        self.polled_at.append(round(self.now, 3))
        self.now += 0.01  # the function that receives the records
        return next(self._found)

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_a_stream_with_records_is_polled_again_after_an_interval() -> None:
    stream = Stream(True, True, False, True, True)
    poll = at_intervals(stream.poll, 0.05, monotonic=lambda: stream.now, sleep=stream.sleep)

    for pause in (0, 0, 0, 1, 0):
        stream.now += pause
        poll()

    # at once if none was found, or after a pause longer than the interval
    assert stream.polled_at == [100.0, 100.05, 100.1, 101.11, 101.16]
