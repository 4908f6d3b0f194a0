"""Export events to files and import them from files."""
