"""How an import is grouped into batches, and the threads that send them."""

from __future__ import annotations

import threading
import time
from collections import defaultdict

import pytest

from cli.transfer.batches import BATCH_BYTES_MAX, BATCH_EVENTS_MAX, PARTITIONS, Batch, Batcher, Incoming, partition_of
from cli.transfer.files import BadLineError
from cli.transfer.send import PartitionPool
from handlers.store.items import stream_shard


def incoming(line: int, stream_id: str = "s", event_id: int | None = None, text: str = "") -> Incoming:
    return Incoming(line, stream_id, event_id, text or f'{{"line":{line}}}')


def batches(events: list[Incoming], name: str = "") -> list[Batch]:
    batcher = Batcher(name)
    complete = [batcher.add(event) for event in events]
    return [batch for batch in complete if batch] + batcher.rest()


def many(number: int, streams: int = 20) -> list[Incoming]:
    return [incoming(line, f"s-{line % streams}") for line in range(number)]


def test_each_stream_stays_in_order_and_nothing_is_lost() -> None:
    events = many(2000)

    by_partition: dict[int, list[Incoming]] = defaultdict(list)
    for batch in batches(events):
        by_partition[batch.partition] += batch.events

    assert sorted(event.line for partition in by_partition.values() for event in partition) == list(range(2000))
    for partition, own in by_partition.items():
        assert [event.line for event in own] == sorted(event.line for event in own)
        assert {partition_of(event.stream_id) for event in own} == {partition}


def test_the_same_events_make_the_same_keys_and_every_key_is_unique() -> None:
    first = [batch.key for batch in batches(many(2000))]

    assert first == [batch.key for batch in batches(many(2000))]
    assert len(set(first)) == len(first)


def test_equal_lines_at_different_positions_are_different_events() -> None:
    same = [incoming(line, text='{"type":"PING"}') for line in range(BATCH_EVENTS_MAX * 2)]

    first, second = batches(same)

    assert [event.text for event in first.events] == [event.text for event in second.events]
    assert first.key != second.key


def test_another_import_name_gives_other_keys() -> None:
    assert {batch.key for batch in batches(many(10))}.isdisjoint(batch.key for batch in batches(many(10), "again"))


def test_a_change_keeps_the_keys_before_it() -> None:
    events = [incoming(line) for line in range(BATCH_EVENTS_MAX * 3)]
    changed = [*events[:150], incoming(150, text="changed"), *events[151:]]

    before, after = batches(events), batches(changed)

    assert before[0].key == after[0].key
    assert before[1].key != after[1].key
    assert before[2].key != after[2].key


def test_a_batch_has_99_events_or_two_megabytes_at_most() -> None:
    assert [len(batch.events) for batch in batches([incoming(line) for line in range(200)])] == [99, 99, 2]
    large = [incoming(line, text="x" * 300_000) for line in range(10)]
    cut = batches(large)
    assert [len(batch.events) for batch in cut] == [6, 4]
    assert all(batch.size_bytes <= BATCH_BYTES_MAX for batch in cut)


def test_lines_with_and_without_an_event_id_share_no_batch() -> None:
    cut = batches([incoming(1), incoming(2, event_id=5), incoming(3, event_id=6), incoming(4)])

    assert [[event.line for event in batch.events] for batch in cut] == [[1], [2, 3], [4]]


def test_event_ids_with_a_gap_are_a_bad_line() -> None:
    with pytest.raises(BadLineError) as caught:
        batches([incoming(1, event_id=3), incoming(2, "other"), incoming(3, event_id=5)])

    assert caught.value.line == 3


def test_neighbours_in_an_export_are_spread_over_the_partitions() -> None:
    neighbours = [name for name in (f"s-{n}" for n in range(2000)) if stream_shard(name) == "3"]

    assert len({partition_of(name) for name in neighbours}) == PARTITIONS


def test_partitions_run_concurrently_and_each_in_order() -> None:
    seen: dict[int, list[str]] = defaultdict(list)
    under_way, most = [0], [0]
    lock = threading.Lock()

    def send(batch: Batch) -> None:
        with lock:
            under_way[0] += 1
            most[0] = max(most[0], under_way[0])
        time.sleep(0.002)
        with lock:
            seen[batch.partition].append(batch.key)
            under_way[0] -= 1

    pool = PartitionPool(send, 4, lambda: None)
    all_batches = [Batch(n % PARTITIONS, (incoming(n),), str(n)) for n in range(80)]
    for batch in all_batches:
        pool.put(batch)
    pool.finish()
    pool.stop(1)

    assert 1 < most[0] <= 4
    assert all(keys == sorted(keys, key=int) for keys in seen.values())
    assert sum(map(len, seen.values())) == 80


def test_a_failure_stops_the_pool_and_is_raised() -> None:
    sent: list[str] = []
    start = threading.Lock()  # nothing is sent before everything is queued

    def send(batch: Batch) -> None:
        with start:
            sent.append(batch.key)
        if batch.key == "3":
            raise BadLineError(["no"], 3)

    pool = PartitionPool(send, 1, lambda: None)
    with start:
        for number in range(6):
            pool.put(Batch(0, (incoming(number),), str(number)))
    with pytest.raises(BadLineError):
        pool.finish()
    pool.stop(1)

    assert sent == ["0", "1", "2", "3"]
