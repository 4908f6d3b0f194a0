"""What bringing a stream to an event promises (G1 to G4, G7, P1 to P5), on any event store and read model.

A subclass gives the fixtures `store` and `read_model`; pytest collects the rest.
"""

import itertools
import uuid
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from handlers.core.errors import ContendedError, HandlerFailedError
from handlers.core.events import Event, StreamId
from handlers.projection import transitions
from handlers.projection.definition import Projection
from handlers.projection.engine import CONTROL_AGE_S, AbandonedError
from handlers.projection.port import MAX_COMMIT_BYTES, MAX_COMMIT_ROWS, OutdatedError, ReadModel
from handlers.projection.state import FAILED, RUNNING, Control, Document, JobItem
from handlers.replay.jobs import REPLAY, ReplayJob, record
from handlers.store import EventStore
from tests.support.bench import OTHER, STREAM, Bench, carrying, catch_up, hint
from tests.support.ports import DiedError, die
from tests.support.projections import (
    added,
    expected_rows,
    expected_stock,
    expected_totals,
    ledger,
    ordered,
    placed,
    stock,
    totals,
)
from tests.support.stores import whole_stream

AT = "2026-01-01T00:00:00.000Z"
_numbers = itertools.count()


def begin_replay(bench: Bench, projection: Projection | None = None) -> Control:
    """Let a replay begin, with its job, of `ledger` or another projection."""
    replay_id = uuid.uuid4().hex
    new = ReplayJob(replay_id, "ledger", REPLAY, AT, generation=bench.control().next_generation, phase="build")
    fingerprint = (projection or ledger()).fingerprint()
    return bench.change_control(transitions.begin_replay(bench.control(), replay_id, fingerprint), record(new))


def job(bench: Bench, control: Control) -> Document:
    """Return the record of the job that was running."""
    assert control.building is not None
    return bench.raw_read_model.read(JobItem(control.building.replay_id))


def join(bench: Bench, stream_id: str = STREAM) -> None:
    """Let the active generation follow the one being built."""
    control = bench.control()
    assert control.building is not None
    live, leader = bench.state(stream_id), bench.state(stream_id, control.building.generation)
    bench.change(transitions.follow(live, leader), transitions.lead(leader), born_at=control.version)


