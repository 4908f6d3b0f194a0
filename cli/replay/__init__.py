"""Run and follow replays, compare read models with their history, and show the results."""
