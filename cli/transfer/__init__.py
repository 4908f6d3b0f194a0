"""Events to files and back: see `exporting` and `importing`."""
