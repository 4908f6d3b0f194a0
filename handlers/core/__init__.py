"""Primitives that every other package of handlers may import."""
