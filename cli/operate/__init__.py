"""Operating a deployed stack: status, logs, checks, recovery and cost."""
