"""Public contract suites: an adapter of a port subclasses one in three lines and is held to everything it promises."""
