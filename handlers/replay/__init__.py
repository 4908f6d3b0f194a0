"""Replays: building a new generation of rows, and rewinding (R1 to R5)."""
