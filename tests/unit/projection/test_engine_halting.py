"""Halting when an answer is lost on the way (P5)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from handlers.core.errors import HandlerFailedError
from handlers.core.events import StreamId
from handlers.projection import Projection
from handlers.projection.fold import MAX_ERROR_CHARACTERS, fold, prepare
from handlers.projection.port import OutdatedError
from tests.support.bench import STREAM, Bench, hint
from tests.support.memory_event_store import MemoryEventStore
from tests.support.memory_read_model import MemoryReadModel
from tests.support.projections import added


def test_a_halt_whose_answer_was_lost_still_fails_its_message() -> None:
    # given a boto3 that repeats the recording of the halt, which took effect already
    bench = Bench(MemoryEventStore(), MemoryReadModel())
    bench.append(added("a", stream_id=STREAM, type="BROKEN"))

    def repeated() -> None:
        raise OutdatedError("the condition does not hold any more: the record is there")

    bench.read_model.after("commit", repeated)

    # then the message fails, so that its dead letter comes about
    with pytest.raises(HandlerFailedError):
        bench.projector().catch_up(StreamId(STREAM), [hint(0)])
    assert bench.state().is_halted


def test_an_error_that_quotes_the_event_fits_in_the_state_item() -> None:
    # given a handler whose error holds all of the event's data
    quoting = Projection("quoting", key="itemId")
    quoting.on("LOUD")(lambda row, event: {}[event["text"]])
    bench = Bench(MemoryEventStore(), MemoryReadModel())
    (event,) = bench.append(added("a", stream_id=STREAM, type="LOUD"))
    event = replace(event, data=f'{{"itemId":"a","text":"{"x" * 390_000}"}}')

    failure = fold(quoting, prepare(quoting, [event]), {"a": None}, -1).failure

    assert failure is not None
    assert failure.error.startswith("KeyError: 'xxx")
    assert len(failure.error) <= MAX_ERROR_CHARACTERS
