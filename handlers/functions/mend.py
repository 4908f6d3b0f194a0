"""``POST /projections/{name}/resume`` and ``…/skip``."""

import uuid

from handlers import runtime
from handlers.api import http
from handlers.api.mending import Mending
from handlers.clock import SystemClock
from handlers.events import EventId, StreamId
from handlers.functions.reconciler import nudge_entry
from handlers.projection.reconcile import Lag
from handlers.projection.state import StreamState
from handlers.projections import registry


def nudge(projection: str, stream_id: StreamId, head: int) -> None:
    """Make the projector look at a stream afresh."""
    entry = nudge_entry(Lag(stream_id, EventId(head), StreamState(stream_id)), uuid.uuid4().hex)
    runtime.client("sqs").send_message(QueueUrl=runtime.resources()[projection].queue, **entry)


handler = http.serve(Mending(runtime.event_store, registry, runtime.read_model, SystemClock(), nudge).routes())