def replay_up_to_join(bench: Bench, events: Sequence[Event], *, generation: int) -> None:
    """Begin a replay, build the stream's events, and join the stream."""
    begin_replay(bench)
    bench.projector().bring(StreamId(STREAM), generation, events[-1].event_id, events)
    join(bench)


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
        bench.append(*(added(f"{stream}-{data.draw(st.sampled_from('abc'))}", n, stream_id=stream) for n in range(8)))
        events = whole_stream(bench.store, stream)

        def rows() -> dict[str, Any]:
            return {key: row for key, row in bench.rows().items() if key.startswith(f"{stream}-")}

        projectors = [bench.projector(), bench.projector()]
        batches = data.draw(st.lists(st.lists(st.tuples(st.integers(0, 7), st.booleans()), max_size=4), max_size=5))
        for number, batch in enumerate(batches):
            hints = [hint(event_id, events[event_id] if whole else None, stream) for event_id, whole in batch]
            projectors[number % 2].catch_up(StreamId(stream), hints)
            assert rows() == expected_rows(events, bench.state(stream).checkpoint)

        catch_up(projectors[0], [hint(7, None, stream)])

        assert bench.state(stream).checkpoint == 7
        assert rows() == expected_rows(events)

    def test_a_gap_is_read_from_the_store(self, bench: Bench) -> None:
        events = bench.append(*(added("a", number, stream_id=STREAM) for number in range(5)))

        outcome = catch_up(bench.projector(), carrying(events[4]))

        assert (outcome.applied, outcome.checkpoint) == (5, 4)
        assert bench.is_at_head()

    def test_a_hint_at_or_below_the_checkpoint_changes_nothing(self, bench: Bench) -> None:
        events = bench.append(*(added("a", number, stream_id=STREAM) for number in range(3)))
        projector = bench.projector()
        catch_up(projector, carrying(*events))
        bench.read_model.calls.clear()

        outcome = catch_up(projector, carrying(*events))

        assert (outcome.applied, outcome.checkpoint) == (0, 2)
        assert not bench.read_model.calls
        assert bench.is_at_head()

    def test_a_hint_beyond_the_head_is_no_fault(self, bench: Bench) -> None:
        bench.append(added("a", stream_id=STREAM))

        outcome = catch_up(bench.projector(), [hint(1000)])

        assert (outcome.applied, outcome.checkpoint) == (1, 0)

    def test_a_fresh_hint_does_not_trust_the_warm_state(self, bench: Bench) -> None:
        events = bench.append(*(added("a", number, stream_id=STREAM) for number in range(3)))
        projector = bench.projector()
        catch_up(projector, carrying(*events))
        bench.change(transitions.rewind(bench.state(), 0))

        catch_up(projector, [hint(2, fresh=True)])

        assert bench.state().checkpoint == 2

    def test_a_fresh_hint_keeps_warm_rows(self, bench: Bench) -> None:
        events = bench.append(*(added("a", number, stream_id=STREAM) for number in range(3)))
        projector = bench.projector()
        catch_up(projector, carrying(*events[:2]))
        bench.read_model.calls.clear()

        catch_up(projector, [hint(2, events[2], fresh=True)])

        assert bench.read_model.calls == {"load": 1, "commit": 1}  # the state, and no row
        assert bench.is_at_head()

    def test_events_that_no_handler_takes_move_the_checkpoint(self, bench: Bench) -> None:
        events = bench.append(added("a", stream_id=STREAM, type="OTHER"))

        batches = bench.written(lambda: catch_up(bench.projector(), carrying(*events)))

        assert batches == [{}]
        assert bench.state().checkpoint == 0

    # -- G1, G2: exactly once --------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("operation", ["read", "load", "commit"])
    @pytest.mark.parametrize("moment", ["before", "after"])
    def test_a_crash_anywhere_leaves_each_event_applied_once(self, bench: Bench, operation: str, moment: str) -> None:
        events = bench.append(*(added("a", number, stream_id=STREAM) for number in range(4)))
        for port in [bench.store, bench.read_model] if operation == "read" else [bench.read_model]:
            getattr(port, moment)(operation, die)

            with pytest.raises(DiedError):
                catch_up(bench.projector(), [hint(3)])
            assert bench.rows() == expected_rows(events, bench.state().checkpoint)
        catch_up(bench.projector(), [hint(3)])

        assert bench.is_at_head()

    @pytest.mark.parametrize("warm", [True, False])
    def test_the_loser_of_a_race_re_reads(self, bench: Bench, warm: bool) -> None:
        first = bench.append(added("a", 1, stream_id=STREAM))
        loser, winner = bench.projector(), bench.projector()
        if warm:
            catch_up(loser, carrying(*first))
        events = bench.append(added("a", 2, stream_id=STREAM), added("a", 3, stream_id=STREAM))
        bench.read_model.before("commit", lambda: catch_up(winner, carrying(events[0])))

        catch_up(loser, carrying(*events))

        assert bench.is_at_head()

    @pytest.mark.parametrize("projectors", [2, 3])
    def test_streams_that_write_the_same_rows_at_once(self, bench: Bench, projectors: int) -> None:
        # given rows that several streams write, and projectors of which each interrupts the one before
        streams = [f"order-{number}" for number in range(projectors)]
        for _ in range(4):
            for number, stream in enumerate(streams):
                bench.append(placed("2026-01-01", number + 1, stream_id=stream))
                bench.append(placed(f"2026-01-0{number + 2}", 1, stream_id=stream))
        warm = [bench.projector(totals()) for _ in streams]
        for event_id in range(0, 8, 2):

            def continue_with(number: int, event_id: int = event_id) -> None:
                if number + 1 < projectors:
                    bench.read_model.before("commit", lambda: continue_with(number + 1))
                catch_up(warm[number], [hint(event_id + 1, None, streams[number])])

            continue_with(0)

        events = [event for stream in streams for event in whole_stream(bench.store, stream)]
        assert bench.rows() == expected_totals(events)
        assert {bench.state(stream).checkpoint for stream in streams} == {7}

    def test_only_the_contradicted_rows_are_read_again(self, bench: Bench) -> None:
        # given a projector that knows two rows, one of which another stream has written since
        first = bench.append(placed("2026-01-01", stream_id=STREAM), placed("2026-01-02", stream_id=STREAM))
        projector = bench.projector(totals())
        catch_up(projector, carrying(*first))
        catch_up(bench.projector(totals()), carrying(*bench.append(placed("2026-01-02", stream_id=OTHER))))
        events = bench.append(placed("2026-01-01", stream_id=STREAM), placed("2026-01-02", stream_id=STREAM))
        loaded: list[Any] = []
        bench.read_model.calls.clear()
        load = bench.raw_read_model.load

        class Noting:
            def __getattr__(self, name: str) -> Any:
                return getattr(bench.raw_read_model, name)

            def load(self, generation: int, stream_ids: Any, keys: Any = ()) -> Any:
                loaded.append(list(keys))
                return load(generation, stream_ids, keys)

        bench.read_model._inner = Noting()

        catch_up(projector, carrying(*events))

        assert loaded == [["2026-01-02"]]  # with the state, in one call
        assert bench.rows() == expected_totals([*first, *whole_stream(bench.store, OTHER), *events])

    def test_an_event_changes_all_its_rows_or_none(self, bench: Bench) -> None:
        orders = [{"tea": 1, "cup": 2}, {}, {"cup": 1}, {"tea": 5, "pot": 1}]
        events = bench.append(*(ordered(each, stream_id=STREAM) for each in orders))
        bench.read_model.before("commit", die)
        with pytest.raises(DiedError):
            catch_up(bench.projector(stock()), carrying(*events))
        assert bench.rows() == {}

        catch_up(bench.projector(stock()), carrying(*events))

        assert bench.rows() == expected_stock(events)
        assert bench.state().checkpoint == 3

    def test_a_row_deleted_and_created_again_is_not_taken_for_the_one_before(self, bench: Bench) -> None:
        # given a projector that knows a row from before another one has deleted and created it again
        overtaken, other = bench.projector(), bench.projector()
        catch_up(overtaken, carrying(*bench.append(added("a", 1, stream_id=STREAM))))
        bench.append(added("a", stream_id=STREAM, type="REMOVED"), added("a", 5, stream_id=STREAM))
        catch_up(other, [hint(2)])
        events = bench.append(added("a", 2, stream_id=STREAM))

        catch_up(overtaken, [hint(3, events[0], fresh=True)])

        assert bench.is_at_head()

    @pytest.mark.parametrize("lost", [OutdatedError("it was repeated"), ConnectionError("closed")])
    def test_a_commit_whose_response_was_lost_is_not_repeated(self, bench: Bench, lost: Exception) -> None:
        events = bench.append(*(added("a", number, stream_id=STREAM) for number in range(3)))
        projector = bench.projector()
        catch_up(projector, carrying(events[0]))

        def lose() -> None:
            raise lost

        bench.read_model.after("commit", lose)
        if isinstance(lost, ConnectionError):
            with pytest.raises(ConnectionError):
                catch_up(projector, carrying(*events[1:]))

        catch_up(projector, carrying(*events[1:]))

        assert bench.is_at_head()

    def test_losing_every_race_is_reported(self, bench: Bench) -> None:
        bench.append(*(added("a", number, stream_id=STREAM) for number in range(60)))

        def overtake() -> None:
            bench.change(transitions.advance(bench.state(), bench.state().checkpoint + 1))

        bench.read_model.before("commit", *[overtake] * 50)

        with pytest.raises(ContendedError):
            catch_up(bench.projector(), [hint(59)])

    # -- P3: folded first, written after ---------------------------------------------------------------------------------

    def test_many_events_on_a_few_rows_are_a_few_writes(self, bench: Bench) -> None:
        bench.store.append([added(f"row-{number % 5}", number, stream_id=STREAM) for number in range(60)])

        batches = bench.written(lambda: catch_up(bench.projector(), [hint(59)]))

        assert [len(batch) for batch in batches] == [5]
        assert bench.is_at_head()

    def test_many_rows_are_split_into_commits_and_the_page_is_read_once(self, bench: Bench) -> None:
        for start in range(0, 120, 60):
            bench.store.append([added(f"row-{start + n:03}", n, stream_id=STREAM) for n in range(60)])
        checkpoints: list[int] = []
        bench.read_model.after("commit", *[lambda: checkpoints.append(bench.state().checkpoint)] * 2)

        batches = bench.written(lambda: catch_up(bench.projector(), [hint(119)]))

        assert [len(batch) for batch in batches] == [MAX_COMMIT_ROWS, 120 - MAX_COMMIT_ROWS]
        assert checkpoints == [MAX_COMMIT_ROWS - 1, 119]
        assert bench.store.calls["read"] == 1
        assert bench.is_at_head()

    def test_large_rows_are_split_by_their_bytes(self, bench: Bench) -> None:
        size = 380_000
        for number in range(12):
            event = added(f"row-{number:02}", number, stream_id=STREAM, type="FILLED")
            bench.append(type(event)(event.stream_id, event.type, f'{{"itemId":"row-{number:02}","bytes":{size}}}'))

        batches = bench.written(lambda: catch_up(bench.projector(), [hint(11)]))

        assert [len(batch) for batch in batches] == [MAX_COMMIT_BYTES // size, 12 - MAX_COMMIT_BYTES // size]
        assert bench.state().checkpoint == 11

    def test_an_unchanged_row_is_not_written_but_compared(self, bench: Bench) -> None:
        bench.append(added("a", stream_id=STREAM), added("b", stream_id=STREAM))
        projector = bench.projector()
        catch_up(projector, [hint(1)])
        bench.append(added("a", stream_id=STREAM, type="KEPT"), added("b", stream_id=STREAM))

        (commit,) = bench.commits(lambda: catch_up(projector, [hint(3)]))

        assert {each.key: each.write for each in commit.rows} == {"a": False, "b": True}
        assert all(each.before is not None for each in commit.rows)

    # -- P4: few calls ---------------------------------------------------------------------------------------------------

    def test_the_first_event_of_each_stream_is_one_call(self, bench: Bench) -> None:
        projector = bench.projector()
        for number, control_reads in enumerate([1, 0, 0]):
            events = bench.append(added(f"row-{number}", stream_id=f"new-{number}"))
            bench.read_model.calls.clear()

            catch_up(projector, carrying(*events))

            assert bench.read_model.calls == {"commit": 1} | ({"read": 1} if control_reads else {})
        assert bench.store.calls["read"] == 0
        assert bench.is_at_head("new-0", "new-1", "new-2")

    def test_the_control_item_is_read_every_few_seconds(self, bench: Bench) -> None:
        projector = bench.projector()
        for number in range(3):
            events = bench.append(added("a", stream_id=STREAM))
            bench.read_model.calls.clear()

            catch_up(projector, carrying(*events))

            assert bench.read_model.calls == {"read": 1, "commit": 1}, number
            bench.seconds += CONTROL_AGE_S + 0.1

    def test_a_batch_costs_two_calls_at_first_and_one_when_warm(self, bench: Bench) -> None:
        bench.append(added("a", stream_id=STREAM))
        catch_up(bench.projector(), [hint(0)])
        projector = bench.projector()
        for expected in ({"read": 1, "load": 1, "commit": 1}, {"commit": 1}, {"commit": 1}):
            events = bench.append(*(added("a", number, stream_id=STREAM) for number in range(3)))
            bench.read_model.calls.clear()

            catch_up(projector, carrying(*events))

            assert bench.read_model.calls == expected
        assert bench.is_at_head()

    def test_a_wrong_guess_about_a_first_event_costs_one_more_try(self, bench: Bench) -> None:
        # given a stream that another process has begun, with a row that another stream has written
        events = bench.append(placed("2026-01-01", stream_id=STREAM), placed("2026-01-01", stream_id=STREAM))
        others = bench.append(placed("2026-01-01", 5, stream_id=OTHER))
        catch_up(bench.projector(totals()), carrying(events[0]))
        catch_up(bench.projector(totals()), carrying(*others))
        bench.read_model.calls.clear()

        catch_up(bench.projector(totals()), carrying(*events))

        assert bench.read_model.calls["commit"] == 2
        assert bench.rows() == expected_totals([*events, *others])

    # -- G3, G4, G7: other generations -----------------------------------------------------------------------------------

    def test_a_stream_born_during_a_replay_follows_it(self, bench: Bench) -> None:
        control = begin_replay(bench)
        events = bench.append(added("a", 1, stream_id=STREAM), added("a", 2, stream_id=STREAM))

        catch_up(bench.projector(), carrying(*events))

        assert (bench.state().checkpoint, bench.state().ahead) == (1, 1)
        assert (bench.state(generation=1).checkpoint, bench.state(generation=1).ahead) == (1, None)
        assert bench.rows(1) == bench.rows(0) == expected_rows(events)
        assert control.building is not None

    def test_a_birth_with_an_old_control_item_is_refused_and_repeated(self, bench: Bench) -> None:
        # given a projector that has read the control item before a replay began
        projector = bench.projector()
        catch_up(projector, carrying(*bench.append(added("a", stream_id=OTHER))))
        begin_replay(bench)
        events = bench.append(added("b", stream_id=STREAM))

        catch_up(projector, carrying(*events))

        assert bench.state().ahead == 1
        assert bench.state(generation=1).checkpoint == 0

    def test_a_follower_is_brought_on_after_its_leader(self, bench: Bench) -> None:
        events = bench.append(*(added("a", number, stream_id=STREAM) for number in range(5)))
        projector = bench.projector()
        catch_up(projector, carrying(*events[:2]))
        replay_up_to_join(bench, events[:2], generation=1)

        commits = bench.commits(lambda: catch_up(projector, carrying(*events[2:])))

        assert [commit.generation for commit in commits] == [1, 0]
        assert [bench.state(generation=each).checkpoint for each in (0, 1)] == [4, 4]
        assert bench.rows(0) == bench.rows(1) == expected_rows(events)

    def test_a_follower_never_passes_its_leader(self, bench: Bench) -> None:
        # given a hint of event 2 and a store that has more
        events = bench.append(*(added("a", number, stream_id=STREAM) for number in range(6)))
        begin_replay(bench)
        catch_up(bench.projector(), carrying(events[0]))

        catch_up(bench.projector(), [hint(2)])

        assert bench.state().checkpoint <= bench.state(generation=1).checkpoint
        assert bench.state().checkpoint >= 2

    def test_a_projector_that_has_missed_the_switch_serves_both_generations(self, bench: Bench) -> None:
        events = bench.append(*(added("a", number, stream_id=STREAM) for number in range(3)))
        late = bench.projector()
        catch_up(late, carrying(*events[:2]))
        replay_up_to_join(bench, events[:2], generation=1)
        bench.change_control(transitions.switch(bench.control(), AT))

        catch_up(late, carrying(events[2]))

        assert bench.is_at_head()
        assert bench.rows(generation=0) == expected_rows(events)

    def test_a_projector_that_has_missed_that_its_generation_is_gone_changes_to_the_active_one(
        self, bench: Bench
    ) -> None:
        events = bench.append(*(added("a", number, stream_id=STREAM) for number in range(3)))
        late = bench.projector()
        catch_up(late, carrying(*events[:2]))
        replay_up_to_join(bench, events[:2], generation=1)
        bench.change_control(transitions.switch(bench.control(), AT))
        bench.change_control(transitions.retire_previous(bench.control()))
        while not bench.raw_read_model.sweep(0):
            pass

        catch_up(late, carrying(events[2]))

        assert bench.is_at_head()
        assert bench.rows(generation=0) == {}
        assert not bench.state(generation=0).exists

    def test_a_projector_that_has_missed_two_switches_changes_to_the_active_generation(self, bench: Bench) -> None:
        # given a projector that knows generation 0 only, which is abandoned but not swept yet
        events = bench.append(*(added("a", number, stream_id=STREAM) for number in range(3)))
        late = bench.projector()
        catch_up(late, carrying(*events[:2]))
        for generation in (1, 2):
            replay_up_to_join(bench, events[:2], generation=generation)
            bench.change_control(transitions.switch(bench.control(), AT))

        catch_up(late, carrying(events[2]))

        assert bench.control().active == 2
        assert bench.is_at_head()

    def test_an_abandoned_leader_is_dropped(self, bench: Bench) -> None:
        events = bench.append(*(added("a", number, stream_id=STREAM) for number in range(3)))
        begin_replay(bench)
        catch_up(bench.projector(), carrying(*events[:2]))
        bench.change_control(transitions.abandon(bench.control()))

        catch_up(bench.projector(), carrying(events[2]))

        assert (bench.state().checkpoint, bench.state().ahead) == (2, None)
        assert bench.is_at_head()

    def test_nothing_is_written_in_an_abandoned_generation(self, bench: Bench) -> None:
        events = bench.append(added("a", stream_id=STREAM))
        begin_replay(bench)
        worker = bench.projector()
        worker.control()
        bench.change_control(transitions.abandon(bench.control()))

        with pytest.raises(AbandonedError):
            worker.bring(StreamId(STREAM), 1, 0, events)

        assert bench.rows(1) == {}
        assert not bench.state(generation=1).exists

    # -- P5, R4: a handler that raises -------------------------------------------------------------------------------------

    @pytest.fixture
    def broken(self, bench: Bench) -> Bench:
        """Two good events, a broken one, two good ones; and another stream."""
        bench.append(added("a", 1, stream_id=STREAM), added("b", 2, stream_id=STREAM))
        bench.append(added("a", stream_id=STREAM, type="BROKEN"))
        bench.append(added("a", 3, stream_id=STREAM), added("b", 4, stream_id=STREAM))
        bench.append(added("c", 5, stream_id=OTHER))
        return bench

    def test_a_raising_handler_halts_its_stream_before_its_event(self, broken: Bench) -> None:
        with pytest.raises(HandlerFailedError) as failed:
            catch_up(broken.projector(), [hint(4)])

        assert (failed.value.event_id, failed.value.event_type) == (2, "BROKEN")
        state = broken.state()
        assert (state.checkpoint, state.is_halted) == (1, True)
        assert state.halted is not None
        assert "RuntimeError: not this one" in state.halted.error
        assert broken.rows() == {"a": {"n": 1}, "b": {"n": 2}}
        assert list(broken.raw_read_model.halted(0)) == [STREAM]

    def test_a_stream_may_be_halted_at_its_first_event(self, bench: Bench) -> None:
        events = bench.append(added("a", stream_id=STREAM, type="BROKEN"))

        with pytest.raises(HandlerFailedError):
            catch_up(bench.projector(), carrying(*events))

        assert (bench.state().checkpoint, bench.state().is_halted) == (-1, True)

    @pytest.mark.parametrize("same_process", [True, False])
    def test_while_a_stream_is_halted_its_messages_are_acknowledged_unread(
        self, broken: Bench, same_process: bool
    ) -> None:
        projector = broken.projector()
        with pytest.raises(HandlerFailedError):
            catch_up(projector, [hint(4)])
        broken.store.calls.clear()
        broken.read_model.calls.clear()

        outcome = catch_up(projector if same_process else broken.projector(), [hint(4)])

        assert (outcome.halted, outcome.applied, outcome.checkpoint) == (True, 0, 1)
        assert broken.store.calls["read"] == 0
        assert broken.read_model.calls["load"] == 1
        assert broken.read_model.calls["commit"] == 0

    def test_other_streams_continue(self, broken: Bench) -> None:
        projector = broken.projector()
        with pytest.raises(HandlerFailedError):
            catch_up(projector, [hint(4)])

        catch_up(projector, [hint(0, None, OTHER)])

        assert broken.state(OTHER).checkpoint == 0
        assert broken.rows()["c"] == {"n": 5}

    def test_a_retry_tries_again_and_fails_again(self, broken: Bench) -> None:
        for _ in range(3):
            with pytest.raises(HandlerFailedError):
                catch_up(broken.projector(), [hint(2)], retry_halted=True)

        assert broken.state().is_halted

    @pytest.mark.parametrize("resumed", [True, False])
    def test_fixed_code_catches_up_after_a_resume_or_a_retry(self, broken: Bench, resumed: bool) -> None:
        with pytest.raises(HandlerFailedError):
            catch_up(broken.projector(), [hint(4)])
        if resumed:
            broken.change(transitions.resume(broken.state()))

        catch_up(broken.projector(fixed=True), [hint(4)], retry_halted=not resumed)

        assert (broken.state().checkpoint, broken.state().halted) == (4, None)
        assert broken.rows() == {"a": {"n": 0}, "b": {"n": 10}}

    def test_a_skipped_event_changes_nothing_and_leaves_a_record(self, broken: Bench) -> None:
        projector = broken.projector()
        with pytest.raises(HandlerFailedError):
            catch_up(projector, [hint(4)])
        broken.change(transitions.skip(broken.state(), AT))

        catch_up(projector, [hint(4)])

        assert (broken.state().checkpoint, broken.state().halted) == (4, None)
        assert broken.rows() == {"a": {"n": 6}, "b": {"n": 10}}
        assert "not this one" in broken.state().skipped["2"]["error"]

    @pytest.mark.parametrize("moment", ["before", "after"])
    def test_a_crash_while_the_halt_is_recorded_loses_nothing(self, broken: Bench, moment: str) -> None:
        getattr(broken.read_model, moment)("commit", lambda: None, die)  # the first commit is of the events before
        with pytest.raises(DiedError):
            catch_up(broken.projector(), [hint(4)])

        with pytest.raises(HandlerFailedError):
            catch_up(broken.projector(), [hint(4)], retry_halted=True)

        assert (broken.state().checkpoint, broken.state().is_halted) == (1, True)

    def test_a_handler_that_raises_because_of_an_old_row_halts_nothing(self, bench: Bench) -> None:
        # given a handler that needs a row, which another stream has created since this process saw that there is none
        projection = Projection("needy", key="itemId")
        projection.on("ADDED")(lambda row, event: {"n": 1})
        projection.on("REMOVED")(lambda row, event: None)
        projection.on("NEEDS")(lambda row, event: {"n": row["n"] + 1})
        projector = bench.projector(projection)
        bench.append(added("a", stream_id=STREAM), added("a", stream_id=STREAM, type="REMOVED"))
        catch_up(projector, [hint(1)])
        catch_up(bench.projector(projection), carrying(*bench.append(added("a", stream_id=OTHER))))
        events = bench.append(added("a", stream_id=STREAM, type="NEEDS"))

        catch_up(projector, carrying(*events))

        assert bench.rows() == {"a": {"n": 2}}
        assert (bench.state().checkpoint, bench.state().halted) == (2, None)

    def test_a_handler_that_raises_in_the_generation_being_built_fails_the_job(self, broken: Bench) -> None:
        # given a live read model made by other code
        catch_up(broken.projector(fixed=True), [hint(4)])
        live = broken.rows()
        begun = begin_replay(broken)

        with pytest.raises(AbandonedError):
            broken.projector().bring(StreamId(STREAM), 1, 4)

        control = broken.control()
        assert (control.active, control.building, control.sweep) == (0, None, (1,))
        failed = job(broken, begun)
        assert failed["state"] == FAILED
        assert failed["error"] == {"streamId": STREAM, "eventId": 2, "error": "RuntimeError: not this one"}
        assert (broken.rows(), broken.state().checkpoint) == (live, 4)

    def test_a_job_does_not_fail_because_of_an_old_row(self, bench: Bench) -> None:
        projection = Projection("needy", key="itemId")
        projection.on("ADDED")(lambda row, event: {"n": 1})
        projection.on("NEEDS")(lambda row, event: {"n": row["n"] + 1})
        events = bench.append(added("b", stream_id=STREAM), added("a", stream_id=STREAM, type="NEEDS"))
        begun = begin_replay(bench, projection)
        worker = bench.projector(projection)
        # a row that the worker knows not to exist, and that another stream creates
        worker.cache.put(1, (), {"a": None})
        bench.projector(projection).bring(StreamId(OTHER), 1, 0, bench.append(added("a", stream_id=OTHER)))

        worker.bring(StreamId(STREAM), 1, 1, events)

        assert job(bench, begun)["state"] == RUNNING
        assert bench.rows(1) == {"a": {"n": 2}, "b": {"n": 1}}

    def test_an_event_skipped_in_the_active_generation_is_skipped_in_the_new_one_if_it_still_fails(
        self, broken: Bench
    ) -> None:
        with pytest.raises(HandlerFailedError):
            catch_up(broken.projector(), [hint(4)])
        broken.change(transitions.skip(broken.state(), AT))
        begin_replay(broken)

        broken.projector().bring(StreamId(STREAM), 1, 4)

        assert broken.rows(1) == {"a": {"n": 6}, "b": {"n": 10}}
        assert "not this one" in broken.state(generation=1).skipped["2"]["error"]
        assert broken.control().building is not None
