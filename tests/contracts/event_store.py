"""What every event store promises (rules E1 to E8).

A subclass gives the fixture `make_store`; pytest collects the rest::

    class TestInMemory(EventStoreContract):
        @pytest.fixture
        def make_store(self): store = MemoryEventStore(); return lambda: store
"""

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from handlers.core.errors import IdempotencyMismatchError, InvalidInputError, VersionConflictError
from handlers.core.events import Event, StreamId
from handlers.store import EventStore, IdempotencyKey, ScanPage
from tests.support.stores import STREAM, StoreFactory, new_event, numbered, whole_stream

KEY = IdempotencyKey("key-1", "hash-1")
UNICODE_TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=256)


def scanned(store: EventStore, segment: int, segments: int, limit: int | None = None) -> list[Event]:
    """Scan a segment, page after page."""
    events: list[Event] = []
    after = None
    while True:
        page = store.scan(segment, segments, after=after, limit=limit)
        assert limit is None or len(page.events) <= limit
        events += page.events
        after = page.next_position
        if after is None:
            return events


class EventStoreContract:
    """Subclass it and give `make_store`."""

    writers = 16
    """How many threads append at once; 1 where the adapter's storage is known not to stand more."""

    @pytest.fixture
    def make_store(self) -> StoreFactory:
        raise NotImplementedError

    # -- E1: contiguous ----------------------------------------------------------------------------------------------

    def test_event_ids_count_from_zero(self, make_store: StoreFactory) -> None:
        store = make_store()

        answers = [store.append([each]) for each in numbered(3)]

        assert [answer.events[0].event_id for answer in answers] == [0, 1, 2]
        assert whole_stream(store) == [answer.events[0] for answer in answers]
        assert store.head(STREAM) == 2

    def test_a_stream_without_events_is_empty(self, make_store: StoreFactory) -> None:
        store = make_store()

        assert store.head(STREAM) == -1
        assert store.read(STREAM).events == ()
        assert not store.read(STREAM).more

    def test_streams_are_counted_apart(self, make_store: StoreFactory) -> None:
        store = make_store()

        store.append([new_event("a")])
        answer = store.append([new_event("b")])

        assert answer.events[0].event_id == 0

    def test_an_event_comes_back_as_it_was_given(self, make_store: StoreFactory) -> None:
        given = new_event(
            data='{"z":12345678901234567890,"a":0.1,"deep":{"b":[-5,true,null,"\u0000\u2028\U0001f600"]}}',
            metadata='{"correlationId":"c-1"}',
            time_stamp="2020-02-29T12:00:00.123Z",
            schema_version=3,
        )

        make_store().append([given])

        (stored,) = whole_stream(make_store())
        assert stored == Event(
            STREAM, stored.event_id, given.type, given.data, "2020-02-29T12:00:00.123Z", given.metadata, 3
        )

    def test_a_store_that_knows_an_old_head_appends_behind_the_new_one(self, make_store: StoreFactory) -> None:
        warm, other = make_store(), make_store()
        warm.append([new_event()])
        for each in numbered(5):
            other.append([each])

        answer = warm.append([new_event()])

        assert answer.events[0].event_id == 6
        assert [event.event_id for event in whole_stream(warm)] == list(range(7))

    def test_writers_at_once_leave_no_gap_and_lose_nothing(self, make_store: StoreFactory) -> None:
        def write(writer: int) -> list[Event]:
            store = make_store()
            return [store.append([new_event(data=f'{{"by":"{writer}-{n}"}}')]).events[0] for n in range(50)]

        with ThreadPoolExecutor(self.writers) as pool:
            answers = [event for events in pool.map(write, range(self.writers)) for event in events]

        stored = whole_stream(make_store())
        assert [event.event_id for event in stored] == list(range(50 * self.writers))
        assert sorted(answers, key=lambda event: event.event_id) == stored

    # -- E2: expected version ------------------------------------------------------------------------------------------

    def test_the_expected_version_is_the_head(self, make_store: StoreFactory) -> None:
        store = make_store()

        answers = [store.append([new_event(expected_version=head)]).events[0].event_id for head in (-1, 0, 1)]

        assert answers == [0, 1, 2]

    @pytest.mark.parametrize("knows_the_head", [True, False])
    @pytest.mark.parametrize("length", [0, 1, 3])
    def test_any_other_expected_version_is_refused_and_leaves_no_gap(
        self, make_store: StoreFactory, length: int, knows_the_head: bool
    ) -> None:
        store, head = make_store(), length - 1
        for each in numbered(length):
            store.append([each])

        for version in {-1, head - 1, head + 1, head + 2, head + 1000} - {-2, head}:
            with pytest.raises(VersionConflictError) as refused:
                (store if knows_the_head else make_store()).append([new_event(expected_version=version)])
            assert refused.value.head == head

        assert len(whole_stream(store)) == length
        assert store.append([new_event()]).events[0].event_id == length

    def test_an_expected_version_that_a_warm_store_takes_for_present_is_refused(self, make_store: StoreFactory) -> None:
        warm, other = make_store(), make_store()
        warm.append([new_event()])
        other.append([new_event()])

        with pytest.raises(VersionConflictError) as refused:
            warm.append([new_event(expected_version=0)])

        assert refused.value.head == 1
        assert len(whole_stream(warm)) == 2

    def test_of_writers_with_the_same_expected_version_one_wins(self, make_store: StoreFactory) -> None:
        make_store().append([new_event()])

        def write(_: int) -> bool:
            try:
                make_store().append([new_event(expected_version=0)])
            except VersionConflictError:
                return False
            return True

        with ThreadPoolExecutor(self.writers) as pool:
            won = list(pool.map(write, range(8)))

        assert sum(won) == 1
        assert len(whole_stream(make_store())) == 2

    # -- E3: all or none -------------------------------------------------------------------------------------------------

    def test_events_of_several_streams_are_appended_in_one_call(self, make_store: StoreFactory) -> None:
        store = make_store()
        store.append([new_event("b")])

        answer = store.append([new_event("a"), new_event("b"), new_event("a")])

        assert [(event.stream_id, event.event_id) for event in answer.events] == [("a", 0), ("b", 1), ("a", 1)]
        assert whole_stream(store, "a") == [answer.events[0], answer.events[2]]

    def test_one_stream_refused_means_that_nothing_is_written(self, make_store: StoreFactory) -> None:
        store = make_store()
        store.append([new_event("b")])

        with pytest.raises(VersionConflictError) as refused:
            store.append([new_event("a", expected_version=-1), new_event("b", expected_version=-1)])

        assert (refused.value.stream_id, refused.value.head) == ("b", 0)
        assert whole_stream(store, "a") == []
        assert len(whole_stream(store, "b")) == 1

    def test_a_race_lost_for_one_stream_means_that_all_are_tried_again(self, make_store: StoreFactory) -> None:
        warm, other = make_store(), make_store()
        warm.append([new_event("a"), new_event("b")])
        other.append([new_event("b")])

        answer = warm.append([new_event("a"), new_event("b")])

        assert [(event.stream_id, event.event_id) for event in answer.events] == [("a", 1), ("b", 2)]
        assert len(whole_stream(other, "a")) == 2

    def test_expected_versions_of_one_stream_count_on(self, make_store: StoreFactory) -> None:
        store = make_store()

        answer = store.append([new_event(expected_version=-1), new_event(expected_version=0), new_event()])

        assert [event.event_id for event in answer.events] == [0, 1, 2]

    @pytest.mark.parametrize("versions", [(-1, -1), (0, 0), (-1, 1), (3, None, 4)])
    def test_expected_versions_that_contradict_each_other_are_refused(
        self, make_store: StoreFactory, versions: tuple[int | None, ...]
    ) -> None:
        store = make_store()

        with pytest.raises(InvalidInputError):
            store.append([new_event(expected_version=version) for version in versions])

        assert store.head(STREAM) == -1

    @pytest.mark.parametrize(("count", "idempotency"), [(100, None), (99, KEY)])
    def test_a_call_holds_a_hundred_items(
        self, make_store: StoreFactory, count: int, idempotency: IdempotencyKey | None
    ) -> None:
        answer = make_store().append(numbered(count), idempotency)

        assert whole_stream(make_store()) == list(answer.events)
        assert len(answer.events) == count

    @pytest.mark.parametrize(("count", "idempotency"), [(0, None), (101, None), (100, KEY)])
    def test_a_call_of_more_or_of_none_is_refused(
        self, make_store: StoreFactory, count: int, idempotency: IdempotencyKey | None
    ) -> None:
        with pytest.raises(InvalidInputError):
            make_store().append(numbered(count), idempotency)

        assert make_store().head(STREAM) == -1

    # -- E4: idempotency -----------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("expected", [None, -1])
    @pytest.mark.parametrize("count", [1, 3])
    def test_a_repeat_gets_the_first_answer(self, make_store: StoreFactory, count: int, expected: int | None) -> None:
        events = [new_event(expected_version=expected), *numbered(count - 1)]
        first = make_store().append(events, KEY)
        make_store().append([new_event()])

        again = make_store().append(events, KEY)

        assert again.events == first.events
        assert (first.replayed, again.replayed) == (False, True)
        assert len(whole_stream(make_store())) == count + 1

    def test_a_repeat_whose_expected_version_has_been_overtaken_gets_the_first_answer(
        self, make_store: StoreFactory
    ) -> None:
        make_store().append([new_event()])
        first = make_store().append([new_event(expected_version=0)], KEY)

        again = make_store().append([new_event(expected_version=0)], KEY)

        assert (again.events, again.replayed) == (first.events, True)
        assert len(whole_stream(make_store())) == 2

    def test_a_repeat_of_events_of_several_streams_names_the_first_event_ids(self, make_store: StoreFactory) -> None:
        store = make_store()
        store.append([new_event("b")])
        first = store.append([new_event("b"), new_event("a"), new_event("b")], KEY)

        again = make_store().append([new_event("b"), new_event("a"), new_event("b")], KEY)

        assert again.events == first.events

    def test_a_key_used_for_something_else_is_refused(self, make_store: StoreFactory) -> None:
        store = make_store()
        store.append([new_event()], KEY)

        with pytest.raises(IdempotencyMismatchError):
            store.append([new_event(data="{}")], IdempotencyKey(KEY.key, "hash-2"))

        assert len(whole_stream(store)) == 1

    def test_a_refused_append_leaves_its_key_unused(self, make_store: StoreFactory) -> None:
        store = make_store()
        with pytest.raises(VersionConflictError):
            store.append([new_event(expected_version=0)], KEY)
        store.append([new_event()])

        answer = store.append([new_event(expected_version=0)], KEY)

        assert (answer.events[0].event_id, answer.replayed) == (1, False)

    def test_the_same_request_from_many_at_once_is_stored_once(self, make_store: StoreFactory) -> None:
        with ThreadPoolExecutor(self.writers) as pool:
            answers = list(pool.map(lambda _: make_store().append(numbered(2), KEY), range(8)))

        assert len({answer.events for answer in answers}) == 1
        assert sum(not answer.replayed for answer in answers) == 1
        assert len(whole_stream(make_store())) == 2

    # -- reading -------------------------------------------------------------------------------------------------------

    def test_pages_go_forwards_and_backwards(self, make_store: StoreFactory) -> None:
        store = make_store()
        store.append(numbered(7))

        def ids(first: int, limit: int, backwards: bool) -> tuple[list[int], bool]:
            page = store.read(STREAM, first, limit=limit, backwards=backwards)
            return [event.event_id for event in page.events], page.more

        assert ids(0, 3, False) == ([0, 1, 2], True)
        assert ids(3, 3, False) == ([3, 4, 5], True)
        assert ids(6, 3, False) == ([6], False)
        assert ids(7, 3, False) == ([], False)
        assert ids(6, 3, True) == ([6, 5, 4], True)
        assert ids(3, 3, True) == ([3, 2, 1], True)
        assert ids(0, 3, True) == ([0], False)
        assert ids(1000, 2, True) == ([6, 5], True)

    def test_a_stream_of_more_than_one_megabyte_is_read_in_pages(self, make_store: StoreFactory) -> None:
        store = make_store()
        for number in range(4):
            store.append([new_event(data=f'{{"n":{number},"filler":"{"x" * 350_000}"}}')])

        assert [event.payload()["n"] for event in whole_stream(store)] == [0, 1, 2, 3]

    def test_every_stream_is_listed_once(self, make_store: StoreFactory) -> None:
        store, names = make_store(), {f"stream-{number}" for number in range(25)}
        for name in names:
            store.append([new_event(name), new_event(name)])

        page = store.streams(limit=4)
        listed = list(page.stream_ids)
        while page.next_position is not None:
            assert len(page.stream_ids) <= 4
            page = store.streams(limit=4, after=page.next_position)
            listed += page.stream_ids

        assert sorted(listed) == sorted(names)

    @pytest.mark.parametrize("segments", [1, 3, 8])
    def test_a_scan_has_every_event_once_in_the_order_of_its_stream(
        self, make_store: StoreFactory, segments: int
    ) -> None:
        store, streams = make_store(), [f"stream-{number}:\u00fc" for number in range(12)]
        for stream in streams:
            store.append(numbered(3, stream))

        found = [scanned(store, segment, segments) for segment in range(segments)]

        for stream in streams:
            (events,) = [events for events in ([e for e in each if e.stream_id == stream] for each in found) if events]
            assert events == whole_stream(store, stream)
        assert sum(map(len, found)) == 36

    def test_a_page_of_a_scan_is_grouped_by_stream_and_in_order(self, make_store: StoreFactory) -> None:
        store = make_store()
        for stream in ("a", "b", "c"):
            store.append(numbered(13, stream))

        page = store.scan(0, 1, limit=25)

        assert len(page.events) == 25
        assert page.next_position is not None
        order = [event.stream_id for event in page.events]
        assert sum(one != other for one, other in pairwise(order)) == len(set(order)) - 1
        for stream in set(order):
            ids = [event.event_id for event in page.events if event.stream_id == stream]
            assert ids == sorted(ids)

    @pytest.mark.parametrize("limit", [1, 2, 5, 6, 100])
    def test_pages_of_a_scan_have_every_event_once(self, make_store: StoreFactory, limit: int) -> None:
        store = make_store()
        for stream in ("a", "b:1", "c#\u0000"):
            store.append(numbered(4, stream))

        events = scanned(store, 0, 1, limit=limit)

        assert sorted((event.stream_id, event.event_id) for event in events) == [
            (stream, number) for stream in ("a", "b:1", "c#\u0000") for number in range(4)
        ]

    def test_a_scan_of_an_empty_store_ends_at_once(self, make_store: StoreFactory) -> None:
        assert make_store().scan(3, 8) == ScanPage((), None)

    @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
    @given(stream_id=UNICODE_TEXT)
    def test_a_stream_id_may_be_any_unicode(self, make_store: StoreFactory, stream_id: str) -> None:
        store = make_store()
        before = store.head(StreamId(stream_id))

        answer = store.append([new_event(stream_id), new_event(stream_id)])

        assert [event.event_id for event in answer.events] == [before + 1, before + 2]
        assert whole_stream(store, stream_id)[-1].stream_id == stream_id
        assert stream_id in store.streams(limit=1000).stream_ids
