"""The function ``ListRows``: reads the rows of every projection."""

from handlers import runtime
from handlers.api import http
from handlers.api.routes import Function
from handlers.api.rows import RowRoutes
from handlers.domain import registry

handler = http.serve(Function.LIST_ROWS, RowRoutes(registry, runtime.code, runtime.read_model), telemetry=runtime)
