"""What happens at the edges of generations: stale copies, other code, and jobs that nobody could end."""

from __future__ import annotations

from typing import Any

import pytest

from handlers.core.errors import ConflictError, ContendedError
from handlers.core.events import EventId, StreamId
from handlers.core.messages import Hint
from handlers.projection import Projection, transitions
from handlers.projection.definition import Prefix
from handlers.projection.engine import Code, Projector
from handlers.projection.port import Commit
from handlers.projection.state import JobItem
from handlers.replay.jobs import DONE, FAILED
from handlers.replay.requests import Replays
from tests.support.ports import DiedError, Interrupted, die
from tests.unit.replay.system import STREAM, Factored, System, latest, tally


def hint(event_id: int, *, stream: str = STREAM, fresh: bool = False) -> Hint:
    return Hint(StreamId(stream), EventId(event_id), fresh=fresh)


def test_a_process_that_remembers_a_halt_notices_that_the_stream_was_resumed() -> None:
    # given two processes, of which one has seen that the stream is halted
    system = System()
    system.append({"k": "a", "v": 1}, {"k": "a", "v": 2, "poison": 1})
    first, second = system.projector(), system.projector()
    with pytest.raises(Exception, match="poison"):
        first.catch_up(STREAM, [hint(1)])
    second.catch_up(STREAM, [hint(1)])

    # when the event is skipped, and the next one arrives there
    system.read_model.commit(Commit((transitions.skip(system.state(), "2026-11-23T00:00:00.000Z"),)))
    system.append({"k": "a", "v": 3})
    outcome = second.catch_up(STREAM, [hint(2)])

    assert not outcome.halted
    assert system.state().checkpoint == 2


def test_a_hint_is_not_done_with_before_it_is_applied_in_the_generation_that_is_read() -> None:
    # given a process that stands still during two replays, of which nothing is swept yet
    system = System()
    system.history(3, 2)
    late = Projector(Code(system.projection), system.store, system.read_model, system.clock, monotonic=lambda: 0.0)
    late.catch_up(STREAM, [hint(2)])
    system.replay()
    system.messages.clear()
    system.replays().trigger()
    system.messages = [each for each in system.messages if not isinstance(each, int)]
    system.work()
    assert (system.control.active, system.control.sweep) == (2, (0,))

    # when an event arrives there
    system.append({"k": "a", "v": 3})
    late.catch_up(STREAM, [hint(3)])

    assert system.is_complete()


def per_day(factor: int = 3) -> Projection:
    """Rows that all streams write, under the name of `latest`."""
    projection = Factored("latest", key="k")
    projection.factor = factor

    @projection.on("COUNTED")
    def counted(row: Any, event: Any) -> Any:
        return {"n": (row["n"] if row else 0) + event["v"]}

    return projection


def adopted(system: System) -> System:
    change = transitions.adopt(system.control, system.projection.fingerprint())
    system.read_model.commit(Commit((change,)))
    return system


@pytest.mark.parametrize("from_event_id", [0, 1])
def test_rows_of_the_code_before_are_not_changed_in_place_as_the_new_code_allows(from_event_id: int) -> None:
    # given rows that several streams write, and code deployed since whose rows are each of one stream
    system = adopted(System(per_day(4)))
    for name in ("one", "two"):
        system.append({"k": "a", "v": 1}, {"k": "a", "v": 1}, stream_id=name)
    system.project()
    before = system.rows()
    system.deploy(latest())

    # then one stream cannot be replayed before the projection was
    with pytest.raises(ConflictError, match="replay the whole projection"):
        system.replays().trigger(StreamId("one"), from_event_id)
    system.work()
    assert system.rows() == before


