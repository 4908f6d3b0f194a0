"""Checking the machine and the deployed stack, end to end."""
