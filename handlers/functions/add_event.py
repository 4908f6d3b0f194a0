"""``POST /addEvent`` and ``POST /addEvents``."""

from handlers import runtime
from handlers.api import http
from handlers.api.appending import Appending
from handlers.clock import SystemClock

handler = http.serve(Appending(runtime.event_store, SystemClock(), strict=runtime.flag("STRICT")).routes())
