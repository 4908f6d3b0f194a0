"""What the system costs and how fast it is on the local target: ``make bench``."""
