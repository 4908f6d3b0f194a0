"""The function ``Browse``: reads everything except rows."""

from handlers import runtime
from handlers.api import http
from handlers.api.openapi import ContractRoutes
from handlers.api.projections import ProjectionRoutes
from handlers.api.replays import ReplayRoutes
from handlers.api.routes import Function
from handlers.api.streams import StreamRoutes
from handlers.domain import registry

handler = http.serve(
    Function.BROWSE,
    StreamRoutes(runtime.event_store),
    ReplayRoutes(registry, runtime.replay_jobs, runtime.replays),
    ProjectionRoutes(runtime.event_store, registry, runtime.read_model),
    ContractRoutes(registry),
    telemetry=runtime,
)
