"""The functions' logs: reading them without a gap, as lines that a person can read, and one event's path in them."""
