"""Replays from the operator's side: run and follow them, compare a read model with its history, show both."""
