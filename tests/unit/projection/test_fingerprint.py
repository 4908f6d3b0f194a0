"""The fingerprint of a projection's code: what changes it, and what does not."""

from __future__ import annotations

import importlib
import itertools
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from handlers import catalogue
from handlers.domain import registry
from handlers.projection import Projection
from handlers.projection.fingerprint import fingerprint

ORDERS = """
    from handlers.projection import Projection
    from {package}.money import rounded

    orders = Projection("orders", key="orderId")

    @orders.on("PLACED")
    def placed(row, event):
        return {{"total": rounded(event["total"])}}
"""
DOMAIN = {
    "__init__.py": "",
    "orders.py": ORDERS,
    "money.py": "from .shared import tax\nLIMIT = 10\ndef rounded(value):\n    return value + tax.RATE\n",
    "shared/__init__.py": "",
    "shared/tax.py": "RATE = 19\n",
    "others.py": "VALUE = 1\n",
    "steps.py": """
        from handlers.catalogue import upcaster

        @upcaster("PLACED", from_version=1)
        def placed_has_total(data):
            return {{**data, "total": 0}}

        @upcaster("CANCELLED", from_version=1)
        def cancelled_has_reason(data):
            return {{**data, "reason": None}}
    """,
}
PACKAGE = "domain_of_a_test"

Printed = Callable[..., str]


@pytest.fixture
def printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Printed]:
    """Write the domain with some files replaced, load it, and return the fingerprint of its projection."""
    numbers = itertools.count()
    known = dict(catalogue.upcasters())

    def load(
        files: Mapping[str, str] = {}, *, package: str = PACKAGE, also: Sequence[str] = (), late: Sequence[str] = ()
    ) -> str:
        _forget(known)
        directory = tmp_path / str(next(numbers))
        for name, text in {**DOMAIN, **files}.items():
            path = directory / package / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text.format(package=package)), encoding="utf-8")
        monkeypatch.syspath_prepend(directory)
        for module in also:
            importlib.import_module(f"{package}.{module}")
        projection: Projection = importlib.import_module(f"{package}.orders").orders
        for module in late:
            importlib.import_module(f"{package}.{module}")
        return projection.fingerprint()

    yield load
    _forget(known)


def _forget(upcasters: Mapping[tuple[str, int], catalogue.Upcaster]) -> None:
    """Forget the modules of all domains, and all upcasters but some."""
    for name in [each for each in sys.modules if each.startswith(PACKAGE)]:
        del sys.modules[name]
    catalogue._upcasters.clear()
    catalogue._upcasters.update(upcasters)


SAME: dict[str, tuple[str, str]] = {
    "comments": ("money.py", DOMAIN["money.py"] + "# a comment\n"),
    "formatting": ("money.py", DOMAIN["money.py"].replace("10", "( 10\n    )").replace("def", "\n\n\ndef")),
    "a module's docstring": ("money.py", '"""Money."""\n' + DOMAIN["money.py"]),
    "a function's docstring": ("money.py", DOMAIN["money.py"].replace("    return", '    """Round."""\n    return')),
    "an empty docstring": ("money.py", DOMAIN["money.py"].replace("    return", '    ""\n    return')),
    "a constant's docstring": ("money.py", DOMAIN["money.py"].replace("10\n", '10\n"""The limit."""\n')),
    "how a number is written": ("money.py", DOMAIN["money.py"].replace("10", "1_0")),
    "quotes": ("orders.py", ORDERS.replace('"total"', "'total'")),
    "a module that is not imported": ("others.py", "VALUE = 2\n"),
}
CHANGED: dict[str, tuple[str, str]] = {
    "a handler": ("orders.py", ORDERS.replace('{{"total"', '{{"sum"')),
    "a helper": ("money.py", DOMAIN["money.py"].replace("value +", "value -")),
    "a constant": ("money.py", DOMAIN["money.py"].replace("10", "11")),
    "a constant's type": ("money.py", DOMAIN["money.py"].replace("10", "10.0")),
    "a helper's helper": ("shared/tax.py", "RATE = 20\n"),
    "a package on the way": ("shared/__init__.py", "RATE = 20\n"),
    "the name": ("orders.py", ORDERS.replace('"orders"', '"orders2"')),
}


@pytest.mark.parametrize("what", SAME)
def test_the_fingerprint_does_not_depend_on(what: str, printed: Printed) -> None:
    assert printed(dict([SAME[what]])) == printed()


@pytest.mark.parametrize("what", CHANGED)
def test_the_fingerprint_changes_with(what: str, printed: Printed) -> None:
    assert printed(dict([CHANGED[what]])) != printed()


IMPORTS = {
    "relative": "from .money import rounded",
    "relative, of a module": "from . import money\nrounded = money.rounded",
    "renamed": "from .money import rounded as other\nrounded = other",
    "everything": "from .money import *",
    "of a module": "import {package}.money\nrounded = {package}.money.rounded",
    "of a module, renamed": "import {package}.money as money\nrounded = money.rounded",
    "from the package": "from {package} import money\nrounded = money.rounded",
    "in a function": "def rounded(value):\n    from .money import rounded\n    return rounded(value)",
    "under a condition": "if True:\n    from .money import rounded",
}


