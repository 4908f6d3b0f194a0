"""``GET /streams…``, ``/projections``, ``/openapi.json``."""

from handlers import runtime
from handlers.api import contract, http
from handlers.api.overview import Overview
from handlers.api.streams import Streams
from handlers.projections import registry

handler = http.serve(
    {
        **Streams(runtime.event_store).routes(),
        **Overview(runtime.event_store, registry, runtime.read_model).routes(),
        **contract.routes(),
    }
)
