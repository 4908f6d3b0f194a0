"""The dashboard and the alarms."""

from __future__ import annotations

from constructs import Construct


class Observability(Construct):
    """What an operator looks at, and what calls them."""

    def __init__(self, scope: Construct) -> None:
        super().__init__(scope, "Observability")
