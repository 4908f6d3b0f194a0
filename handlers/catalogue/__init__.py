"""The catalogue of known event types: one JSON Schema (draft-07) per type, and upcasters between their versions.

A new file ``schemas/<TYPE>.json`` is a new known type. Its ``version`` says which form of the data it describes; when
that grows, a function in `upcasters` turns the older form into the newer one. Properties that a schema does not name
are kept: they are part of what happened, even where nothing reads them yet.

Schemas may not use ``multipleOf``: fastjsonschema computes it with floats, or without bound on huge exponents.

Examples
--------
>>> from handlers import catalogue
>>> [fault.pointer for fault in catalogue.validate("ITEM_CREATED", {"itemId": 7})]
['/amount', '/itemId']
"""

from handlers.catalogue.schemas import current_version, known_types, schema, validate
from handlers.catalogue.upcasters import upcast

__all__ = ["current_version", "known_types", "schema", "upcast", "validate"]
