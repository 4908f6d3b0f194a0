"""Rules G1 to G10, P1 to P6, R1 to R6 and L1 under any interleaving that a seed leads to, and with each rule broken.

``SIMULATION_SEEDS=5000 pytest tests/simulation`` searches further than the ordinary run does.
"""

import os

import pytest

from handlers.core.errors import ContendedError
from handlers.projection import engine, fold, reconcile
from handlers.replay import build, in_place, jobs, join
from tests.simulation.actors import Run, Variant
from tests.simulation.mutants import MUTANTS, Mutant
from tests.simulation.world import World
from tests.support import memory_read_model

SEEDS = int(os.environ.get("SIMULATION_SEEDS", "50"))
BATCH = 50
# The rarest is found once in some 200 seeds; the table of mutants names a seed from which it takes a few.
MAX_MUTANT_SEEDS = 600


@pytest.fixture(autouse=True)
def _small_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Transactions of a few rows and streams, a job of two segments, four shards: with so little data, all is used."""
    monkeypatch.setattr(engine, "keys_of", lambda events, limit=2: fold.keys_of(events, min(limit, 2)))
    monkeypatch.setattr(build, "TRANSACTION_ITEMS", 9)
    monkeypatch.setattr(build, "MAX_COMMIT_ROWS", 2)
    monkeypatch.setattr(join, "STREAMS_PER_COMMIT", 2)
    monkeypatch.setattr(join, "SHARDS", 4)
    monkeypatch.setattr(jobs, "SEGMENTS", 2)
    monkeypatch.setattr(memory_read_model, "SWEEP_ITEMS", 2)
    monkeypatch.setattr(reconcile, "KEEP_PREVIOUS_RUNS", 4)
    monkeypatch.setattr(reconcile, "MAX_HEADS", 4)
    monkeypatch.setattr(reconcile, "MAX_WATCHED", 2)


def play(seed: int, mutant: Mutant | None = None) -> World:
    if mutant is None:
        return Run(World(seed), Variant()).play()
    return Run(World(seed, names=mutant.names, streams=mutant.streams, pace=mutant.pace), mutant.variant).play()


@pytest.mark.timeout(0 if SEEDS > 1000 else 240)
@pytest.mark.parametrize("first", range(0, SEEDS, BATCH))
def test_every_settled_read_is_a_prefix_of_history_and_the_end_is_all_of_it(first: int) -> None:
    settled_reads = 0
    for seed in range(first, min(first + BATCH, SEEDS)):
        try:
            settled_reads += sum(model.settled_reads for model in play(seed).models)
        except Exception as failure:
            pytest.fail(f"seed {seed}: {failure!r}")

    assert settled_reads > 5 * (min(first + BATCH, SEEDS) - first)


@pytest.mark.parametrize("rule", MUTANTS)
def test_a_broken_rule_is_found(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant = MUTANTS[rule]
    for module in (engine, build, in_place):
        monkeypatch.setattr(module, "row_changes", mutant.row_changes)

    def goes_wrong(seed: int) -> bool:
        try:
            play(seed, mutant)
        except (AssertionError, ContendedError):
            return True
        return False

    assert any(goes_wrong(seed) for seed in range(mutant.seed, mutant.seed + MAX_MUTANT_SEEDS))


def test_the_same_seed_is_the_same_run() -> None:
    first, second = play(7), play(7)

    assert first.heads() == second.heads()
    assert first.scheduler.steps == second.scheduler.steps
    for one, other in zip(first.models, second.models, strict=True):
        assert one.read_model.documents == other.read_model.documents
