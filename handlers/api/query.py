"""Query parameters, typed: every fault is collected, and raised together."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from handlers.api.page_tokens import read_page_token
from handlers.api.request import Request
from handlers.errors import Fault, InvalidInput
from handlers.store.limits import MAX_SAFE_INTEGER


class Query:
    """Reads the query parameters of one request; `check` raises what was found wrong.

    Parameters
    ----------
    known
        The names that the route takes. Others are faults: a typing error should not silently mean "everything".
    """

    def __init__(self, request: Request, known: Iterable[str]) -> None:
        self._values = request.query
        known = tuple(known)
        self.faults = [
            Fault(f"query:{name}", f"is not known here (known: {', '.join(known) or 'none'})")
            for name in request.query
            if name not in known
        ]
        for name, values in request.query.items():
            if name in known and len(values) > 1:
                self.fault(name, f"is given {len(values)} times")

    def fault(self, name: str, detail: str) -> None:
        """Note a fault of a parameter."""
        self.faults.append(Fault(f"query:{name}", detail))

    def text(self, name: str) -> str | None:
        """Return a parameter as it is; None when it is absent."""
        values = self._values.get(name)
        return values[0] if values else None

    def integer(self, name: str, default: int, *, low: int = 0, high: int = MAX_SAFE_INTEGER) -> int:
        """Return a whole number between two bounds, both included."""
        given = self.text(name)
        if given is None:
            return default
        # ASCII digits only (int() also takes blanks, underscores and other scripts); 16 are enough for 2^53.
        if not re.fullmatch(r"-?[0-9]{1,16}", given) or not low <= int(given) <= high:
            self.fault(name, f"is not a whole number from {low:,} to {high:,}")
            return default
        return int(given)

    def choice(self, name: str, options: tuple[str, ...]) -> str | None:
        """Return one of some words; None when absent."""
        given = self.text(name)
        if given is not None and given not in options:
            self.fault(name, f"is not one of {', '.join(options)}")
            return None
        return given

    def token(
        self, name: str, kind: str, *types: type[str] | type[int], valid: Callable[..., bool]
    ) -> list[Any] | None:
        """Return the parts of a page token; None when it is absent, or a fault.

        Parameters
        ----------
        valid
            Tells whether the parts are a position that this list could have issued.
        """
        given = self.text(name)
        if given is None:
            return None
        parts = read_page_token(given, kind, *types)
        if parts is None or not valid(*parts):
            self.fault(name, "is not a page token of this list; start again without one")
            return None
        return parts

    def check(self) -> None:
        """Raise `InvalidInput` when anything was wrong."""
        if self.faults:
            raise InvalidInput(self.faults)
