"""What a writer remembers of streams."""

from handlers.core.events import EventId, StreamId
from handlers.store.dynamodb import HeadCache

ONE, OTHER, THIRD = StreamId("one"), StreamId("other"), StreamId("third")


def test_an_older_head_is_not_remembered() -> None:
    heads = HeadCache()
    heads.remember(ONE, EventId(5))
    heads.remember(ONE, EventId(3))

    assert (heads.get(ONE), heads.get(OTHER)) == (5, None)


def test_the_stream_written_longest_ago_is_forgotten() -> None:
    heads = HeadCache(capacity=2)
    for stream in (ONE, OTHER, ONE, THIRD):
        heads.remember(stream, EventId(0))

    assert [heads.get(stream) for stream in (ONE, OTHER, THIRD)] == [0, None, 0]
