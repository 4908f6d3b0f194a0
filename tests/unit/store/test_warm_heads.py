"""What a writer remembers of streams."""

from handlers.events import EventId, StreamId
from handlers.store.heads import WarmHeads

ONE, OTHER, THIRD = StreamId("one"), StreamId("other"), StreamId("third")


def test_an_older_head_tells_nothing() -> None:
    heads = WarmHeads()
    heads.remember(ONE, EventId(5))
    heads.remember(ONE, EventId(3))

    assert (heads.get(ONE), heads.get(OTHER)) == (5, None)


def test_the_stream_written_longest_ago_is_forgotten() -> None:
    heads = WarmHeads(capacity=2)
    for stream in (ONE, OTHER, ONE, THIRD):
        heads.remember(stream, EventId(0))
        heads.note([stream], contended=True)

    assert [heads.get(stream) for stream in (ONE, OTHER, THIRD)] == [0, None, 0]
    assert not heads.contended([OTHER])


def test_of_several_streams_one_with_other_writers_is_enough() -> None:
    heads = WarmHeads()
    heads.remember(ONE, EventId(0))
    heads.note([ONE], contended=True)

    assert heads.contended([ONE, OTHER])
    assert not heads.contended([OTHER])

    heads.note([ONE, OTHER], contended=False)

    assert not heads.contended([ONE])
