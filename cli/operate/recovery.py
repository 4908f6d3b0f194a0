"""Recovery of what failed: resume and skip halted streams, wait for the catch-up, redrive dead letters.

A projection's dead letter is only a hint: its event is in the store. So redriving is *resume, wait until the stream has
caught up, delete the message*, and no old message gets between new ones. What the publisher could not announce the
reconciler announces again. A replay's message stands for work to be done: it is sent again, then deleted.

Every step may be repeated: a message is deleted only after its work is done, and work done twice changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from cli.aws import errors
from cli.environment import Environment
from cli.errors import CliError, ConflictError, NotFoundError
from cli.operate.dead_letters import DeadLetter, DeadLetterQueue
from cli.operate.resources import find_resources
from cli.operate.status import HALTED, StreamStatus, fetch_projections, stream_statuses
from handlers.api.request import path_segment

if TYPE_CHECKING:
    from cli.api import Answer
    from cli.aws import Clients

_PAUSE_FIRST_S, _PAUSE_MAX_S = 0.05, 1.0
_MARGIN_S = 60.0  # for everything about a redrive that is not waiting
_UNREADABLE = "unreadable: look at it, then purge the queue"


class RecoveryApi(Protocol):
    """The part of `cli.api.Api` that recovery needs."""

    def get(self, path: str, **query: object) -> Answer: ...
    def post(self, path: str, body: object) -> Answer: ...


def projection_streams(api: RecoveryApi, name: str | None) -> tuple[list[StreamStatus], list[str]]:
    """Return the streams of one projection or of all, and which projections have more than are returned.

    Raises
    ------
    NotFoundError
        There is no projection of that name.
    """
    found = fetch_projections(api)
    chosen = [each for each in found if name in (None, each["name"])]
    if name is not None and not chosen:
        names = ", ".join(each["name"] for each in found)
        raise NotFoundError(f"there is no projection {name}", f"There are: {names}.")
    streams = stream_statuses(api, chosen, datetime.now(UTC))
    return streams, [each["name"] for each in chosen if each.get("more")]


def resume(api: RecoveryApi, name: str, stream_id: str | None) -> list[dict[str, Any]]:
    """Resume one stream, or every halted one; returns ``streamId`` and ``eventId`` of each.

    Raises
    ------
    CliError
        There is no such projection, or the stream that was named is not halted.
    """
    body = {} if stream_id is None else {"streamId": stream_id}
    answer = api.post(f"/projections/{path_segment(name)}/resume", body)
    resumed: list[dict[str, Any]] = answer.document["streams"]
    return resumed


def skip(api: RecoveryApi, name: str, stream_id: str, event_id: int) -> dict[str, Any]:
    """Skip the event at which a stream is halted.

    Raises
    ------
    CliError
        The stream is not halted at that event.
    """
    body = {"streamId": stream_id, "eventId": event_id}
    skipped: dict[str, Any] = api.post(f"/projections/{path_segment(name)}/skip", body).document
    return skipped


def wait_until_caught_up(
    api: RecoveryApi, environment: Environment, name: str, stream_ids: Collection[str], timeout_s: float
) -> list[StreamStatus]:
    """Wait until each stream is at its head or halted, or time is up; returns their status then."""
    deadline = environment.monotonic() + timeout_s
    pause_s = _PAUSE_FIRST_S
    found: dict[str, list[StreamStatus]] = {}
    waiting = list(stream_ids)
    while True:
        found |= {stream_id: _status(api, name, stream_id) for stream_id in waiting}
        waiting = [each for each in waiting if any(stream.lag and stream.state != HALTED for stream in found[each])]
        if not waiting or environment.monotonic() + pause_s > deadline:
            return [stream for streams in found.values() for stream in streams]
        environment.sleep(pause_s)
        pause_s = min(pause_s * 1.5, _PAUSE_MAX_S)


def _status(api: RecoveryApi, name: str, stream_id: str) -> list[StreamStatus]:
    """Return how one stream stands in a projection; nothing if the projection does not follow it."""
    described = api.get("/projections", name=name, streamId=stream_id).document["projections"]
    return stream_statuses(api, described, datetime.now(UTC))


def reconcile(clients: Clients, stack_name: str) -> None:
    """Run the reconciler now: it triggers every projection that lags, which else happens once a minute.

    Raises
    ------
    CliError
        The stack has none, or it failed.
    """
    name = find_resources(clients, stack_name).functions.get("Reconciler")
    if name is None:
        raise CliError("the stack has no reconciler: another version deployed it", "Deploy it again:  esctl deploy")
    with errors():
        answer = clients.client("lambda").invoke(FunctionName=name, Payload=b"{}")
    if answer.get("FunctionError"):
        why = json.loads(answer["Payload"].read() or b"{}").get("errorMessage", answer["FunctionError"])
        raise CliError(f"the reconciler failed: {why}", "See its log:  esctl tail-logs --function Reconciler")


@dataclass(slots=True)
class Redriven:
    """What became of the dead letters of one queue.

    Attributes
    ----------
    done
        How many were recovered and deleted.
    resumed
        Streams that were resumed.
    kept
        Dead letters that stay, with the reason.
    halted
        Streams that are halted again.
    """

    queue: str
    done: int = 0
    resumed: list[str] = field(default_factory=list)
    kept: list[tuple[DeadLetter, str]] = field(default_factory=list)
    halted: list[StreamStatus] = field(default_factory=list)


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

    api: RecoveryApi
    environment: Environment
    reconcile: Callable[[], None]
    timeout_s: float

    def run(self, letters: DeadLetterQueue) -> Redriven:
        """Recover what the dead letters of one queue stand for, and delete those that are done.

        Raises
        ------
        CliError
        """
        result = Redriven(letters.queue.name)
        seen: set[str] = set()
        while True:
            with letters.taken(hidden_s=self.timeout_s + _MARGIN_S) as taken:
                fresh = [each for each in taken if each.message_id not in seen]
                if not fresh:
                    return result
                seen |= {each.message_id for each in fresh}
                for recovered in self._recovered(letters, fresh, result):
                    left = letters.delete(recovered)
                    result.done += len(recovered) - len(left)
                    result.kept += [(each, "done, but SQS did not delete it: redrive again") for each in left]

    def _recovered(
        self, letters: DeadLetterQueue, taken: Sequence[DeadLetter], result: Redriven
    ) -> Iterator[Sequence[DeadLetter]]:
        """Yield dead letters as soon as their work is done; notes in the result which stay, and why."""
        if letters.queue.kind == "publisher":
            self.reconcile()
            yield taken
        elif letters.queue.kind == "replays":
            for letter in taken:
                if letter.replay_id is None:
                    result.kept.append((letter, _UNREADABLE))
                else:
                    letters.send_again(letter)
                    yield [letter]
        else:
            yield self._caught_up(taken, result)

    def _caught_up(self, taken: Sequence[DeadLetter], result: Redriven) -> list[DeadLetter]:
        """Catch up the streams of a projection's dead letters; returns those that are done."""
        stream_ids = list(dict.fromkeys(each.stream_id for each in taken if each.stream_id is not None))
        self._start(result, [stream for each in stream_ids for stream in _status(self.api, result.queue, each)])
        waited = wait_until_caught_up(self.api, self.environment, result.queue, stream_ids, self.timeout_s)
        streams = {stream.stream_id: stream for stream in waited}
        known = {stream.stream_id for stream in result.halted}
        result.halted += [each for each in waited if each.state == HALTED and each.stream_id not in known]
        reasons = {letter.message_id: _reason(letter, streams) for letter in taken}
        result.kept += [(letter, reasons[letter.message_id]) for letter in taken if reasons[letter.message_id]]
        return [letter for letter in taken if not reasons[letter.message_id]]

    def _start(self, result: Redriven, streams: Sequence[StreamStatus]) -> None:
        """Resume what is halted, each stream once a run, and trigger what only lags."""
        for stream in streams:
            if stream.state == HALTED and stream.stream_id not in result.resumed:
                result.resumed.append(stream.stream_id)
                try:
                    resume(self.api, stream.projection, stream.stream_id)
                except ConflictError:  # somebody else resumed it
                    continue
        if any(stream.lag and stream.state != HALTED for stream in streams):
            self.reconcile()


def _reason(letter: DeadLetter, streams: Mapping[str, StreamStatus]) -> str:
    """Say why a projection's dead letter has to stay; empty if its event is in the read model."""
    if letter.stream_id is None or letter.event_id is None:
        return _UNREADABLE
    stream = streams.get(letter.stream_id)
    if stream is None:  # the projection does not follow the stream any more
        return ""
    if stream.checkpoint >= letter.event_id or letter.event_id > stream.head:
        return ""
    if stream.state == HALTED:
        halted = stream.halted or {}
        return f"halted again at event {halted.get('eventId')}: {halted.get('error')}"
    return f"still {stream.lag} events behind"
