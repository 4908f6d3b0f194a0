"""Replays: build a generation from history, switch to it, keep the record of the job (docs/rules.md, R1 to R5)."""
