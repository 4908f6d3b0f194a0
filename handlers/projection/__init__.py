"""The projection engine: folds of events into rows, and the protocol that keeps them correct (P1 to P8, R1 to R5, L1)."""

from handlers.projection.definition import Prefix, ProjectedEvent, Projection, stream_id
from handlers.projection.port import Row

__all__ = ["Prefix", "ProjectedEvent", "Projection", "Row", "stream_id"]
