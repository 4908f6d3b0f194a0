"""What bringing a stream up promises (rules P1 to P5), on any event store and read model.

A subclass gives the fixtures `store` and `read_model`; pytest collects the rest.
"""

import itertools
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from handlers.core.errors import ContendedError, HandlerFailedError
from handlers.core.events import StreamId
from handlers.projection import transitions
from handlers.projection.port import MAX_COMMIT_BYTES, MAX_COMMIT_ROWS, ReadModel
from handlers.store import EventStore
from tests.support.bench import OTHER, STREAM, Bench, carrying, hint
from tests.support.ports import Died, die
from tests.support.projections import added, expected_rows
from tests.support.stores import whole_stream

AT = "2026-01-01T00:00:00.000Z"
_numbers = itertools.count()


class EngineContract:
    """Subclass it and give `store` and `read_model`."""

    @pytest.fixture
    def store(self) -> EventStore:
        raise NotImplementedError

    @pytest.fixture
    def read_model(self) -> ReadModel:
        raise NotImplementedError

    @pytest.fixture
    def bench(self, store: EventStore, read_model: ReadModel) -> Bench:
        return Bench(store, read_model)

    # -- P1: a message is a hint ---------------------------------------------------------------------------------------

    @settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
    @given(data=st.data())
    def test_hints_may_come_twice_late_reordered_or_never(self, bench: Bench, data: Any) -> None:
        stream = f"stream-{next(_numbers)}"
        bench.append(*(added(data.draw(st.sampled_from("abc")), number, stream_id=stream) for number in range(8)))
        events = whole_stream(bench.store, stream)
        projectors = [bench.projector(), bench.projector()]
        batches = data.draw(st.lists(st.lists(st.tuples(st.integers(0, 7), st.booleans()), max_size=4), max_size=5))
        for number, batch in enumerate(batches):
            hints = [hint(event_id, events[event_id] if whole else None, stream) for event_id, whole in batch]
            projectors[number % 2].catch_up(StreamId(stream), hints)
            assert bench.rows(stream) == expected_rows(events, bench.state(stream).checkpoint)

        projectors[0].catch_up(StreamId(stream), [hint(7, None, stream)])

        assert bench.is_at_head(stream)

    def test_a_gap_is_read_from_the_store(self, bench: Bench) -> None:
        events = bench.append(*(added("a", number, stream_id=STREAM) for number in range(5)))

        outcome = bench.projector().catch_up(StreamId(STREAM), carrying(events[4]))

        assert (outcome.applied, outcome.checkpoint) == (5, 4)
        assert bench.is_at_head()

    def test_a_hint_at_or_below_the_checkpoint_changes_nothing(self, bench: Bench) -> None:
        events = bench.append(*(added("a", number, stream_id=STREAM) for number in range(3)))
        projector = bench.projector()
        projector.catch_up(StreamId(STREAM), carrying(*events))
        bench.read_model.calls.clear()

        outcome = projector.catch_up(StreamId(STREAM), carrying(*events))

        assert (outcome.applied, outcome.checkpoint) == (0, 2)
        assert not bench.read_model.calls
        assert bench.is_at_head()

    def test_a_hint_beyond_the_head_is_no_fault(self, bench: Bench) -> None:
        bench.append(added("a", stream_id=STREAM))

        outcome = bench.projector().catch_up(StreamId(STREAM), [hint(1000)])

        assert (outcome.applied, outcome.checkpoint) == (1, 0)

    def test_a_fresh_hint_does_not_trust_the_warm_copy(self, bench: Bench) -> None:
        events = bench.append(*(added("a", number, stream_id=STREAM) for number in range(3)))
        projector = bench.projector()
        projector.catch_up(StreamId(STREAM), carrying(*events))
        bench._raw_read_model.commit(transitions.rewind(bench.state(), 0))

        projector.catch_up(StreamId(STREAM), [hint(2, fresh=True)])

        assert bench.state().checkpoint == 2

    def test_a_fresh_hint_keeps_warm_rows_where_nobody_else_has_written(self, bench: Bench) -> None:
        events = bench.append(*(added("a", number, stream_id=STREAM) for number in range(3)))
        projector = bench.projector()
        projector.catch_up(StreamId(STREAM), carrying(*events[:2]))
        bench.read_model.calls.clear()

        projector.catch_up(StreamId(STREAM), [hint(2, events[2], fresh=True)])

        assert bench.read_model.calls == {"load": 1, "commit": 1}  # the state, and no row
        assert bench.is_at_head()

    def test_a_fresh_hint_lets_go_of_an_old_warm_copy_also_where_there_is_nothing_to_apply(self, bench: Bench) -> None:
        # given a projector that another one has overtaken
        events = bench.append(*(added("a", number, stream_id=STREAM) for number in range(3)))
        overtaken, other = bench.projector(), bench.projector()
        overtaken.catch_up(StreamId(STREAM), carrying(events[0]))
        other.catch_up(StreamId(STREAM), carrying(events[1]))

        overtaken.catch_up(StreamId(STREAM), [hint(1, fresh=True)])
        bench.read_model.calls.clear()
        overtaken.catch_up(StreamId(STREAM), carrying(events[2]))

        assert bench.read_model.calls == {"load": 1, "commit": 1}  # no commit that fails on the old copy
        assert bench.is_at_head()

    def test_events_that_no_handler_takes_move_the_checkpoint(self, bench: Bench) -> None:
        events = bench.append(added("a", stream_id=STREAM, type="OTHER"))

        batches = bench.written(lambda: bench.projector().catch_up(StreamId(STREAM), carrying(*events)))

        assert batches == [{}]
        assert bench.state().checkpoint == 0

    # -- P2: exactly once ----------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("operation", ["load", "commit", "read"])
    @pytest.mark.parametrize("moment", ["before", "after"])
    def test_a_crash_anywhere_leaves_each_event_applied_once(self, bench: Bench, operation: str, moment: str) -> None:
        events = bench.append(*(added("a", number, stream_id=STREAM) for number in range(4)))
        port = bench.store if operation == "read" else bench.read_model
        getattr(port, moment)(operation, die)

        with pytest.raises(Died):
            bench.projector().catch_up(StreamId(STREAM), [hint(3)])
        assert bench.rows() == expected_rows(events, bench.state().checkpoint)
        bench.projector().catch_up(StreamId(STREAM), [hint(3)])

        assert bench.is_at_head()

    @pytest.mark.parametrize("warm", [True, False])
    def test_who_loses_a_race_reads_again(self, bench: Bench, warm: bool) -> None:
        first = bench.append(added("a", 1, stream_id=STREAM))
        loser, winner = bench.projector(), bench.projector()
        if warm:
            loser.catch_up(StreamId(STREAM), carrying(*first))
        events = bench.append(added("a", 2, stream_id=STREAM), added("a", 3, stream_id=STREAM))
        bench.read_model.before("commit", lambda: winner.catch_up(StreamId(STREAM), carrying(events[0])))

        loser.catch_up(StreamId(STREAM), carrying(*events))

        assert bench.is_at_head()

    def test_a_switch_in_between_keeps_the_old_generation_s_rows_out_of_the_new_one(self, bench: Bench) -> None:
        events = bench.append(*(added("a", number, stream_id=STREAM) for number in range(3)))
        projector = bench.projector()
        projector.catch_up(StreamId(STREAM), carrying(*events[:2]))

        def switch() -> None:
            model = bench._raw_read_model
            model.commit(transitions.begin_replay(bench.state(), "r", "f", AT))
            model.commit(transitions.advance_replay(bench.state(), 1, AT), {"a": {"n": 1}}, 1)
            model.commit(transitions.switch(bench.state(), AT))

        bench.read_model.before("commit", switch)

        projector.catch_up(StreamId(STREAM), carrying(events[2]))

        assert bench.is_at_head()
        assert bench.rows(generation=0) == expected_rows(events, 1)

    def test_losing_every_race_is_reported_not_kept_at_for_ever(self, bench: Bench) -> None:
        bench.append(*(added("a", number, stream_id=STREAM) for number in range(60)))
        steps = itertools.count()

        def overtake() -> None:
            bench._raw_read_model.commit(transitions.advance(bench.state(), next(steps), "f"))

        bench.read_model.before("commit", *[overtake] * 50)

        with pytest.raises(ContendedError):
            bench.projector().catch_up(StreamId(STREAM), [hint(29)])

    # -- P3: folded first, written after ---------------------------------------------------------------------------------

    def test_many_events_on_a_few_rows_are_a_few_writes(self, bench: Bench) -> None:
        bench.store.append([added(f"row-{number % 5}", number, stream_id=STREAM) for number in range(60)])

        batches = bench.written(lambda: bench.projector().catch_up(StreamId(STREAM), [hint(59)]))

        assert [len(batch) for batch in batches] == [5]
        assert bench.is_at_head()

    def test_many_rows_are_split_into_commits_of_ninety_nine_and_the_page_is_read_once(self, bench: Bench) -> None:
        for start in range(0, 120, 60):
            bench.store.append([added(f"row-{start + n:03}", n, stream_id=STREAM) for n in range(60)])
        checkpoints: list[int] = []
        bench.read_model.after("commit", *[lambda: checkpoints.append(bench.state().checkpoint)] * 2)

        batches = bench.written(lambda: bench.projector().catch_up(StreamId(STREAM), [hint(119)]))

        assert [len(batch) for batch in batches] == [MAX_COMMIT_ROWS, 21]
        assert checkpoints == [98, 119]
        assert bench.store.calls["read"] == 1
        assert bench.is_at_head()

    def test_large_rows_are_split_by_their_bytes(self, bench: Bench) -> None:
        size = 390_000
        for number in range(12):
            event = added(f"row-{number:02}", number, stream_id=STREAM, type="FILLED")
            bench.append(type(event)(event.stream_id, event.type, f'{{"itemId":"row-{number:02}","bytes":{size}}}'))

        batches = bench.written(lambda: bench.projector().catch_up(StreamId(STREAM), [hint(11)]))

        assert [len(batch) for batch in batches] == [MAX_COMMIT_BYTES // size, 12 - MAX_COMMIT_BYTES // size]
        assert bench.state().checkpoint == 11

    def test_a_row_that_comes_out_as_it_went_in_is_not_written(self, bench: Bench) -> None:
        bench.append(added("a", stream_id=STREAM), added("b", stream_id=STREAM))
        projector = bench.projector()
        projector.catch_up(StreamId(STREAM), [hint(1)])
        bench.append(added("a", stream_id=STREAM, type="KEPT"), added("b", stream_id=STREAM))

        batches = bench.written(lambda: projector.catch_up(StreamId(STREAM), [hint(3)]))

        assert [set(batch) for batch in batches] == [{"b"}]

    # -- P4: few calls ---------------------------------------------------------------------------------------------------

    def test_a_batch_costs_two_calls_at_first_and_one_when_warm(self, bench: Bench) -> None:
        projector = bench.projector()
        for expected in ({"load": 1, "commit": 1}, {"commit": 1}, {"commit": 1}):
            events = bench.append(*(added("a", number, stream_id=STREAM) for number in range(3)))
            bench.read_model.calls.clear()

            projector.catch_up(StreamId(STREAM), carrying(*events))

            assert bench.read_model.calls == expected
        assert bench.store.calls["read"] == 0
        assert bench.is_at_head()

    # -- P5: a handler that raises -----------------------------------------------------------------------------------------

    @pytest.fixture
    def broken(self, bench: Bench) -> Bench:
        """Two good events, a broken one, two good ones; and a stream beside."""
        bench.append(added("a", 1, stream_id=STREAM), added("b", 2, stream_id=STREAM))
        bench.append(added("a", stream_id=STREAM, type="BROKEN"))
        bench.append(added("a", 3, stream_id=STREAM), added("b", 4, stream_id=STREAM))
        bench.append(added("a", 5, stream_id=OTHER))
        return bench

    def test_a_raising_handler_halts_its_stream_before_its_event(self, broken: Bench) -> None:
        with pytest.raises(HandlerFailedError) as failed:
            broken.projector().catch_up(StreamId(STREAM), [hint(4)])

        assert (failed.value.event_id, failed.value.event_type) == (2, "BROKEN")
        state = broken.state()
        assert (state.checkpoint, state.is_halted) == (1, True)
        assert state.halted is not None
        assert "RuntimeError: not this one" in state.halted.error
        assert broken.rows() == {"a": {"n": 1}, "b": {"n": 2}}

    @pytest.mark.parametrize("same_process", [True, False])
    def test_while_a_stream_is_halted_its_messages_are_acknowledged_unread(
        self, broken: Bench, same_process: bool
    ) -> None:
        projector = broken.projector()
        with pytest.raises(HandlerFailedError):
            projector.catch_up(StreamId(STREAM), [hint(4)])
        broken.store.calls.clear()
        broken.read_model.calls.clear()

        outcome = (projector if same_process else broken.projector()).catch_up(StreamId(STREAM), [hint(4)])

        assert (outcome.halted, outcome.applied, outcome.checkpoint) == (True, 0, 1)
        assert broken.store.calls["read"] == 0
        assert broken.read_model.calls == {"load": 1}

    def test_other_streams_go_on(self, broken: Bench) -> None:
        projector = broken.projector()
        with pytest.raises(HandlerFailedError):
            projector.catch_up(StreamId(STREAM), [hint(4)])

        projector.catch_up(StreamId(OTHER), [hint(0, None, OTHER)])

        assert broken.is_at_head(OTHER)

    def test_a_retry_tries_again_and_fails_again(self, broken: Bench) -> None:
        for _ in range(3):
            with pytest.raises(HandlerFailedError):
                broken.projector().catch_up(StreamId(STREAM), [hint(2)], retry_halted=True)

        assert broken.state().is_halted

    @pytest.mark.parametrize("resumed", [True, False])
    def test_mended_code_catches_up_after_a_resume_or_a_retry(self, broken: Bench, resumed: bool) -> None:
        with pytest.raises(HandlerFailedError):
            broken.projector().catch_up(StreamId(STREAM), [hint(4)])
        if resumed:
            broken._raw_read_model.commit(transitions.resume(broken.state()))

        broken.projector(fixed=True).catch_up(StreamId(STREAM), [hint(4)], retry_halted=not resumed)

        assert (broken.state().checkpoint, broken.state().halted) == (4, None)
        assert broken.rows() == {"a": {"n": 0}, "b": {"n": 10}}

    def test_a_skipped_event_changes_nothing_and_leaves_a_record(self, broken: Bench) -> None:
        projector = broken.projector()
        with pytest.raises(HandlerFailedError):
            projector.catch_up(StreamId(STREAM), [hint(4)])
        broken._raw_read_model.commit(transitions.skip(broken.state(), AT))

        projector.catch_up(StreamId(STREAM), [hint(4)])

        assert (broken.state().checkpoint, broken.state().halted) == (4, None)
        assert broken.rows() == {"a": {"n": 6}, "b": {"n": 10}}
        assert "not this one" in broken.state().skipped["2"]["error"]

    @pytest.mark.parametrize("moment", ["before", "after"])
    def test_a_crash_while_the_halt_is_recorded_is_no_loss(self, broken: Bench, moment: str) -> None:
        getattr(broken.read_model, moment)("commit", lambda: None, die)  # the first commit is of the events before
        with pytest.raises(Died):
            broken.projector().catch_up(StreamId(STREAM), [hint(4)])

        with pytest.raises(HandlerFailedError):
            broken.projector().catch_up(StreamId(STREAM), [hint(4)], retry_halted=True)

        assert (broken.state().checkpoint, broken.state().is_halted) == (1, True)
