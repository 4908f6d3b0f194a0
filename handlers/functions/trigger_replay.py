"""``POST /triggerReplay`` and ``POST /projections/{name}/rollback``."""

from handlers import runtime
from handlers.api import http
from handlers.api.replays import Triggering
from handlers.projections import registry

handler = http.serve(Triggering(registry, runtime.replays).routes())
