"""Public contract suites: an adapter of a port subclasses one in three lines and inherits every test of the port."""
