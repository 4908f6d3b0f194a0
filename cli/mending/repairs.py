"""`Repairs` on a deployed stack: the API, the replay queue, and the reconciler."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cli.aws import errors
from cli.errors import CliError
from cli.mending import streams as mending
from cli.mending.letters import Letter
from cli.observe import probes
from cli.observe.model import HALTED, StreamStatus
from cli.observe.resources import find_resources, queues_of

if TYPE_CHECKING:
    from cli.session import Session

_PAUSE_S = 0.25


class StackRepairs:
    """Mends the session's target.

    Parameters
    ----------
    timeout_s
        How long to wait for a catch-up.
    """

    def __init__(self, session: Session, timeout_s: float) -> None:
        self._session = session
        self._timeout_s = timeout_s

    def streams(self, projection: str | None, stream_ids: Sequence[str] | None) -> list[StreamStatus]:
        """Return where streams of a projection stand; all of them where none are named."""
        api = self._session.api
        if stream_ids is None:
            return probes.streams(api, probes.projections(api, name=projection), datetime.now(UTC))
        found: list[StreamStatus] = []
        for stream_id in stream_ids:
            answer = api.get("/projections", name=projection, streamId=stream_id).document["projections"]
            found += probes.streams(api, answer, datetime.now(UTC))
        return found

    def resume(self, projection: str, stream_id: str) -> None:
        """Set a halted stream going again; one that goes again already is as good."""
        from cli.errors import ConflictError

        try:
            mending.resume(self._session.api, projection, stream_id)
        except ConflictError:
            return

    def reconcile(self) -> None:
        """Have everything nudged that lags, now rather than within a minute."""
        session = self._session
        name = find_resources(session.clients, session.target.stack_name).functions.get("Reconciler")
        if name is None:
            raise CliError("the stack has no reconciler: it is of another version", "Deploy it again:  esctl deploy")
        with errors():
            answer = session.clients.client("lambda").invoke(FunctionName=name, Payload=b"{}")
        if answer.get("FunctionError"):
            why = json.loads(answer["Payload"].read() or b"{}").get("errorMessage", answer["FunctionError"])
            raise CliError(f"the reconciler failed: {why}", "See why:  esctl tail-logs --function Reconciler")

    def caught_up(self, projection: str | None, stream_ids: Sequence[str] | None) -> list[StreamStatus]:
        """Wait until streams are at their heads, or halted, or time is up; returns where they then stand."""
        environment = self._session.environment
        deadline = environment.monotonic() + self._timeout_s
        while True:
            found = self.streams(projection, stream_ids)
            settled = all(stream.state == HALTED or not stream.lag for stream in found)
            if settled or environment.monotonic() + _PAUSE_S > deadline:
                return found
            environment.sleep(_PAUSE_S)

    def send_again(self, letter: Letter) -> None:
        """Send a replay's letter to the replay queue; as new, else FIFO deduplication might swallow it."""
        url = next(queue.url for queue in queues_of(self._session.target.outputs) if queue.name == letter.queue)
        unique = uuid.uuid4().hex
        with errors():
            self._session.clients.client("sqs").send_message(
                QueueUrl=str(url), MessageBody=letter.body, MessageGroupId=unique, MessageDeduplicationId=unique
            )
