"""Code of earlier deployments, loaded beside the deployed code (G10)."""

import shutil
from pathlib import Path

import handlers.domain
from handlers import older_code
from handlers.core.events import Event, EventId, StreamId
from handlers.domain import registry
from handlers.domain.items import TEST_STREAM
from handlers.projection import Projection
from handlers.projection.engine import Code
from tests.support.projections import fold_all

CREATED = Event(
    StreamId(TEST_STREAM), EventId(0), "ITEM_CREATED", '{"itemId":"1","amount":5}', "2026-01-01T00:00:00.000Z"
)


def copy_of_the_domain(folder: Path, **replaced: str) -> Path:
    """A copy of the domain in which modules are replaced."""
    copy = folder / "copy"
    shutil.copytree(Path(handlers.domain.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in replaced.items():
        (copy / f"{name}.py").write_text(text, encoding="utf-8")
    return copy


def rows_of(projection: Projection) -> dict[str, object]:
    rows: dict[str, object] = {}
    fold_all(projection, [CREATED], rows)
    return rows


def test_the_same_code_has_the_same_fingerprint(tmp_path: Path) -> None:
    deployed = registry()["test-items"]

    assert list(older_code.load(copy_of_the_domain(tmp_path))) == [("test-items", deployed.fingerprint())]


def test_older_handlers_and_upcasters_fold_as_they_did(tmp_path: Path) -> None:
    folder = copy_of_the_domain(
        tmp_path,
        helper="def twice(number):\n    return 2 * number\n",
        items=Path(handlers.domain.__file__)
        .with_name("items.py")
        .read_text(encoding="utf-8")
        .replace('"amount": event["amount"]', '"amount": twice(event["amount"])', 1)
        .replace("from handlers.projection", "from handlers.domain.helper import twice\nfrom handlers.projection", 1),
        upcasters="from handlers.catalogue import upcaster\n\n\n"
        '@upcaster("ITEM_CREATED", from_version=1)\ndef more(data):\n    return {**data, "amount": data["amount"] + 100}\n',
    )

    ((_, fingerprint), older) = next(iter(older_code.load(folder).items()))

    assert fingerprint != registry()["test-items"].fingerprint()
    assert rows_of(older) == {"1": {"amount": 210}}
    assert rows_of(registry()["test-items"]) == {"1": {"amount": 5}}


def test_the_deployed_domain_stays_what_it_was(tmp_path: Path) -> None:
    before, deployed = handlers.domain, registry()["test-items"]

    older_code.load(copy_of_the_domain(tmp_path))

    import handlers.domain.items as again

    assert handlers.domain is before
    assert again.items is deployed


def test_a_generation_is_folded_by_the_code_it_was_built_with(tmp_path: Path) -> None:
    deployed = registry()["test-items"]
    older = older_code.load(copy_of_the_domain(tmp_path, upcasters="\n"))
    found = {fingerprint: each for (_, fingerprint), each in older.items()}
    other = Projection("test-items", key="itemId")
    code = Code(deployed, lambda: {**found, "other": other})

    assert code.of("other") is other
    assert code.of(code.fingerprint) is deployed
    assert code.of(None) is deployed
    assert code.of("gone") is deployed
