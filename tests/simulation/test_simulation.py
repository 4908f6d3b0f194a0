"""Rules P1 to P6, R1 to R4 and L1, under any interleaving that a seed leads to, and with each rule broken.

``SIMULATION_SEEDS=5000 pytest tests/simulation`` looks further than the ordinary run does.
"""

import os

import pytest

from handlers.replay import worker as replay_worker
from tests.simulation.actors import Run, Variant
from tests.simulation.mutants import MUTANTS
from tests.simulation.world import World

SEEDS = int(os.environ.get("SIMULATION_SEEDS", "50"))
BATCH = 50
# The rarest is found once in some 100 seeds.
MAX_MUTANT_SEEDS = 600


@pytest.fixture(autouse=True)
def _small_lots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two rows per transaction: with the four rows there are, a page of a replay takes several."""
    monkeypatch.setattr(replay_worker, "MAX_COMMIT_ROWS", 2)


def play(seed: int, *, idempotent: bool, variant: Variant | None = None) -> World:
    return Run(World(seed, idempotent=idempotent), variant or Variant()).play()


@pytest.mark.timeout(0 if SEEDS > 1000 else 240)
@pytest.mark.parametrize("first", range(0, SEEDS, BATCH))
@pytest.mark.parametrize("idempotent", [False, True], ids=["any-fold", "with-rewinds"])
def test_every_settled_read_is_a_prefix_of_history_and_the_end_is_all_of_it(idempotent: bool, first: int) -> None:
    settled_reads = 0
    for seed in range(first, min(first + BATCH, SEEDS)):
        try:
            settled_reads += play(seed, idempotent=idempotent).settled_reads
        except Exception as failure:
            pytest.fail(f"seed {seed}: {failure!r}")

    assert settled_reads > 5 * (min(first + BATCH, SEEDS) - first)


@pytest.mark.parametrize("rule", MUTANTS)
def test_a_broken_rule_is_found(rule: str) -> None:
    mutant = MUTANTS[rule]

    def goes_wrong(seed: int) -> bool:
        try:
            play(seed, idempotent=mutant.idempotent, variant=mutant.variant)
        except AssertionError:
            return True
        return False

    assert any(goes_wrong(seed) for seed in range(MAX_MUTANT_SEEDS))


def test_the_same_seed_is_the_same_run() -> None:
    first, second = play(7, idempotent=False), play(7, idempotent=False)

    assert [event.data for event in first.events()] == [event.data for event in second.events()]
    assert first.scheduler.steps == second.scheduler.steps
    assert first.read_model.documents == second.read_model.documents
