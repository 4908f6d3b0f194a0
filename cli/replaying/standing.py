"""Where a projection stands, as ``GET /projections`` tells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cli.api import Api
from cli.errors import NotFoundError
from cli.terminal.text import visible
from handlers.projection.definition import Projection

_STREAMS_MAX = 1000  # the most that the API describes at once


@dataclass(frozen=True, slots=True)
class StreamStanding:
    """One stream of a projection.

    Attributes
    ----------
    fingerprint
        Of the code that its rows were begun with; None where nothing was projected yet.
    replay_id
        Of the replay that runs.
    skipped
        eventIds (as text) that an operator stepped over.
    """

    stream_id: str
    head: int
    checkpoint: int
    fingerprint: str | None = None
    replay_id: str | None = None
    halted_at: int | None = None
    halted_because: str = ""
    skipped: tuple[str, ...] = ()


def standings(api: Api, projection: Projection, stream_id: str | None = None) -> list[StreamStanding]:
    """Where each stream of a projection stands, or one of them.

    Raises
    ------
    NotFoundError
        The stack knows no such projection, or the projection no such stream.
    CliError
    """
    # Asked for without a name: an older stack that does not have the projection would refuse its name.
    found = api.get("/projections", limit=_STREAMS_MAX, streamId=stream_id).document["projections"]
    described = next((each for each in found if each["name"] == projection.name), None)
    if described is None:
        raise NotFoundError(
            f"the stack has no projection {projection.name}: it was deployed from other code", "Deploy:  esctl deploy"
        )
    if stream_id is not None and not described["streams"]:
        raise NotFoundError(f"the projection {projection.name} does not follow a stream {visible(stream_id)}")
    return [_standing(each) for each in described["streams"]]


def _standing(document: Mapping[str, Any]) -> StreamStanding:
    halted = document.get("halted") or {}
    return StreamStanding(
        document["streamId"],
        int(document["head"]),
        int(document["checkpoint"]),
        document.get("fingerprint"),
        (document.get("replay") or {}).get("replayId"),
        halted.get("eventId"),
        str(halted.get("error", "")),
        tuple(str(each["eventId"]) for each in document.get("skipped", ())),
    )
