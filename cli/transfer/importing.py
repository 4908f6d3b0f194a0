"""Importing: lines are read and checked, sorted into chunks, and appended over several connections.

Each event is stored exactly once, however often an import is broken off and started again:

- A chunk has an idempotency key that follows from the file (see `chunks`), so its repetition is recognised. The store
  knows a key for 30 days.
- A line with an eventId is appended only at that place. Where something stands there already, it is compared: the same
  event counts as imported, whoever stored it and whenever; another one is a conflict.

So the same file imported twice is imported once. To append events without eventIds a second time on purpose, give the
import a name (``--import-id``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import BinaryIO

from cli.client.service import Service
from cli.transfer.appending import Appender, Tally
from cli.transfer.batches import Chunker
from cli.transfer.files import BadLineError, lines
from cli.transfer.incoming import read_line
from cli.transfer.partitions import Lanes

# How long to wait for calls under way when something ends the import: one takes milliseconds, ten seconds at worst.
_END_TIMEOUT_S = 10.0


def import_events(
    stream: BinaryIO,
    service: Service,
    tally: Tally,
    *,
    name: str = "",
    connections: int,
    sleep: Callable[[float], None],
    tick: Callable[[], None],
) -> None:
    """Import every line of a stream of bytes.

    Parameters
    ----------
    tally
        Counts what is done, also where this raises.
    name
        Of the import; part of every idempotency key.
    tick
        Called now and then, for a display.

    Raises
    ------
    BadLineError
        A line can't be stored. Nothing of its chunk is, and nothing that was read after it.
    ConflictError, CliError, KeyboardInterrupt
    """
    chunker = Chunker(name)
    lanes = Lanes(Appender(service, tally, sleep).append, connections, tick)
    try:
        # Chunks that are incomplete when a line fails are not sent: a repetition would cut them otherwise.
        for number, raw in lines(stream):
            chunk = chunker.add(read_line(number, raw))
            if chunk is not None:
                lanes.put(chunk)
        for chunk in chunker.rest():
            lanes.put(chunk)
        lanes.finish()
    finally:
        lanes.stop(_END_TIMEOUT_S)


def check(stream: BinaryIO, *, faults_max: int, tick: Callable[[int], None]) -> tuple[int, list[BadLineError]]:
    """Read every line without importing anything.

    Parameters
    ----------
    tick
        Told how many events were read.

    Returns
    -------
    How many good lines there are, and the first bad ones.
    """
    good, bad = 0, list[BadLineError]()
    chunker = Chunker()
    source = lines(stream)
    while len(bad) < faults_max:
        try:
            for number, raw in source:
                chunker.add(read_line(number, raw))
                good += 1
                tick(good)
            break
        except BadLineError as error:
            bad.append(error)
    return good, bad