def test_a_request_to_replay_a_stream_is_not_carried_out_with_code_that_does_not_allow_it() -> None:
    # given such a request from before a rollback to rows that several streams write
    system = adopted(System(per_day(4)))
    for name in ("one", "two"):
        system.append({"k": "a", "v": 1}, stream_id=name)
    system.project()
    before = system.rows()
    system.deploy(latest())
    system.replay()
    asked = system.replays().trigger(StreamId("one")).job.replay_id
    request = system.messages.pop()
    system.replays().rollback()
    system.work()
    system.messages.append(request)
    system.work()

    assert system.progress(asked).job.state == FAILED
    assert system.rows() == before


def test_a_process_with_older_code_writes_nothing_into_a_generation_of_newer_code() -> None:
    # given a replay with new code, whose live streams have joined
    system = adopted(System(tally(factor=3)))
    system.history(3, 2)
    old = Projector(Code(system.projection), system.store, system.read_model, system.clock)
    system.deploy(tally(factor=5))
    system.replays().trigger()
    while system.state().ahead is None:
        system.deliver(system.worker(), system.messages.pop(0), lambda: False)
    assert system.control.building is not None

    # when a process that was started before the deployment gets an event
    system.append({"k": "a", "v": 3})
    with pytest.raises(ContendedError):
        old.catch_up(STREAM, [hint(3)])

    # then it leaves it to the others
    system.project()
    system.work()
    assert system.is_complete(factor=5)


def test_workers_of_two_deployments_do_not_restart_each_others_replay() -> None:
    # given a worker that is on its way through the history when other code is deployed
    system = adopted(System(tally(factor=3), page_events=2))
    system.history(9, 2)
    system.replays().trigger()

    def deployment() -> None:
        system.deploy(tally(factor=5))
        system.deliver(system.worker(), ("replay-1", None), lambda: False)
        assert system.control.fingerprint_of(2) == "factor-5"

    read_model = Interrupted(system.read_model).after("commit", lambda: None, deployment)
    old = system.worker(read_model=read_model)
    system.messages = [("replay-1", each) for each in range(1, 8)]
    for segment in range(8):
        if system.control.next_generation == 2:
            old.work("replay-1", segment, lambda: True)

    # then it leaves the replay to them
    assert system.control.building is not None
    assert system.control.building.generation == 2
    system.work()
    assert system.is_complete(factor=5)


def test_a_replay_whose_record_is_gone_is_given_up() -> None:
    # given a replay that nobody has worked on until its record expired
    system = System()
    system.history(3, 2)
    system.replays().trigger()
    del system.read_model.documents[JobItem("replay-1")]  # type: ignore[attr-defined]

    # when the reconciler sends its message again
    system.messages.clear()
    system.reconcile()
    system.work()

    # then the projection can be replayed
    assert system.control.building is None
    assert system.replay().job.state == DONE


def test_a_replay_before_the_first_run_of_the_reconciler_remembers_the_code_of_the_rows() -> None:
    system = System(tally(factor=3))
    system.history(3, 2)

    system.replay()

    assert system.control.previous is not None
    assert system.control.previous.fingerprint == "factor-3"


def test_events_of_a_stream_that_only_the_new_code_follows_reach_the_generation_built() -> None:
    # given a replay with code that follows more streams, which has read their history
    from handlers.functions.projector import project

    system = adopted(System(tally(factor=3, streams=["counted"])))
    system.append({"k": "a", "v": 1})
    system.append({"k": "a", "v": 1}, stream_id="new")
    system.project()
    system.deploy(tally(factor=5))
    system.replays().trigger()
    while system.replays().progress("replay-1").job.phase != "join":
        system.deliver(system.worker(), system.messages.pop(0), lambda: False)

    # when an event of such a stream arrives, before the switch
    system.append({"k": "a", "v": 2}, stream_id="new")

    class Log:
        def info(self, *_: Any, **__: Any) -> None: ...

        error = exception = info

    record = {
        "messageId": "m",
        "body": '{"streamId": "new", "eventId": 1}',
        "attributes": {"ApproximateReceiveCount": "1"},
    }
    project([record], system.projector(), Log())
    system.work()

    assert system.is_complete(factor=5)


