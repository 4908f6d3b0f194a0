"""One file per command group: each parses, calls, renders."""
