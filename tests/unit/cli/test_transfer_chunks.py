"""How an import is cut into calls, and the workers that make them."""

from __future__ import annotations

import threading
import time
from collections import defaultdict

import pytest

from cli.transfer.batches import CHUNK_BYTES_MAX, CHUNK_EVENTS_MAX, LANES, Chunk, Chunker, lane_of
from cli.transfer.files import BadLineError
from cli.transfer.incoming import Incoming
from cli.transfer.partitions import Lanes
from handlers.store.items import stream_shard


def incoming(line: int, stream_id: str = "s", event_id: int | None = None, text: str = "") -> Incoming:
    return Incoming(line, stream_id, event_id, text or f'{{"line":{line}}}')


def chunks(events: list[Incoming], name: str = "") -> list[Chunk]:
    chunker = Chunker(name)
    complete = [chunker.add(event) for event in events]
    return [chunk for chunk in complete if chunk] + chunker.rest()


def many(number: int, streams: int = 20) -> list[Incoming]:
    return [incoming(line, f"s-{line % streams}") for line in range(number)]


def test_each_stream_stays_in_order_and_nothing_is_lost() -> None:
    events = many(2000)

    by_lane: dict[int, list[Incoming]] = defaultdict(list)
    for chunk in chunks(events):
        by_lane[chunk.lane] += chunk.events

    assert sorted(event.line for lane in by_lane.values() for event in lane) == list(range(2000))
    for lane, own in by_lane.items():
        assert [event.line for event in own] == sorted(event.line for event in own)
        assert {lane_of(event.stream_id) for event in own} == {lane}


def test_the_same_events_make_the_same_keys_and_every_key_is_another() -> None:
    first = [chunk.key for chunk in chunks(many(2000))]

    assert first == [chunk.key for chunk in chunks(many(2000))]
    assert len(set(first)) == len(first)


def test_equal_lines_at_other_places_are_other_events() -> None:
    same = [incoming(line, text='{"type":"PING"}') for line in range(CHUNK_EVENTS_MAX * 2)]

    first, second = chunks(same)

    assert [event.text for event in first.events] == [event.text for event in second.events]
    assert first.key != second.key


def test_an_import_of_another_name_is_another() -> None:
    assert {chunk.key for chunk in chunks(many(10))}.isdisjoint(chunk.key for chunk in chunks(many(10), "again"))


def test_a_change_leaves_the_keys_before_it() -> None:
    events = [incoming(line) for line in range(CHUNK_EVENTS_MAX * 3)]
    mended = [*events[:150], incoming(150, text="mended"), *events[151:]]

    before, after = chunks(events), chunks(mended)

    assert before[0].key == after[0].key
    assert before[1].key != after[1].key
    assert before[2].key != after[2].key


def test_a_chunk_has_99_events_or_two_megabytes_at_most() -> None:
    assert [len(chunk.events) for chunk in chunks([incoming(line) for line in range(200)])] == [99, 99, 2]
    large = [incoming(line, text="x" * 300_000) for line in range(10)]
    cut = chunks(large)
    assert [len(chunk.events) for chunk in cut] == [6, 4]
    assert all(chunk.size_bytes <= CHUNK_BYTES_MAX for chunk in cut)


def test_lines_with_and_without_an_event_id_share_no_chunk() -> None:
    cut = chunks([incoming(1), incoming(2, event_id=5), incoming(3, event_id=6), incoming(4)])

    assert [[event.line for event in chunk.events] for chunk in cut] == [[1], [2, 3], [4]]


def test_event_ids_with_a_gap_are_a_bad_line() -> None:
    with pytest.raises(BadLineError) as caught:
        chunks([incoming(1, event_id=3), incoming(2, "other"), incoming(3, event_id=5)])

    assert caught.value.line == 3


def test_neighbours_in_an_export_are_spread_over_the_lanes() -> None:
    neighbours = [name for name in (f"s-{n}" for n in range(2000)) if stream_shard(name) == "3"]

    assert len({lane_of(name) for name in neighbours}) == LANES


def test_lanes_run_side_by_side_and_each_in_order() -> None:
    seen: dict[int, list[str]] = defaultdict(list)
    under_way, most = [0], [0]
    lock = threading.Lock()

    def send(chunk: Chunk) -> None:
        with lock:
            under_way[0] += 1
            most[0] = max(most[0], under_way[0])
        time.sleep(0.002)
        with lock:
            seen[chunk.lane].append(chunk.key)
            under_way[0] -= 1

    lanes = Lanes(send, 4, lambda: None)
    all_chunks = [Chunk(n % LANES, (incoming(n),), str(n)) for n in range(80)]
    for chunk in all_chunks:
        lanes.put(chunk)
    lanes.finish()
    lanes.stop(1)

    assert 1 < most[0] <= 4
    assert all(keys == sorted(keys, key=int) for keys in seen.values())
    assert sum(map(len, seen.values())) == 80


def test_a_failure_ends_everything_and_comes_out() -> None:
    sent: list[str] = []
    lanes_lock = threading.Lock()  # nothing is sent before everything waits

    def send(chunk: Chunk) -> None:
        with lanes_lock:
            sent.append(chunk.key)
        if chunk.key == "3":
            raise BadLineError(["no"], 3)

    lanes = Lanes(send, 1, lambda: None)
    with lanes_lock:
        for number in range(6):
            lanes.put(Chunk(0, (incoming(number),), str(number)))
    with pytest.raises(BadLineError):
        lanes.finish()
    lanes.stop(1)

    assert sent == ["0", "1", "2", "3"]
