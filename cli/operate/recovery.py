"""Recovery: resume halted streams, wait for the catch-up, redrive dead letters.

A projection's dead letter is only a hint: its event is in the store. So redriving it is *resume, wait until the stream has
caught up, delete the message*, and old messages never interleave with new ones. For the publisher's failed batches, the
reconciler triggers the projections again. A replay's message is a task: it is sent again, then deleted.

Every step is idempotent: a message is deleted only after its work is done, and repeated work changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cli.client.aws import errors
from cli.client.records import HALTED, ProjectionStatus, StreamStatus
from cli.client.service import STREAMS_MAX, Service
from cli.errors import CliError, ConflictError, NotFoundError
from cli.operate.dead_letters import DeadLetter, DeadLetterQueue
from cli.operate.resources import find_resources
from cli.operate.status import with_ages
from cli.terminal.environment import Environment
from cli.terminal.text import visible

if TYPE_CHECKING:
    from cli.client.aws import Clients

_MARGIN_S = 60.0  # for the calls of a redrive, on top of the wait for the catch-up
_UNREADABLE = "unreadable: inspect it, then purge the queue"


# Streams whose catch-up is watched at the same time; each look at one is a call.
_WATCHED_MAX = 50


def projections(service: Service, name: str | None) -> list[ProjectionStatus]:
    """Return the status of one or all projections; of one, with more of its streams.

    Raises
    ------
    NotFoundError
        There is no such projection.
    """
    try:
        chosen = service.projections(name=name, limit=STREAMS_MAX)
    except CliError as error:
        if error.status != 400:
            raise
        raise NotFoundError(f"there is no projection {name}", "; ".join(error.faults)) from error
    return with_ages(service, chosen, datetime.now(UTC))


def wait_until_caught_up(
    service: Service, environment: Environment, name: str, stream_ids: Collection[str], timeout_s: float
) -> list[StreamStatus]:
    """Wait until each stream has caught up or is halted, or time is up; returns the status of those looked at."""
    found: dict[str, tuple[StreamStatus, ...]] = {}
    waiting = list(stream_ids)

    def ask() -> list[str]:
        nonlocal waiting
        watched = waiting[:_WATCHED_MAX]
        found.update({stream_id: _status(service, name, stream_id) for stream_id in watched})
        behind = [each for each in watched if any(stream.lag and stream.state != HALTED for stream in found[each])]
        waiting = [*behind, *waiting[_WATCHED_MAX:]]
        return waiting

    environment.poll(ask, lambda left: not left, timeout_s=timeout_s, pause_s=0.05, pause_max_s=1.0)
    return [stream for streams in found.values() for stream in streams]


def _status(service: Service, name: str, stream_id: str) -> tuple[StreamStatus, ...]:
    """Return the status of one stream in a projection; empty if the projection does not follow it."""
    return tuple(stream for each in service.projections(name=name, stream_id=stream_id) for stream in each.streams)


def reconcile(clients: Clients, stack_name: str, names: Iterable[str]) -> None:
    """Run the reconciler of some projections now: it triggers streams that lag, otherwise once per minute.

    One run looks at some hundred streams; the next one continues where it stopped.

    Raises
    ------
    CliError
        The stack has no reconciler, or it failed.
    """
    function = find_resources(clients, stack_name).functions.get("Reconciler")
    if function is None:
        raise CliError("the stack has no reconciler: another version deployed it", "Deploy it again:  esctl deploy")
    for name in names:
        with errors():
            payload = json.dumps({"projection": name}).encode()
            answer = clients.client("lambda").invoke(FunctionName=function, Payload=payload)
        if answer.get("FunctionError"):
            why = json.loads(answer["Payload"].read() or b"{}").get("errorMessage", answer["FunctionError"])
            raise CliError(
                f"the reconciler of {name} failed: {why}", "See its log:  esctl tail-logs --function Reconciler"
            )


@dataclass(slots=True)
class Redriven:
    """The result of redriving one queue.

    Attributes
    ----------
    done
        Number of dead letters recovered and deleted.
    resumed
        Ids of the streams that were resumed.
    kept
        Dead letters that remain, with the reason.
    halted
        Streams that halted again.
    """

    queue: str
    done: int = 0
    resumed: list[str] = field(default_factory=list)
    kept: list[tuple[DeadLetter, str]] = field(default_factory=list)
    halted: list[StreamStatus] = field(default_factory=list)

    @property
    def problems(self) -> list[str]:
        """Dead letters that remain, and streams that halted again at an event without a dead letter here."""
        about = {letter.stream_id for letter, _ in self.kept}
        return [f"{self.queue}: {letter.about}: {why}" for letter, why in self.kept] + [
            f"{self.queue}: stream {visible(stream.stream_id)}: {_halted_again(stream)}"
            for stream in self.halted
            if stream.stream_id not in about
        ]


@dataclass(frozen=True, slots=True)
class Redrive:
    """Redrives dead letters.

    Parameters
    ----------
    reconcile
        Triggers every projection that lags.
    timeout_s
        How long to wait for a catch-up.
    """

    service: Service
    environment: Environment
    reconcile: Callable[[], None]
    timeout_s: float

    def run(self, dead_letters: DeadLetterQueue) -> Redriven:
        """Recover from the dead letters of one queue, and delete those that are done.

        Raises
        ------
        CliError
        """
        result = Redriven(dead_letters.queue.name)
        seen: set[str] = set()
        while True:
            with dead_letters.taken(hidden_s=self.timeout_s + _MARGIN_S) as taken:
                fresh = [each for each in taken if each.message_id not in seen]
                if not fresh:
                    return result
                seen |= {each.message_id for each in fresh}
                for recovered in self._recovered(dead_letters, fresh, result):
                    left = dead_letters.delete(recovered)
                    result.done += len(recovered) - len(left)
                    result.kept += [(each, "done, but SQS did not delete it: redrive again") for each in left]

    def _recovered(
        self, dead_letters: DeadLetterQueue, taken: Sequence[DeadLetter], result: Redriven
    ) -> Iterator[Sequence[DeadLetter]]:
        """Yield dead letters as soon as their work is done; adds those that remain to the result, with the reason."""
        if dead_letters.queue.kind == "publisher":
            self.reconcile()
            yield taken
        elif dead_letters.queue.kind == "replays":
            for dead_letter in taken:
                if not dead_letter.is_task:
                    result.kept.append((dead_letter, _UNREADABLE))
                else:
                    dead_letters.send_again(dead_letter)
                    yield [dead_letter]
        else:
            yield self._caught_up(taken, result)

    def _caught_up(self, taken: Sequence[DeadLetter], result: Redriven) -> list[DeadLetter]:
        """Catch up the streams of a projection's dead letters; returns the dead letters that are done."""
        stream_ids = list(dict.fromkeys(each.stream_id for each in taken if each.stream_id is not None))
        self._start(result, [stream for each in stream_ids for stream in _status(self.service, result.queue, each)])
        waited = wait_until_caught_up(self.service, self.environment, result.queue, stream_ids, self.timeout_s)
        streams = {stream.stream_id: stream for stream in waited}
        known = {stream.stream_id for stream in result.halted}
        result.halted += [each for each in waited if each.state == HALTED and each.stream_id not in known]
        reasons = {dead_letter.message_id: _reason(dead_letter, streams) for dead_letter in taken}
        result.kept += [
            (dead_letter, reasons[dead_letter.message_id]) for dead_letter in taken if reasons[dead_letter.message_id]
        ]
        return [dead_letter for dead_letter in taken if not reasons[dead_letter.message_id]]

    def _start(self, result: Redriven, streams: Sequence[StreamStatus]) -> None:
        """Resume halted streams, each once per run, and trigger those that only lag."""
        for stream in streams:
            if stream.state == HALTED and stream.stream_id not in result.resumed:
                result.resumed.append(stream.stream_id)
                try:
                    self.service.resume(stream.projection, stream.stream_id)
                except ConflictError:  # resumed concurrently
                    continue
        if any(stream.lag and stream.state != HALTED for stream in streams):
            self.reconcile()


def _reason(dead_letter: DeadLetter, streams: Mapping[str, StreamStatus]) -> str:
    """Return why a projection's dead letter must remain; empty if its event is in the read model."""
    if dead_letter.stream_id is None or dead_letter.event_id is None:
        return _UNREADABLE
    stream = streams.get(dead_letter.stream_id)
    if stream is None:  # the projection no longer follows the stream
        return ""
    if stream.checkpoint >= dead_letter.event_id or dead_letter.event_id > stream.head:
        return ""
    if stream.state == HALTED:
        return _halted_again(stream)
    return f"still {stream.lag} events behind"


def _halted_again(stream: StreamStatus) -> str:
    halted = stream.halted
    return f"halted again at event {halted.event_id}: {halted.error}" if halted else "halted again"
