"""``POST /projections/{name}/resume`` and ``…/skip``."""

from handlers import runtime
from handlers.api import http
from handlers.api.mending import Mending
from handlers.clock import SystemClock
from handlers.projections import registry

handler = http.serve(
    Mending(runtime.event_store, registry, runtime.read_model, SystemClock(), runtime.trigger_projection).routes()
)
