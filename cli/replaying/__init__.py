"""Replays as an operator sees them: asked for and followed through the API, audited against the history."""
