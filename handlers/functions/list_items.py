"""``GET /list<Name>`` of one projection."""

from handlers import runtime
from handlers.api import http
from handlers.api.items import Listing
from handlers.projections import registry

handler = http.serve(Listing(registry().values(), runtime.read_model).routes())
