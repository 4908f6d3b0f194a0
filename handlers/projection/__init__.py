"""The projection engine: folds of events into rows, and the protocol that keeps them correct (P1 to P8, R1 to R5, L1)."""

from handlers.projection.definition import Projection, Row

__all__ = ["Projection", "Row"]
