"""Mending what halted or could not be delivered: resume, skip, redrive, purge."""
