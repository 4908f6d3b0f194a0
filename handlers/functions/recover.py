"""The function ``Recover``: recovers halted streams."""

from handlers import runtime
from handlers.api import http
from handlers.api.recovery import RecoveryRoutes
from handlers.api.routes import Function
from handlers.core.clock import SystemClock
from handlers.domain import registry

handler = http.serve(
    Function.RECOVER,
    RecoveryRoutes(runtime.event_store, registry, runtime.read_model, SystemClock(), runtime.trigger_projection),
    telemetry=runtime,
)