@pytest.mark.parametrize("how", IMPORTS)
def test_a_changed_helper_changes_the_fingerprint_however_it_is_imported(how: str, printed: Printed) -> None:
    orders = textwrap.dedent(ORDERS).replace("from {package}.money import rounded", IMPORTS[how])
    prints = [printed({"orders.py": orders, "shared/tax.py": f"RATE = {rate}\n"}) for rate in (1, 1, 2)]

    assert prints[0] == prints[1] != prints[2]


def test_names_that_a_package_defines_itself_count(printed: Printed) -> None:
    orders = ORDERS.replace("from {package}.money import rounded", "from . import rounded")
    init = "def rounded(value):\n    return value + NUMBER\n"

    prints = [printed({"orders.py": orders, "__init__.py": init.replace("NUMBER", number)}) for number in "112"]

    assert prints[0] == prints[1] != prints[2]


def test_imports_within_a_package_are_relative_to_it(printed: Printed) -> None:
    # given a package whose __init__ and modules import from one another
    files = {"shared/__init__.py": "from .tax import RATE\n", "shared/tax.py": "from .base import RATE\n"}

    prints = [printed({**files, "shared/base.py": f"RATE = {rate}\n"}) for rate in (1, 1, 2)]

    assert prints[0] == prints[1] != prints[2]


def test_modules_that_import_each_other_are_followed_once(printed: Printed) -> None:
    files = {"shared/tax.py": "RATE = 19\ndef later():\n    from .. import orders\n"}

    assert printed(files) != printed()


def test_a_projection_may_be_a_package(printed: Printed) -> None:
    files = {
        "orders.py": "from .sales import orders\n",
        "sales/__init__.py": ORDERS.replace("{package}.money", "..money"),
    }

    prints = [printed({**files, "shared/tax.py": f"RATE = {rate}\n"}) for rate in (1, 1, 2)]

    assert prints[0] == prints[1] != prints[2]


def test_handlers_and_key_functions_from_other_modules_count(printed: Printed) -> None:
    # given a module that adds a handler to the projection, which the projection's own module does not import
    more = """
        from {package}.orders import orders

        @orders.on("CANCELLED")
        def cancelled(row, event):
            return ROW
    """

    prints = [printed({"more.py": more.replace("ROW", row)}, also=["more"]) for row in ("None", "None", "row")]

    assert prints[0] == prints[1] != prints[2]


def test_the_fingerprint_does_not_depend_on_what_was_imported_so_far(printed: Printed) -> None:
    orders = textwrap.dedent(ORDERS).replace("from {package}.money import rounded", IMPORTS["in a function"])

    assert printed({"orders.py": orders}) == printed({"orders.py": orders}, late=["money"])


def test_the_same_code_in_another_package_has_the_same_fingerprint(printed: Printed) -> None:
    files = {"orders.py": ORDERS.replace("{package}.money", ".money")}

    assert printed(files, package=f"{PACKAGE}_too") == printed(files)


@pytest.mark.parametrize(
    "definition",
    [
        'Projection("orders", key="orderId", streams=["s"])',
        'Projection("orders", key="orderId", indexes=["status"])',
        'Projection("orders", key=["customerId", "orderId"])',
        'Projection("orders", key=lambda event: event["orderId"])',
    ],
)
def test_the_definition_is_part_of_the_code(definition: str, printed: Printed) -> None:
    files = {"orders.py": ORDERS.replace('Projection("orders", key="orderId")', definition)}

    assert printed(files) != printed()


# -- upcasters -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "changes"),
    [
        ('"total": 0', '"total": 1', True),
        ('"reason": None', '"reason": "none"', False),
        ('"CANCELLED", from_version=1', '"CANCELLED", from_version=2', False),
    ],
)
def test_upcasters_count_if_they_are_of_the_projection_s_event_types(
    old: str, new: str, changes: bool, printed: Printed
) -> None:
    steps = DOMAIN["steps.py"]

    before, after = (printed({"steps.py": each}, late=["steps"]) for each in (steps, steps.replace(old, new)))

    assert (before != after) == changes
    assert before != printed(), "the fingerprint without upcasters"


def step(data: dict[str, int]) -> dict[str, int]:
    return {**data, "total": 0}


def test_upcasters_count_wherever_they_are_defined(monkeypatch: pytest.MonkeyPatch) -> None:
    # given a projection of no file, and an upcaster of this one
    monkeypatch.setitem(catalogue._upcasters, ("ELSEWHERE", 1), step)

    assert fingerprint("", "interactive", [], ["ELSEWHERE"]) != fingerprint("", "interactive", [], [])


# -- without files ---------------------------------------------------------------------------------------------------------


def test_a_projection_defined_interactively_has_a_fingerprint_of_its_settings() -> None:
    code = 'from handlers.projection import Projection; print(Projection("a", key="k").fingerprint())'

    prints = {
        subprocess.run([sys.executable, "-c", code.replace('"k"', key)], capture_output=True, check=True).stdout
        for key in ('"k"', '"j"')
    }

    assert len(prints) == 2


def test_the_sample_s_fingerprint_has_16_hex_digits() -> None:
    printed = registry()["test-items"].fingerprint()

    assert len(printed) == 16
    assert int(printed, 16) >= 0
