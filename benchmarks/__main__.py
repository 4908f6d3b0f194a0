"""``python -m benchmarks [memory] [append] [replay] [many]``: one table at the end, JSON under benchmarks/results."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence

from benchmarks import appending, replaying
from benchmarks.report import Measure, save, table
from benchmarks.target import deployed


def _memory() -> Iterator[Measure]:
    yield from replaying.measures_in_memory()


def _append() -> Iterator[Measure]:
    with deployed() as target:
        yield from appending.measures_of_the_store(target)
        yield from appending.measures_of_the_way(target)


def _replay() -> Iterator[Measure]:
    with deployed() as target:  # one of its own: the emulator takes the longer for a stream, the more events it has
        yield from replaying.measures_on(target)


def _many() -> Iterator[Measure]:
    with deployed(["orders", "revenue"]) as target:
        yield from appending.measures_of_many_streams(target)
        yield from replaying.measures_of_many(target)


SCENARIOS = {"memory": _memory, "append": _append, "replay": _replay, "many": _many}


def main(names: Sequence[str]) -> int:
    """Return 1 where a target is missed."""
    began = time.monotonic()
    measures = []
    for name in names or SCENARIOS:
        for each in SCENARIOS[name]():
            print(f"{time.monotonic() - began:6.1f} s  {each.what}: {each.value:,.4g} {each.unit}", file=sys.stderr)
            measures.append(each)
    path = save(measures)
    print(table(measures))
    print(f"also in benchmarks/results/{path.name}", file=sys.stderr)
    return int(any(each.reached is False for each in measures))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
