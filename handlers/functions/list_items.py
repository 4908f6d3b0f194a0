"""The function ``List<Name>`` of one projection."""

from handlers import runtime
from handlers.api import http
from handlers.api.projections import RowRoutes
from handlers.api.routes import list_rows

(name,) = runtime.resources()
projection = runtime.projection(name)
handler = http.serve(list_rows(projection).function, RowRoutes(projection, runtime.read_model), telemetry=runtime)
