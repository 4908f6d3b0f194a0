"""Exporting: streams one after another, events in their order. The first pages of the next streams are fetched ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from cli.client.service import Event, Page, Service
from cli.transfer.files import Sink
from handlers.core.lossless_json import dumps


@dataclass(slots=True)
class Exported:
    """What was written so far."""

    events: int = 0
    streams: int = 0


def export_events(
    service: Service,
    stream_ids: Iterable[str],
    sink: Sink,
    *,
    connections: int,
    tick: Callable[[Exported], None],
) -> Exported:
    """Write the events of some streams.

    Each stream is complete up to an instant during the export. Needs the memory of a few pages, however long streams are.

    Raises
    ------
    CliError
    """
    done = Exported()
    for page in _pages(service, stream_ids, connections):
        sink.write("".join(f"{dumps(event)}\n" for event in page.items).encode())
        done.events += len(page.items)
        done.streams += page.next_token is None
        tick(done)
    return done


def _pages(service: Service, stream_ids: Iterable[str], connections: int) -> Iterator[Page[Event]]:
    pool = ThreadPoolExecutor(connections, thread_name_prefix="export")
    ahead: deque[tuple[str, Future[Page[Event]]]] = deque()
    following = iter(stream_ids)

    def fetch(stream_id: str, token: str | None = None) -> Future[Page[Event]]:
        return pool.submit(service.events_page, stream_id, token=token)

    def fill() -> None:
        while len(ahead) < connections and (stream_id := next(following, None)) is not None:
            ahead.append((stream_id, fetch(stream_id)))

    try:
        fill()
        while ahead:
            stream_id, coming = ahead.popleft()
            while True:
                page = coming.result()
                if page.next_token is None:
                    fill()
                    yield page
                    break
                coming = fetch(stream_id, page.next_token)
                yield page
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
