"""Resuming and skipping over the API, and watching the catch-up."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

from cli.errors import NotFoundError
from cli.observe import probes
from cli.observe.model import HALTED, StreamStatus
from cli.terminal.text import shell_word, visible

if TYPE_CHECKING:
    from cli.api import Answer
    from cli.session import Session

_PAUSE_FIRST_S, _PAUSE_MAX_S = 0.05, 1.0


class MendingApi(Protocol):
    """The part of `cli.api.Api` that mends."""

    def get(self, path: str, **query: object) -> Answer: ...
    def post(self, path: str, body: object) -> Answer: ...


def described(session: Session, name: str | None) -> tuple[list[StreamStatus], list[str]]:
    """Return the streams of a projection, or of all; and which projections follow more than were looked at.

    Raises
    ------
    NotFoundError
        There is no projection of that name.
    """
    found = probes.projections(session.api)
    chosen = [each for each in found if name in (None, each["name"])]
    if name is not None and not chosen:
        names = ", ".join(each["name"] for each in found)
        raise NotFoundError(f"there is no projection {name}", f"There are: {names}.")
    streams = probes.streams(session.api, chosen, datetime.now(UTC))
    return streams, [each["name"] for each in chosen if each.get("more")]


def resume(api: MendingApi, name: str, stream_id: str | None) -> list[dict[str, Any]]:
    """Set one stream going again, or every halted one; returns stream and event of each.

    Raises
    ------
    CliError
        There is no such projection, or the stream that was named is not halted.
    """
    body = {} if stream_id is None else {"streamId": stream_id}
    answer = api.post(f"/projections/{quote(name, safe='')}/resume", body)
    resumed: list[dict[str, Any]] = answer.document["streams"]
    return resumed


def skip(api: MendingApi, name: str, stream_id: str, event_id: int) -> dict[str, Any]:
    """Step over the event that a stream is halted at.

    Raises
    ------
    CliError
        It is not halted at that event.
    """
    answer = api.post(f"/projections/{quote(name, safe='')}/skip", {"streamId": stream_id, "eventId": event_id})
    skipped: dict[str, Any] = answer.document
    return skipped


def wait_until_caught_up(
    session: Session, name: str, stream_ids: Collection[str], timeout_s: float
) -> list[StreamStatus]:
    """Watch streams until each is at its head or halted, or time is up; returns where they then stand."""
    environment = session.environment
    deadline = environment.monotonic() + timeout_s
    pause = _PAUSE_FIRST_S
    with session.output.progress("catching up"):
        while True:
            found = [each for stream_id in stream_ids for each in _look(session.api, name, stream_id)]
            settled = all(each.state == HALTED or not each.lag for each in found)
            if settled or environment.monotonic() + pause > deadline:
                return found
            environment.sleep(pause)
            pause = min(pause * 1.5, _PAUSE_MAX_S)


def _look(api: MendingApi, name: str, stream_id: str) -> list[StreamStatus]:
    answer = api.get("/projections", name=name, streamId=stream_id).document["projections"]
    return probes.streams(api, answer, datetime.now(UTC))


def halted_text(stream: StreamStatus) -> str:
    """Where and why a stream is halted, in one line."""
    halted = stream.halted or {}
    where = f"{stream.projection}: stream {visible(stream.stream_id)}"
    return f"{where} is halted at event {halted.get('eventId')}: {halted.get('error')}"


def skip_command(stream: StreamStatus) -> str:
    """The command that steps over the event."""
    halted = stream.halted or {}
    where = f"{stream.projection} --stream-id {shell_word(stream.stream_id)}"
    return f"esctl projections skip {where} --event-id {halted.get('eventId')}"
