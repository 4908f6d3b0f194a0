"""The function ``AddEvent``."""

from handlers import runtime
from handlers.api import http
from handlers.api.appending import EventRoutes
from handlers.api.routes import Function
from handlers.core.clock import SystemClock

events = EventRoutes(runtime.event_store, SystemClock(), runtime, strict=runtime.flag("STRICT"))
handler = http.serve(Function.ADD_EVENT, events, telemetry=runtime)
