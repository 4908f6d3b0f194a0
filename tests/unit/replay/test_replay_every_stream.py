"""Replays of a projection that follows every stream: the worker finds the streams, in messages that may come twice."""

from __future__ import annotations

import contextlib

from handlers.core.events import StreamId
from handlers.replay.jobs import DONE
from tests.unit.replay.faults import Brittle, Crash, Fuse
from tests.unit.replay.system import System

STREAMS = ["a", "b", "c"]


def given() -> System:
    system = System()
    for stream_id in STREAMS:
        system.append({"k": "1", "v": 1}, {"k": "2", "v": 2}, stream_id=stream_id)
    return system


def generations(system: System) -> list[int]:
    return [system.read_model.load(StreamId(stream_id)).state.active_generation for stream_id in STREAMS]


def test_every_stream_is_replayed() -> None:
    system = given()
    replay_id = system.replays().trigger().replay_id

    system.work()

    progress = system.replays().progress(replay_id)
    assert (progress.state, progress.events_done, len(progress.job.tasks)) == (DONE, 6, 3)
    assert generations(system) == [1, 1, 1]


def test_a_message_that_comes_again_after_the_end_starts_nothing_again() -> None:
    system = given()
    replay_id = system.replays().trigger().replay_id
    system.work()

    system.messages.append((None, replay_id))
    system.work()

    assert generations(system) == [1, 1, 1]
    assert system.replays().progress(replay_id).state == DONE


def test_finding_the_streams_is_taken_up_again_wherever_it_was_cut_off() -> None:
    for after in (False, True):
        at, fuse = 0, Fuse(0)
        while True:
            system, fuse = given(), Fuse(at, after)
            replay_id = system.replays().trigger().replay_id
            brittle = system.replays(
                store=Brittle(system.store, fuse),
                read_model=Brittle(system.read_model, fuse),
                jobs=Brittle(system.jobs, fuse),
            )
            with contextlib.suppress(Crash):
                brittle.enumerate(replay_id, None)
            if not fuse.blown:
                break
            system.work()  # the message is redelivered: it is still there

            progress = system.replays().progress(replay_id)
            assert (progress.state, len(progress.job.tasks)) == (DONE, 3), f"call {at}"
            assert generations(system) == [1, 1, 1], f"call {at}"
            at += 1