def test_a_join_that_takes_long_is_continued_by_another_task() -> None:
    # given a stream that has gone on since the build, for many pages
    system = System(page_events=10)
    system.history(10, 2)
    system.replays().trigger()
    while system.replays().progress("replay-1").job.phase != "join":
        system.deliver(system.worker(), system.messages.pop(0), lambda: False)
    system.append(*({"k": "a", "v": v} for v in range(200)))
    system.project()

    # when a task has no time for all of it
    built = []
    while system.messages and system.control.building is not None:
        system.deliver(system.worker(), system.messages.pop(0), lambda: False)
        built.append(system.state(generation=1).checkpoint)

    assert len(set(built)) > 10
    system.work()
    assert system.is_complete()


def test_a_page_that_another_worker_has_begun_is_finished_before_its_stream_counts_as_built() -> None:
    # given a projection of one stream, of which another worker has written half of a page since this one read the head
    system = System(tally(streams=[STREAM]))
    system.history(2, 2)
    system.replays().trigger()

    def other_worker() -> None:
        system.projector().bring(STREAM, 1, 1)
        system.append(*({"k": f"{number:04}", "v": number} for number in range(150)))
        with pytest.raises(DiedError):
            system.worker(read_model=Interrupted(system.read_model).after("commit", die)).work(
                "replay-1", 0, lambda: True
            )
        assert system.state(generation=1).page is not None

    slow = system.worker(store=Interrupted(system.store).after("head", other_worker))
    system.deliver(slow, system.messages.pop(0))
    system.reconcile()
    system.work()

    system.project()
    assert system.is_complete()


def test_a_stream_that_only_the_code_before_follows_is_not_born_in_the_generation_being_built() -> None:
    # given a replay with code that follows fewer streams
    system = adopted(System(tally(factor=3)))
    system.append({"k": "a", "v": 1}, stream_id="kept")
    system.project()
    system.deploy(tally(factor=5, streams=Prefix("kept")))
    system.replays().trigger()

    # when another stream begins meanwhile
    system.append({"k": "b", "v": 1}, stream_id="dropped")
    system.projector().catch_up(StreamId("dropped"), [hint(0, stream="dropped")])
    system.work()

    assert system.rows() == {"a": {"kept": 1}}
    assert system.state("dropped").checkpoint == -1


def test_a_process_that_notices_a_switch_late_takes_no_stream_into_a_generation_that_does_not_follow_it() -> None:
    # given a process that has not noticed a replay with code that follows fewer streams
    system = adopted(System(tally(factor=3)))
    for name in ("kept", "dropped"):
        system.append({"k": name, "v": 1}, stream_id=name)
    system.project()
    code = Code(tally(factor=5, streams=Prefix("kept")), lambda: {"factor-3": tally(factor=3)})
    late = Projector(code, system.store, system.read_model, system.clock, monotonic=lambda: 0.0)
    late.control()
    system.deploy(code.current)
    system.replay()

    # when an event of another stream arrives there
    late.catch_up(StreamId("new"), [hint(0, stream="new")])
    system.append({"k": "b", "v": 1}, stream_id="dropped-too")
    late.catch_up(StreamId("dropped-too"), [hint(0, stream="dropped-too")])

    assert system.rows() == {"kept": {"kept": 1}}


def test_a_rollback_to_rows_whose_code_is_not_deployed_is_refused() -> None:
    # given a replay with other code, and a deployment without the code before
    system = adopted(System(tally(factor=3)))
    system.history(3, 2)
    system.deploy(tally(factor=5, streams=[STREAM]))
    system.replay()
    replays = Replays(
        system.projection,
        system.store,
        system.read_model,
        system.clock,
        send=lambda replay_id: None,
        new_id=lambda: "rollback",
        has_code=lambda fingerprint: Code(system.projection).find(fingerprint) is not None,
    )

    # then the new code does not get the old rows, nor decides which streams join them
    with pytest.raises(ConflictError, match="not deployed"):
        replays.rollback()
    assert system.control.building is None
