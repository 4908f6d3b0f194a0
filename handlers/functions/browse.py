"""``GET /streams…``, ``/replays…``, ``/projections``, ``/openapi.json``."""

from handlers import runtime
from handlers.api import contract, http
from handlers.api.overview import Overview
from handlers.api.replays import Reporting
from handlers.api.streams import Streams
from handlers.projections import registry

handler = http.serve(
    {
        **Streams(runtime.event_store).routes(),
        **Reporting(registry, runtime.replay_jobs, runtime.replays).routes(),
        **Overview(runtime.event_store, registry, runtime.read_model).routes(),
        **contract.routes(),
    }
)
