"""The function ``Mend``: recovers halted streams."""

from handlers import runtime
from handlers.api import http
from handlers.api.mending import RecoveryRoutes
from handlers.api.routes import Function
from handlers.clock import SystemClock
from handlers.projections import registry

handler = http.serve(
    Function.MEND,
    RecoveryRoutes(runtime.event_store, registry, runtime.read_model, SystemClock(), runtime.trigger_projection),
)
