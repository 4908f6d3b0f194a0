"""The function ``TriggerReplay``."""

from handlers import runtime
from handlers.api import http
from handlers.api.replays import ReplayRoutes
from handlers.api.routes import Function
from handlers.domain import registry

handler = http.serve(
    Function.TRIGGER_REPLAY, ReplayRoutes(registry, runtime.replay_jobs, runtime.replays), telemetry=runtime
)
